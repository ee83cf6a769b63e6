"""Message and signature bytes, read back by an independent decoder."""

import pytest
from solders.keypair import Keypair
from solders.message import MessageV0
from solders.transaction import VersionedTransaction

from liqctl.chain.transaction import (
    BUDGET_INSTRUCTIONS,
    compile_message,
    payer_of,
    placeholder_signed,
    sign,
    signature_count,
)
from liqctl.chain.wallet import KeySigner
from liqctl.core.instruction import AccountMeta, Instruction
from liqctl.errors import GuardError, LayoutError, TransactionError
from tests.chain.scripted import ADDRESSES, PROGRAM

KEYPAIR = Keypair.from_seed(bytes(range(32)))
PAYER = str(KEYPAIR.pubkey())
BLOCKHASH = ADDRESSES[2]


def instruction(*accounts: AccountMeta, data: bytes = b"\x09") -> Instruction:
    return Instruction(program=PROGRAM, accounts=accounts, data=data)


ONE = instruction(
    AccountMeta(PAYER, signer=True, writable=True),
    AccountMeta(ADDRESSES[0], writable=True),
    AccountMeta(ADDRESSES[1]),
)


def test_the_message_carries_the_compute_budget_first():
    message = compile_message(PAYER, [ONE], BLOCKHASH, 200_000, 1_000_000)

    decoded = VersionedTransaction.from_bytes(placeholder_signed(message)).message
    assert isinstance(decoded, MessageV0)
    keys = decoded.account_keys
    budget = "ComputeBudget111111111111111111111111111111"
    programs = [str(keys[each.program_id_index]) for each in decoded.instructions]
    assert programs == [budget, budget, PROGRAM]
    assert programs[BUDGET_INSTRUCTIONS:] == [PROGRAM]
    assert bytes(decoded.instructions[0].data) == bytes.fromhex("02400d0300")
    assert bytes(decoded.instructions[1].data) == bytes.fromhex("0340420f0000000000")
    assert [str(keys[i]) for i in decoded.instructions[2].accounts] == [PAYER, *ADDRESSES[:2]]
    assert decoded.is_maybe_writable(list(map(str, keys)).index(ADDRESSES[0]))
    assert not decoded.is_maybe_writable(list(map(str, keys)).index(ADDRESSES[1]))
    assert str(decoded.recent_blockhash) == BLOCKHASH
    assert str(keys[0]) == PAYER


async def test_signed_bytes_verify_and_begin_with_the_signature():
    message = compile_message(PAYER, [ONE], BLOCKHASH, 200_000, 1)

    raw, signature = await sign(message, KeySigner(KEYPAIR))

    decoded = VersionedTransaction.from_bytes(raw)
    assert all(decoded.verify_with_results())
    assert str(decoded.signatures[0]) == signature
    assert raw.endswith(message)
    assert payer_of(raw) == PAYER


def test_a_placeholder_has_a_zero_signature_that_does_not_verify():
    message = compile_message(PAYER, [ONE], BLOCKHASH, 200_000, 1)

    decoded = VersionedTransaction.from_bytes(placeholder_signed(message))

    assert bytes(decoded.signatures[0]) == bytes(64)
    assert not any(decoded.verify_with_results())


async def test_a_message_of_another_payer_is_not_signed():
    message = compile_message(ADDRESSES[0], [ONE], BLOCKHASH, 1, 1)

    with pytest.raises(GuardError):
        await sign(message, KeySigner(KEYPAIR))


async def test_a_message_that_needs_a_second_signer_is_not_signed():
    second = instruction(AccountMeta(ADDRESSES[0], signer=True))
    message = compile_message(PAYER, [second], BLOCKHASH, 1, 1)

    assert signature_count(message) == 2
    with pytest.raises(GuardError, match="alone"):
        await sign(message, KeySigner(KEYPAIR))


class BadSigner:
    address = PAYER

    def __init__(self, signature: bytes) -> None:
        self.signature = signature

    async def sign(self, message: bytes) -> bytes:
        return self.signature


@pytest.mark.parametrize("signature", [b"", bytes(64), bytes(63), bytes([255] * 64)])
async def test_a_signature_that_does_not_verify_is_refused(signature):
    message = compile_message(PAYER, [ONE], BLOCKHASH, 1, 1)

    with pytest.raises(GuardError):
        await sign(message, BadSigner(signature))


@pytest.mark.parametrize(
    ("payer", "blockhash", "limit", "price"),
    [
        ("nobody", BLOCKHASH, 1, 1),
        (PAYER, "1111", 1, 1),
        (PAYER, BLOCKHASH, 2**32, 1),
        (PAYER, BLOCKHASH, -1, 1),
        (PAYER, BLOCKHASH, 1, 2**64),
    ],
)
def test_what_cannot_be_encoded_is_a_layout_error(payer, blockhash, limit, price):
    with pytest.raises(LayoutError):
        compile_message(payer, [ONE], blockhash, limit, price)


def test_an_instruction_with_a_wrong_address_is_a_layout_error():
    with pytest.raises(LayoutError):
        compile_message(PAYER, [instruction(AccountMeta("x"))], BLOCKHASH, 1, 1)


def test_a_transaction_that_does_not_fit_is_refused():
    with pytest.raises(TransactionError, match="1232 fit"):
        compile_message(PAYER, [instruction(data=bytes(1200))], BLOCKHASH, 1, 1)
