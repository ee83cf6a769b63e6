"""What keeps the keeper from starting anything new: the kill switch and the circuit breaker."""

import asyncio
import json
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import structlog

from liqctl.core.breaker import Breaker, BreakerRules
from liqctl.core.events import Cause, OutcomeSeen, Result
from liqctl.keeper.context import Context
from liqctl.ports import Store
from liqctl.store.switch import KILL_SWITCH

log = structlog.get_logger(__name__)

STOP_FILE = "STOP"


class Switch(NamedTuple):
    """The kill switch as it was read: the row's word, when that was written, whether the file is there.

    `pulls` is how many signals had come before the reading began; `file_fault` is why nobody can
    tell whether the file is there.
    """

    row: str | None
    written_ms: int
    file_is_there: bool
    pulls: int
    file_fault: str = ""


def stop_file_seen(file: Path | None) -> tuple[bool, str]:
    """Return whether the stop file is there and, where that cannot be told, why not."""
    if file is None:
        return False, ""
    try:
        file.lstat()
    except FileNotFoundError:
        return False, ""
    except OSError as error:
        return False, f"{file}: {error.strerror}"
    return True, ""


class Holds:
    """Asked before every decision and once more before every signature.

    What is in the air goes on being settled whatever is held here.
    """

    def __init__(self, context: Context, rules: BreakerRules, stop_file: Path | None) -> None:
        """Start with nothing held; `look` finds what people have set."""
        self._context = context
        self._stop_file = stop_file
        self._breaker = Breaker(rules=rules)
        self._set: str | None = None
        self._signalled = False
        self._row_ms: int | None = None
        self._pulls = 0
        self._pulled = asyncio.Event()

    def reason(self) -> str | None:
        """Return why nothing may be signed now, or None."""
        return self._switch() or self._breaker.holds(self._context.steady.ms())

    def _switch(self) -> str | None:
        return self._set or ("kill_switch_signal" if self._signalled else None)

    def pull(self) -> None:
        """Set the kill switch of this process; only a resume through the store lifts it."""
        self._signalled = True
        # A resume that was written before does not count, even if it is read only now.
        self._row_ms = None
        self._pulls += 1
        self._pulled.set()
        log.warning("kill_switch", source="signal")

    async def pulled(self, timeout_s: float) -> None:
        """Return at the next signal, or when the time is up.

        Who looks at once knows the row of that moment, and so the resume that comes soon after it.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._pulled.wait()
        self._pulled.clear()

    async def look(self) -> None:
        """Read the kill switch from the store and the stop file.

        Raises:
            StoreError: the store cannot be read; what was known stays.
        """
        self.note(await self._context.store.run(self.read, self._context.store.store))

    def read(self, store: Store) -> Switch:
        """Return what row and file say now; for the store's own thread."""
        pulls = self._pulls
        row = store.state(KILL_SWITCH)
        there, fault = stop_file_seen(self._stop_file)
        word, written_ms = (None, 0) if row is None else (json.loads(row[0]), row[1])
        return Switch(word, written_ms, there, pulls, fault)

    def note(self, found: Switch) -> None:
        """Take in what `read` returned."""
        if found.pulls != self._pulls:
            # Read before a signal came, it does not tell which row the signal found.
            return
        before = self._switch()
        # Rows are compared with one another: the clocks of who wrote them may differ from ours.
        rewritten = self._row_ms is not None and found.written_ms != self._row_ms
        self._row_ms = found.written_ms
        if found.file_is_there:
            self._set = "kill_switch_file"
        elif found.file_fault:
            self._set = "kill_switch_unreadable"  # somebody may have stopped it
        else:
            self._set = "kill_switch_row" if found.row == "stop" else None
        if found.row == "run" and rewritten:
            self._signalled = False
            self._breaker = self._breaker.resumed()
        if self._switch() != before:
            fault = {"reason": found.file_fault} if found.file_fault else {}
            log.warning("kill_switch", state=self._switch() or "lifted", **fault)

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
