"""Positions that people set aside, and the queue kept in step with that."""

from collections.abc import Iterable

from liqctl.core.events import Dequeued
from liqctl.core.queue import NEVER_MS, Queue
from liqctl.core.record import Exclusion


class Exclusions:
    """Holds what is excluded; a candidate that is can wait in the queue and is never given out."""

    def __init__(self, queue: Queue) -> None:
        """Start with nothing excluded."""
        self._queue = queue
        self._held: dict[str, Exclusion] = {}

    def get(self, position: str, now_ms: int) -> Exclusion | None:
        """Return the exclusion of a position that is in force now."""
        held = self._held.get(position)
        return held if held is not None and held.holds(now_ms) else None

    def lift(self, position: str) -> None:
        """Forget an exclusion; the candidate goes on waiting until it is told otherwise."""
        self._held.pop(position, None)

    def become(self, exclusions: Iterable[Exclusion], now_ms: int) -> list[Dequeued]:
        """Hold to exactly these; what was taken back may be tried at once."""
        now = {each.position: each for each in exclusions if each.holds(now_ms)}
        told: list[Dequeued] = []
        for position in sorted(self._held.keys() - now.keys()):
            # One that has run out waits no longer either, and may have failed since.
            if self.get(position, now_ms) is not None:
                self._queue.retry(position)
            del self._held[position]
        for position in sorted(now):
            told += self.add(now[position], now_ms)
        return told

    def add(self, exclusion: Exclusion, now_ms: int) -> list[Dequeued]:
        """Exclude a position; what is told is whether a candidate was set aside by that."""
        position, before = exclusion.position, self._held.get(exclusion.position)
        self._held[position] = exclusion
        if before is not None and (before.text, before.until_ms) == (
            exclusion.text,
            exclusion.until_ms,
        ):
            return []
        aside = self.set_aside(position, now_ms)
        return [Dequeued(position=position, reason=exclusion.text)] if aside else []

    def set_aside(self, position: str, now_ms: int, *, taken: bool = False) -> bool:
        """Keep a candidate from being taken while it is excluded; False when it is not.

        One that the queue gave out a moment ago is `taken`.
        """
        exclusion = self.get(position, now_ms)
        if exclusion is None:
            return False
        until_ms = NEVER_MS if exclusion.until_ms is None else exclusion.until_ms
        return self._queue.exclude(position, exclusion.text, until_ms=until_ms, taken=taken)
