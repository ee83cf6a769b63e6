"""Transactions: instructions to message bytes to signed bytes."""

from collections.abc import Sequence

from solders.hash import Hash
from solders.instruction import AccountMeta as WireMeta
from solders.instruction import Instruction as WireInstruction
from solders.message import MessageV0, to_bytes_versioned
from solders.pubkey import Pubkey
from solders.signature import Signature

from liqctl.core.instruction import Instruction
from liqctl.errors import GuardError, LayoutError, TransactionError
from liqctl.ports import Signer

BUDGET_INSTRUCTIONS = 2
TRANSACTION_BYTES_MAX = 1232
_COMPUTE_BUDGET = Pubkey.from_string("ComputeBudget111111111111111111111111111111")
_SIGNATURE_BYTES = 64


def compile_message(
    payer: str,
    instructions: Sequence[Instruction],
    blockhash: str,
    compute_unit_limit: int,
    price_micro_lamports: int,
) -> bytes:
    """Return the bytes of a v0 message; BUDGET_INSTRUCTIONS compute budget instructions come first.

    A failure of instruction i of the message is one of `instructions[i - BUDGET_INSTRUCTIONS]`.

    Raises:
        LayoutError: an address or the blockhash is not 32 bytes of base58, or a fee field too large.
        TransactionError: it does not fit into one transaction.
    """
    try:
        wire = [*_budget(compute_unit_limit, price_micro_lamports), *map(_wire, instructions)]
        message = MessageV0.try_compile(
            Pubkey.from_string(payer), wire, [], Hash(bytes(Pubkey.from_string(blockhash)))
        )
    except (ValueError, OverflowError) as error:
        raise LayoutError(f"the transaction cannot be encoded: {error}") from error
    raw = to_bytes_versioned(message)
    size = 1 + _SIGNATURE_BYTES * signature_count(raw) + len(raw)
    if size > TRANSACTION_BYTES_MAX:
        raise TransactionError(f"the transaction has {size} bytes, {TRANSACTION_BYTES_MAX} fit")
    return raw


def signature_count(message: bytes) -> int:
    """Return how many signatures a v0 message asks for."""
    return message[1]


async def sign(message: bytes, signer: Signer) -> tuple[bytes, str]:
    """Return the signed bytes and their signature in base58; nothing is sent.

    Raises:
        GuardError: the message asks for another or a further signer, or the signature is wrong.
    """
    if signature_count(message) != 1 or _payer(message) != signer.address:
        raise GuardError(f"the transaction is not to be signed by {signer.address} alone")
    signed = await signer.sign(message)
    if len(signed) != _SIGNATURE_BYTES:
        raise GuardError(f"the signer returned {len(signed)} bytes, {_SIGNATURE_BYTES} expected")
    signature = Signature.from_bytes(signed)
    if not signature.verify(Pubkey.from_string(signer.address), message):
        raise GuardError(f"the signer returned a signature that is not of {signer.address}")
    return b"\x01" + signed + message, str(signature)


def placeholder_signed(message: bytes) -> bytes:
    """Return the message with zero signatures: enough for a simulation, refused by every send."""
    count = signature_count(message)
    return bytes([count]) + bytes(_SIGNATURE_BYTES * count) + message


def payer_of(raw: bytes) -> str:
    """Return who pays for a transaction that `sign` made, in base58."""
    return _payer(raw[1 + _SIGNATURE_BYTES :])


def _payer(message: bytes) -> str:
    """Return the first account key: after version, three header bytes and a one-byte length."""
    return str(Pubkey.from_bytes(message[5:37]))


def _budget(compute_unit_limit: int, price_micro_lamports: int) -> list[WireInstruction]:
    return [
        WireInstruction(_COMPUTE_BUDGET, b"\x02" + compute_unit_limit.to_bytes(4, "little"), []),
        WireInstruction(_COMPUTE_BUDGET, b"\x03" + price_micro_lamports.to_bytes(8, "little"), []),
    ]


def _wire(instruction: Instruction) -> WireInstruction:
    metas = [
        WireMeta(Pubkey.from_string(meta.address), meta.signer, meta.writable)
        for meta in instruction.accounts
    ]
    return WireInstruction(Pubkey.from_string(instruction.program), instruction.data, metas)
