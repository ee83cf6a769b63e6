"""The virtual machine as a function of accounts: any block of any fork can be run on it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction

from liqctl.localnet.account import CLOSED, AccountState
from liqctl.localnet.message import Keys
from liqctl.localnet.vm import Execution, Vm

Lookup = Callable[[Pubkey], AccountState | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """The accounts and the clock that a transaction finds."""

    account: Lookup
    slot: int
    unix_s: int


class Machine:
    """One virtual machine for all forks and all seeds.

    It remembers which content it holds of each account and is given only what differs; nothing is
    ever undone. Contents are compared by identity, so they must be immutable and kept.
    """

    def __init__(self) -> None:
        """Build the machine (20-35 ms).

        Raises:
            SettingsError: this platform has no virtual machine.
        """
        self._vm = Vm()
        self._held: dict[Pubkey, AccountState | None] = {}
        self._clock = (-1, -1)

    def add_program(self, key: Pubkey, elf: bytes) -> AccountState:
        """Deploy a program and return its account, to be planted as it is."""
        self._vm.add_program(key, elf)
        state = self._vm.account(key) or CLOSED
        self._held[key] = state
        return state

    def execute(
        self, transaction: VersionedTransaction, keys: Keys, moment: Moment
    ) -> tuple[Execution, Mapping[Pubkey, AccountState | None]]:
        """Run a transaction and return what it did and the accounts it changed.

        A failed one changes its fee payer only, one that no block could contain changes nothing.
        """
        self._load(keys.all, moment)
        execution = self._vm.execute(transaction)
        if execution.fee_lamports == 0:
            return execution, {}
        touched = keys.writable if execution.failure is None else keys.static[:1]
        return execution, self._changed(touched)

    def simulate(self, transaction: VersionedTransaction, keys: Keys, moment: Moment) -> Execution:
        """Run a transaction and keep nothing."""
        self._load(keys.all, moment)
        return self._vm.simulate(transaction)

    def minimum_balance(self, length: int) -> int:
        """Return the lamports that exempt an account of `length` bytes from rent."""
        return self._vm.minimum_balance(length)

    def _load(self, keys: Sequence[Pubkey], moment: Moment) -> None:
        clock = (moment.slot, moment.unix_s)
        if clock != self._clock:
            self._clock = clock
            self._vm.set_clock(slot=moment.slot, epoch=0, unix_s=moment.unix_s)
        for key in keys:
            wanted = moment.account(key)
            if wanted is None and key not in self._held:
                # Never written: absent, or a part of the machine such as the system program.
                continue
            if wanted is not self._held.get(key):
                self._vm.put(key, CLOSED if wanted is None else wanted)
                self._held[key] = wanted

    def _changed(self, keys: Sequence[Pubkey]) -> Mapping[Pubkey, AccountState | None]:
        changed: dict[Pubkey, AccountState | None] = {}
        for key in keys:
            state = self._vm.account(key)
            if state != self._held.get(key):
                changed[key] = self._held[key] = state
        return changed
