"""The content of one account."""

from dataclasses import dataclass
from typing import Self

from solders.account import Account
from solders.pubkey import Pubkey

SYSTEM_PROGRAM = Pubkey.default()


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountState:
    """Lamports, bytes and owner of an account at one moment."""

    lamports: int
    data: bytes = b""
    owner: Pubkey = SYSTEM_PROGRAM
    executable: bool = False
    rent_epoch: int = 0

    @classmethod
    def of(cls, account: Account) -> Self:
        """Return the state of a solders account."""
        return cls(
            lamports=account.lamports,
            data=account.data,
            owner=account.owner,
            executable=account.executable,
            rent_epoch=account.rent_epoch,
        )

    def less(self, lamports: int) -> "AccountState":
        """Return the same account with fewer lamports, at least none."""
        return AccountState(
            lamports=max(self.lamports - lamports, 0),
            data=self.data,
            owner=self.owner,
            executable=self.executable,
            rent_epoch=self.rent_epoch,
        )

    def to_solders(self) -> Account:
        """Return the account as solders wants it."""
        return Account(self.lamports, self.data, self.owner, self.executable, self.rent_epoch)


CLOSED = AccountState(lamports=0)
"""What subscribers see of an account that no longer exists."""
