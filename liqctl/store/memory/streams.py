"""Events, balances of the fund and named state in memory."""

from liqctl.core.record import EventRow, InsuranceSample
from liqctl.store.memory.tables import MemoryTables, require_json

PRUNE_BATCH = 10_000


class MemoryStreams(MemoryTables):
    """The part of the Store that others follow."""

    def events_since(self, seq: int, limit: int) -> list[EventRow]:
        """Return events after `seq`, oldest first."""
        return [row for row in self._events if row.seq > seq][: max(0, limit)]

    def last_seq(self) -> int:
        """Return the newest `seq` ever given, pruned or not; 0 before the first."""
        return self._last_seq

    def prune_events(self, keep: int) -> int:
        """Delete the oldest events beyond the newest `keep`, 10,000 at most; return how many."""
        surplus = min(PRUNE_BATCH, max(0, len(self._events) - max(0, keep)))
        del self._events[:surplus]
        return surplus

    def record_insurance(self, sample: InsuranceSample) -> None:
        """Append a balance of the fund."""
        self._samples.append(sample)

    def insurance_history(self, limit: int) -> list[InsuranceSample]:
        """Return the latest samples, oldest first."""
        return self._samples[max(0, len(self._samples) - max(0, limit)) :]

    def put_state(self, name: str, value_json: str, now_ms: int) -> None:
        """Write one named piece of the keeper's state for other programs to read."""
        require_json(value_json)
        self._state[name] = (value_json, now_ms)

    def state(self, name: str) -> tuple[str, int] | None:
        """Return a named piece of state and when it was written."""
        return self._state.get(name)

    def states(self, prefix: str) -> list[tuple[str, str, int]]:
        """Return name, value and time of every named state that begins so, by name."""
        return [(n, *self._state[n]) for n in sorted(self._state) if n.startswith(prefix)]

    def take_state(self, name: str, value_json: str, now_ms: int, lapse_ms: int) -> bool:
        """Write a named state unless another value stands there that has not lapsed."""
        kept = self._state.get(name)
        if kept is not None and kept[0] != value_json and abs(now_ms - kept[1]) < lapse_ms:
            return False
        self.put_state(name, value_json, now_ms)
        return True

    def forget_state(self, name: str, before_ms: int) -> bool:
        """Delete a named piece of state that was written before then; False when there is none."""
        kept = self._state.get(name)
        if kept is None or kept[1] >= before_ms:
            return False
        del self._state[name]
        return True
