"""What keeps the keeper from starting anything new: the kill switch and the circuit breaker."""

import json
from pathlib import Path

import structlog

from liqctl.core.breaker import Breaker, BreakerRules
from liqctl.core.events import Cause, OutcomeSeen, Result
from liqctl.keeper.context import Context
from liqctl.ports import Store
from liqctl.store.switch import KILL_SWITCH

log = structlog.get_logger(__name__)

STOP_FILE = "STOP"
# The row's word, when it was written, and whether the file is there.
Switch = tuple[str | None, int, bool]


class Holds:
    """Asked before every decision and once more before every signature.

    What is in the air goes on being settled whatever is held here.
    """

    def __init__(self, context: Context, rules: BreakerRules, stop_file: Path | None) -> None:
        """Start with nothing held; `look` finds what people have set."""
        self._context = context
        self._stop_file = stop_file
        self._breaker = Breaker(rules=rules)
        self._switch: str | None = None
        self._row_ms: int | None = None

    def reason(self) -> str | None:
        """Return why nothing may be signed now, or None."""
        return self._switch or self._breaker.holds(self._context.steady.ms())

    def pull(self) -> None:
        """Set the kill switch of this process; only a resume through the store lifts it."""
        self._switch = "kill_switch_signal"
        # A resume that was written before does not count, even if it is read only now.
        self._row_ms = None
        log.warning("kill_switch", source="signal")

    async def look(self) -> None:
        """Read the kill switch from the store and the stop file.

        Raises:
            StoreError: the store cannot be read; what was known stays.
        """
        self.note(await self._context.store.run(self.read, self._context.store.store))

    def read(self, store: Store) -> Switch:
        """Return what row and file say now; for the store's own thread."""
        return _read(store, self._stop_file)

    def note(self, found: Switch) -> None:
        """Take in what `read` returned."""
        before = self._switch
        row, written_ms, file_is_there = found
        # Rows are compared with one another: the clocks of who wrote them may differ from ours.
        rewritten = self._row_ms is not None and written_ms != self._row_ms
        self._row_ms = written_ms
        if file_is_there:
            self._switch = "kill_switch_file"
        elif row == "stop":
            self._switch = "kill_switch_row"
        elif before != "kill_switch_signal" or rewritten:
            self._switch = None
            if row == "run" and rewritten:
                self._breaker = self._breaker.resumed()
        if self._switch != before:
            log.warning("kill_switch", state=self._switch or "lifted")

    def ended(self, outcome: OutcomeSeen) -> None:
        """Take in how an attempt or a decision ended."""
        before, now_ms = self._breaker, self._context.steady.ms()
        if outcome.result is Result.LANDED:
            self._breaker = before.lost_money(now_ms) if outcome.at_loss else before.landed()
        elif outcome.result is Result.FAILED:
            self._breaker = _after_failure(before, outcome, now_ms)
        self._tell(before)

    def turned(self, count: int, positions: int) -> None:
        """Take in that one tick made so many positions liquidatable."""
        before = self._breaker
        self._breaker = before.crowd(count, positions, self._context.steady.ms())
        self._tell(before)

    def _tell(self, before: Breaker) -> None:
        if self._breaker.openings > before.openings or self._breaker.reason != before.reason:
            log.error(
                "breaker_open",
                reason=self._breaker.reason,
                until_ms=self._breaker.open_until_ms,
            )


def _after_failure(breaker: Breaker, outcome: OutcomeSeen, now_ms: int) -> Breaker:
    match outcome.cause:
        case Cause.BUG:
            return breaker.met_bug()
        case Cause.LAYOUT:
            return breaker.program_changed()
        case Cause.PAUSED:
            return breaker.program_paused(now_ms)
        case _:
            return breaker.failed(now_ms) if outcome.slot else breaker


def _read(store: Store, stop_file: Path | None) -> Switch:
    row = store.state(KILL_SWITCH)
    there = stop_file is not None and stop_file.exists()
    return (None, 0, there) if row is None else (json.loads(row[0]), row[1], there)
