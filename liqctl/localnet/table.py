"""All accounts of the chain: now, by owner, and as they were at the last few blocks."""

from collections.abc import Iterable, Iterator

from solders.pubkey import Pubkey

from liqctl.localnet.account import AccountState


class AccountTable:
    """Accounts by key and by owner, with an undo record for every block that is not final yet."""

    def __init__(self) -> None:
        self._now: dict[Pubkey, AccountState] = {}
        self._by_owner: dict[Pubkey, dict[Pubkey, None]] = {}
        self._written_slot: dict[Pubkey, int] = {}
        self._before: dict[int, dict[Pubkey, AccountState | None]] = {}

    def __contains__(self, key: Pubkey) -> bool:
        return key in self._written_slot

    def put(self, key: Pubkey, state: AccountState | None, slot: int) -> None:
        """Write an account in a slot, the newest so far; None or no lamports closes it."""
        old = self._now.get(key)
        self._before.setdefault(slot, {}).setdefault(key, old)
        self._written_slot[key] = slot
        if old is not None and (state is None or state.owner != old.owner):
            del self._by_owner[old.owner][key]
        if state is None or state.lamports == 0:
            self._now.pop(key, None)
            if old is not None and state is not None and state.owner == old.owner:
                del self._by_owner[old.owner][key]
            return
        self._now[key] = state
        self._by_owner.setdefault(state.owner, {})[key] = None

    def at(self, key: Pubkey, slot: int) -> AccountState | None:
        """Return the account as it was at the end of a slot that `forget` still kept."""
        for written, before in self._before.items():
            if written > slot and key in before:
                return before[key]
        return self._now.get(key)

    def owned_by(self, owner: Pubkey, slot: int) -> Iterator[tuple[Pubkey, AccountState]]:
        """Yield the accounts a program owned at the end of a slot."""
        later = [before for written, before in self._before.items() if written > slot]
        undone: dict[Pubkey, AccountState | None] = {}
        for before in reversed(later):
            undone.update(before)
        for key in self._by_owner.get(owner, ()):
            if key not in undone:
                yield key, self._now[key]
        for key, state in undone.items():
            if state is not None and state.owner == owner:
                yield key, state

    def written_slot(self, key: Pubkey) -> int | None:
        """Return the slot of the last write, None when there was none."""
        return self._written_slot.get(key)

    def written_in(self, slot: int) -> Iterable[Pubkey]:
        """Return the keys written in a slot that `forget` still kept."""
        return tuple(self._before.get(slot, ()))

    def forget(self, slot: int) -> None:
        """Drop the undo records of all slots up to this one, which is final now."""
        for written in [written for written in self._before if written <= slot]:
            del self._before[written]
