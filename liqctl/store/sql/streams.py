"""What is appended and seldom changed: events, failures, balances of the fund, named state."""

from liqctl.core.record import EventRow, FailureRow, InsuranceSample
from liqctl.store import columns
from liqctl.store.sql.session import SqlSession

PRUNE_BATCH = 10_000


class SqlStreams(SqlSession):
    """The part of the Store that others follow."""

    def record_failure(self, failure: FailureRow) -> None:
        """Append a failure."""
        with self._writing() as db:
            self._sql.insert_failure(db, row=failure)

    def append_event(self, kind: str, body_json: str, now_ms: int) -> int:
        """Append to the ordered stream and return its `seq`."""
        with self._writing() as db:
            made = self._sql.append_event(db, kind=kind, body_json=body_json, now_ms=now_ms)
        return int(made["seq"])

    def events_since(self, seq: int, limit: int) -> list[EventRow]:
        """Return events after `seq`, oldest first."""
        with self._reading() as db:
            found = self._sql.events_since(db, seq=seq, limit=max(0, limit))
            return [columns.event_of(row) for row in found]

    def last_seq(self) -> int:
        """Return the newest `seq` ever given, pruned or not; 0 before the first."""
        with self._reading() as db:
            return int(self._sql.last_seq(db)["seq"])

    def prune_events(self, keep: int) -> int:
        """Delete the oldest events beyond the newest `keep`, 10,000 at most; return how many."""
        with self._writing() as db:
            return int(self._sql.prune_events(db, keep=max(0, keep), batch=PRUNE_BATCH))

    def record_insurance(self, sample: InsuranceSample) -> None:
        """Append a balance of the fund."""
        with self._writing() as db:
            amount = columns.amounts(sample, columns.INSURANCE_AMOUNTS)
            self._sql.insert_insurance(db, row=sample, amount=amount)

    def insurance_history(self, limit: int) -> list[InsuranceSample]:
        """Return the latest samples, oldest first."""
        with self._reading() as db:
            newest_first = [
                columns.sample_of(row)
                for row in self._sql.insurance_history(db, limit=max(0, limit))
            ]
        return newest_first[::-1]

    def put_state(self, name: str, value_json: str, now_ms: int) -> None:
        """Write one named piece of the keeper's state for other programs to read."""
        with self._writing() as db:
            self._sql.put_state(db, name=name, value_json=value_json, now_ms=now_ms)

    def state(self, name: str) -> tuple[str, int] | None:
        """Return a named piece of state and when it was written."""
        with self._reading() as db:
            row = self._sql.state(db, name=name)
        return None if row is None else (row["value_json"], row["at_ms"])

    def states(self, prefix: str) -> list[tuple[str, str, int]]:
        """Return name, value and time of every named state that begins so, by name."""
        with self._reading() as db:
            found = self._sql.states(db, prefix=prefix, last=columns.last_name(prefix))
            return [(row["name"], row["value_json"], row["at_ms"]) for row in found]

    def take_state(self, name: str, value_json: str, now_ms: int, lapse_ms: int) -> bool:
        """Write a named state unless another value stands there that has not lapsed."""
        with self._writing() as db:
            taken = self._sql.take_state(
                db, name=name, value_json=value_json, now_ms=now_ms, lapse_ms=lapse_ms
            )
        return bool(taken)

    def forget_state(self, name: str, before_ms: int) -> bool:
        """Delete a named piece of state that was written before then; False when there is none."""
        with self._writing() as db:
            return bool(self._sql.forget_state(db, name=name, before_ms=before_ms))
