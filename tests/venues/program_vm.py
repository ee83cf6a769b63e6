"""The reference program in a Solana VM with accounts planted directly, for tests."""

import struct
from dataclasses import dataclass

from solders.account import Account as VmAccount
from solders.clock import Clock
from solders.hash import Hash
from solders.instruction import AccountMeta
from solders.instruction import Instruction as VmInstruction
from solders.litesvm import LiteSVM
from solders.message import Message
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.transaction import VersionedTransaction
from solders.transaction_metadata import FailedTransactionMetadata, TransactionMetadata

from liqctl.core.instruction import Instruction
from liqctl.localnet.program import program_bytes
from liqctl.venues.reference_layout import REFERENCE_IDL
from tests.venues import planted as at
from tests.venues.program_cases import Case


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a transaction did: the error's name or None, return data and logs."""

    error: str | None
    code: int | None
    returned: bytes
    logs: list[str]
    compute_units: int


class ProgramVm:
    """One market, one position, one fund and three token accounts, planted anew for each case."""

    def __init__(self) -> None:
        self.svm = LiteSVM().with_sigverify(False).with_blockhash_check(False)
        self.svm = self.svm.with_transaction_history(0)
        self.svm.add_program(at.PROGRAM, program_bytes())
        self._plant(at.LIQUIDATOR, Pubkey.default(), b"", 10**15)
        self._now: int | None = None

    def plant(self, case: Case) -> dict[str, bytes]:
        """Write every account of the case; return those of the program and the price by kind."""
        if case.now != self._now:
            self.svm.set_clock(Clock(at.SLOT, 0, 0, 0, case.now))
            self._now = case.now
        planted = {
            "Market": at.market_bytes(case),
            "Position": at.position_bytes(case),
            "InsuranceFund": at.fund_bytes(case),
        }
        self._plant(at.MARKET, at.PROGRAM, planted["Market"])
        self._plant(at.POSITION, at.PROGRAM, planted["Position"])
        self._plant(at.FUND, at.PROGRAM, planted["InsuranceFund"])
        planted["price"] = case.price_account()
        self._plant(
            at.PRICE, at.RECEIVER if case.price_owner_is_right else at.PROGRAM, planted["price"]
        )
        return planted

    def plant_tokens(self, vault: int) -> None:
        """Write the vault with this amount, and empty token accounts of liquidator and owner."""
        self._plant(at.VAULT, at.TOKEN, at.token_bytes(at.FUND, vault))
        self._plant(at.LIQUIDATOR_TOKEN, at.TOKEN, at.token_bytes(at.LIQUIDATOR, 0))
        self._plant(at.OWNER_TOKEN, at.TOKEN, at.token_bytes(at.OWNER, 0))

    def simulate(self, instruction: Instruction) -> Answer:
        """Run without effect."""
        done = self.svm.simulate_transaction(_transaction(instruction))
        return _answer(done if isinstance(done, FailedTransactionMetadata) else done.meta())

    def send(self, *instructions: Instruction) -> Answer:
        """Run with effect, all or nothing."""
        return _answer(self.svm.send_transaction(_transaction(*instructions)))

    def plant_vault(self, amount: int) -> None:
        """Write the mint and the vault, and no token account of anybody else."""
        self._plant(at.MINT, at.TOKEN, at.mint_bytes())
        self._plant(at.VAULT, at.TOKEN, at.token_bytes(at.FUND, amount))

    def read(self, address: Pubkey) -> bytes:
        """Return an account's bytes, empty when it is gone."""
        found = self.svm.get_account(address)
        return b"" if found is None else found.data

    def amount(self, address: Pubkey) -> int:
        """Return the balance of a token account, 0 where there is none."""
        amount: int = struct.unpack_from("<Q", self.read(address).ljust(72, b"\0"), 64)[0]
        return amount

    def _plant(self, address: Pubkey, owner: Pubkey, blob: bytes, lamports: int = 10**8) -> None:
        self.svm.set_account(address, VmAccount(lamports, blob, owner, False, 0))


def _transaction(*instructions: Instruction) -> VersionedTransaction:
    calls = [
        VmInstruction(
            Pubkey.from_string(one.program),
            one.data,
            [
                AccountMeta(Pubkey.from_string(meta.address), meta.signer, meta.writable)
                for meta in one.accounts
            ],
        )
        for one in instructions
    ]
    message = Message.new_with_blockhash(calls, at.LIQUIDATOR, Hash.default())
    return VersionedTransaction.populate(message, [Signature.default()])


def _answer(done: TransactionMetadata | FailedTransactionMetadata) -> Answer:
    if isinstance(done, FailedTransactionMetadata):
        error = done.err()
        code = getattr(getattr(error, "err", None), "code", None)
        name = REFERENCE_IDL.errors.get(code, str(error)) if isinstance(code, int) else str(error)
        return _answered(done.meta(), name, code)
    return _answered(done, None, None)


def _answered(meta: TransactionMetadata, error: str | None, code: int | None) -> Answer:
    return Answer(
        error=error,
        code=code,
        returned=bytes(meta.return_data().data),  # type: ignore[attr-defined]
        logs=meta.logs(),
        compute_units=meta.compute_units_consumed(),
    )
