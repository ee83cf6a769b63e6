"""What was committed to one database, in order and in virtual time, as SQLite itself reports it."""

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

LIVE = ("SIGNED", "SENT", "SEEN")
NEVER_LANDED = ("EXPIRED", "VOID")
TRIGGERS = (
    """CREATE TEMP TRIGGER sim_attempt_new AFTER INSERT ON main.attempt BEGIN
    SELECT sim_signed(NEW.sig, NEW.intent_id, NEW.state, NEW.signed_ms, NEW.raw, i.position,
        i.decision_slot, i.owner, i.lease_until) FROM main.intent AS i WHERE i.id = NEW.intent_id;
    END""",
    """CREATE TEMP TRIGGER sim_attempt_move AFTER UPDATE OF state ON main.attempt
    WHEN NEW.state <> OLD.state BEGIN
    SELECT sim_moved('attempt', NEW.sig, NEW.intent_id, OLD.state, NEW.state); END""",
    """CREATE TEMP TRIGGER sim_intent_new AFTER INSERT ON main.intent BEGIN
    SELECT sim_moved('intent', NEW.key, NEW.id, '', NEW.state); END""",
    """CREATE TEMP TRIGGER sim_intent_move AFTER UPDATE OF state ON main.intent
    WHEN NEW.state <> OLD.state BEGIN
    SELECT sim_moved('intent', NEW.key, NEW.id, OLD.state, NEW.state); END""",
    """CREATE TEMP TRIGGER sim_lease AFTER UPDATE OF fence ON main.intent
    WHEN NEW.fence <> OLD.fence BEGIN
    SELECT sim_moved('lease', NEW.key, NEW.id, COALESCE(OLD.owner, ''), NEW.owner); END""",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """One committed change of state; `before` is empty for a new row.

    `table` is attempt, intent or lease (an intent that changed hands: before and after are
    owners). What stands behind `intent_id` is known for new attempts alone: the attempt's own
    columns, and the intent's as they were at that moment.
    """

    at_s: float
    keeper: str
    life: str
    table: str
    key: str
    intent_id: int
    before: str
    after: str
    signed_ms: int = 0
    raw: bytes = b""
    position: str = ""
    decision_slot: int = 0
    owner: str = ""
    lease_until_ms: int = 0


@dataclass(slots=True)
class Journal:
    """The committed moves of one database and the attempts that are live by them."""

    path: str
    moves: list[Move] = field(default_factory=list)
    live: dict[str, str] = field(default_factory=dict)
    listeners: list[Callable[[Move], None]] = field(default_factory=list)

    def commit(self, moves: list[Move]) -> None:
        """Take in what one call committed."""
        for move in moves:
            self.moves.append(move)
            if move.table == "attempt":
                if move.after in LIVE:
                    self.live[move.key] = move.after
                else:
                    self.live.pop(move.key, None)
            for listener in self.listeners:
                listener(move)


class Watch:
    """Listens to one connection; what a call changed counts when the call has committed."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        journal: Journal,
        *,
        keeper: str,
        life: str,
        now: Callable[[], float],
    ) -> None:
        """Put triggers into the connection's own schema; the file stays as it is."""
        self._journal = journal
        self._keeper = keeper
        self._life = life
        self._now = now
        self._open: list[Move] = []
        connection.create_function("sim_moved", 5, self._moved)
        connection.create_function("sim_signed", 9, self._signed)
        for trigger in TRIGGERS:
            connection.execute(trigger)

    def committed(self) -> None:
        """Tell the journal what has gathered."""
        if self._open:
            moves, self._open = self._open, []
            self._journal.commit(moves)

    def rolled_back(self) -> None:
        """Forget what has gathered."""
        self._open.clear()

    def _moved(self, table: str, key: str, intent_id: int, before: str, after: str | None) -> None:
        self._note(table=table, key=key, intent_id=intent_id, before=before, after=after or "")

    def _signed(self, *columns: Any) -> None:  # noqa: ANN401 - as SQLite gives them
        key, intent_id, state, signed_ms, raw, position, slot, owner, lease_until_ms = columns
        self._note(
            table="attempt",
            key=key,
            intent_id=intent_id,
            before="",
            after=state,
            signed_ms=signed_ms,
            raw=raw,
            position=position,
            decision_slot=slot,
            owner=owner or "",
            lease_until_ms=lease_until_ms,
        )

    def _note(self, **columns: Any) -> None:  # noqa: ANN401 - those of a move
        self._open.append(Move(at_s=self._now(), keeper=self._keeper, life=self._life, **columns))
