"""Prices of Hermes: the latest ones once, or a stream of them that reconnects."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection
from contextlib import aclosing
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import structlog

from liqctl.core.price import PriceReading
from liqctl.errors import (
    HermesError,
    HermesMalformed,
    HermesRefused,
    HermesUnreachable,
    SettingsError,
)
from liqctl.oracle.hermes import Update, decode_update, feed_id_of, named_ids
from liqctl.oracle.hermes_http import (
    LATEST,
    NO_ACCESS,
    OK,
    STREAM,
    UNKNOWN,
    HermesCounts,
    HermesHttp,
    HermesLimits,
)
from liqctl.oracle.sse import MESSAGE, SseParser
from liqctl.ports import Clock, Rng

log = structlog.get_logger(__name__)

FEEDS_MAX = 100  # a request for more would be longer than servers take
# Enough to find one unknown feed among FEEDS_MAX by halves, where the answer does not name it.
_REQUESTS_MAX = 16
_BACKOFF_S, _BACKOFF_S_MAX = 0.5, 60.0
_NS_PER_S = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class HermesPrices:
    """Prices as they came, the feeds that Hermes does not know, and those that make no sense."""

    readings: tuple[PriceReading, ...]
    received_ns: int
    unknown: tuple[str, ...] = ()
    faulty: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class HermesDown:
    """The stream ended, or never came to be; it is tried again after the pause."""

    reason: str
    pause_s: float


HermesItem = HermesPrices | HermesDown


class HermesClient:
    """One price service over one HTTP client; neither the key nor the whole URL is ever shown."""

    def __init__(
        self,
        base_url: str,
        clock: Clock,
        rng: Rng,
        *,
        api_key: str | None = None,
        limits: HermesLimits | None = None,
    ) -> None:
        """Check URL and key; nothing is sent yet. The URL is what stands before `/v2`.

        Raises:
            SettingsError: no https URL (plain http only to this host), or no usable key.
        """
        self._limits = limits or HermesLimits()
        self._http = HermesHttp(base_url, clock, self._limits, api_key=api_key)
        self._clock = clock
        self._rng = rng
        self._reported: frozenset[str] = frozenset()

    @property
    def shown_url(self) -> str:
        """Return the service as it may be printed."""
        return self._http.shown_url

    @property
    def counts(self) -> HermesCounts:
        """Return what was met so far."""
        return self._http.counts

    def __repr__(self) -> str:
        """Show no more than may be printed."""
        return f"HermesClient({self.shown_url})"

    async def __aenter__(self) -> Self:
        """Return the client; its connections close with the block."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the connections."""
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections; nothing may follow."""
        await self._http.aclose()

    async def latest(self, feed_ids: Collection[str]) -> HermesPrices:
        """Return the latest price of every feed that Hermes knows; the others are named.

        Raises:
            SettingsError: no feed, too many, or something that is no feed id.
            HermesUnreachable: no answer, or none in time.
            HermesRefused: another HTTP status than 200, or still silent after too many requests.
            HermesMalformed: an answer without prices, or one that is too large.
        """
        pending = [_normalised(feed_ids)]
        unknown: list[str] = []
        updates: list[Update] = []
        for _ in range(_REQUESTS_MAX):
            if not pending:
                break
            group = pending.pop()
            status, body = await self._http.get(LATEST, group)
            if status == OK:
                update = decode_update(body, group)
                unknown += _unanswered(update, group)
                updates.append(update)
            else:
                named, others = _unknown_among(group, body)
                unknown += named
                pending += others
        if pending:
            raise HermesRefused(
                f"{self.shown_url} knows too few of the feeds; is the Hermes URL right?",
                code=UNKNOWN,
            )
        self._report(frozenset(unknown))
        return HermesPrices(
            readings=tuple(each for update in updates for each in update.readings),
            received_ns=self._clock.monotonic_ns(),
            unknown=tuple(sorted(unknown)),
            faulty=tuple(each for update in updates for each in update.faulty),
        )

    async def run(self, feed_ids: Collection[str], sink: Callable[[HermesItem], None]) -> None:
        """Hand prices to the sink as they come, until cancelled.

        Each connection begins with the latest prices, so that nothing is missed between two; while
        a service streams nothing but answers, it goes on being asked. The sink is called on the
        loop and must not block; what it raises ends the stream.

        Raises:
            SettingsError: as for `latest`.
        """
        asked = _normalised(feed_ids)
        failures = 0
        while True:
            started_ns = self._clock.monotonic_ns()
            error, answers = await self._one_stream(asked, sink)
            self.counts.drops += 1
            self.counts.malformed += isinstance(error, HermesMalformed)
            # a service that answers once and hangs up must not be asked without a pause
            lived_s = (self._clock.monotonic_ns() - started_ns) / _NS_PER_S
            failures = 0 if lived_s > 2 * self._limits.idle_s else failures + 1
            pause_s = self._pause_s(error, failures)
            log.warning("hermes_down", reason=str(error), pause_s=round(pause_s, 1))
            sink(HermesDown(reason=str(error), pause_s=pause_s))
            await self._pause(asked if answers else (), pause_s, sink)

    async def _pause(
        self, asked: tuple[str, ...], pause_s: float, sink: Callable[[HermesItem], None]
    ) -> None:
        """Wait, and hand on the latest prices meanwhile as long as the service gives them."""
        left_s, poll_s = pause_s, self._limits.poll_s
        while asked and left_s > poll_s:
            await self._clock.sleep(poll_s)
            left_s -= poll_s
            try:
                sink(await self.latest(asked))
                self.counts.polls += 1
            except HermesError as error:
                log.debug("hermes_poll_failed", reason=str(error))
                break
        await self._clock.sleep(left_s)

    async def _one_stream(
        self, asked: tuple[str, ...], sink: Callable[[HermesItem], None]
    ) -> tuple[HermesError, bool]:
        """Return why the stream ended, or never came to be, and whether the service answers."""
        answers = False
        try:
            first = await self.latest(asked)
            sink(first)
            answers = True
            known = tuple(each for each in asked if each not in first.unknown)
            if not known:
                return HermesRefused(
                    f"{self.shown_url} knows none of the feeds", code=UNKNOWN
                ), False
            async with self._http.stream(STREAM, known) as chunks:
                self.counts.streams += 1
                async with aclosing(self._updates(chunks, known)) as updates:
                    while (update := await self._next(updates)) is not None:
                        sink(update)
        except HermesError as error:
            return error, answers
        return HermesUnreachable(f"{self.shown_url} ended the stream"), answers

    async def _next(self, updates: AsyncGenerator[Update, None]) -> HermesPrices | None:
        """Return the next prices of a stream, or None at its end."""
        idle_s = self._limits.idle_s
        try:
            async with asyncio.timeout(idle_s):
                update = await anext(updates, None)
        except TimeoutError as error:
            raise HermesUnreachable(f"{self.shown_url} sent no price for {idle_s:g} s") from error
        if update is None:
            return None
        self.counts.updates += 1
        return HermesPrices(
            readings=update.readings,
            received_ns=self._clock.monotonic_ns(),
            faulty=update.faulty,
        )

    async def _updates(
        self, chunks: AsyncGenerator[bytes, None], known: tuple[str, ...]
    ) -> AsyncGenerator[Update, None]:
        """Yield what holds a price; ends when the service says so or stops sending."""
        parser = SseParser(event_bytes_max=self._limits.event_bytes_max)
        async for chunk in chunks:
            for event in parser.feed(chunk):
                if event.kind == "error":
                    return
                update = self._update(event.data, known) if event.kind == MESSAGE else None
                if update is not None and update.readings:
                    yield update

    def _update(self, body: bytes, known: tuple[str, ...]) -> Update | None:
        """Return the prices of one event; an event that holds none is counted and passed over."""
        try:
            return decode_update(body, known)
        except HermesMalformed:
            self.counts.malformed += 1
            return None

    def _pause_s(self, error: HermesError, failures: int) -> float:
        longest_s, asked_s = min(_BACKOFF_S * 2.0 ** min(failures, 16), _BACKOFF_S_MAX), 0.0
        if isinstance(error, HermesRefused):
            asked_s = error.retry_after_s or 0.0
            if error.code in NO_ACCESS or error.code == UNKNOWN:
                longest_s = _BACKOFF_S_MAX  # that does not pass by itself soon
        return asked_s + longest_s * (0.5 + self._rng.random() / 2)

    def _report(self, unknown: frozenset[str]) -> None:
        """Log feeds that Hermes does not know, once each."""
        for feed_id in sorted(unknown - self._reported):
            log.warning("hermes_feed_unknown", feed_id=feed_id, url=self.shown_url)
        self._reported |= unknown


def _normalised(feed_ids: Collection[str]) -> tuple[str, ...]:
    asked: dict[str, None] = {}
    for text in feed_ids:
        feed_id = feed_id_of(text)
        if feed_id is None:
            raise SettingsError(f"a feed id has 64 hexadecimal digits, was {text[:80]!r}")
        asked[feed_id] = None
    if not 1 <= len(asked) <= FEEDS_MAX:
        raise SettingsError(f"Hermes is asked for 1 to {FEEDS_MAX} feeds, not {len(asked)}")
    return tuple(asked)


def _unknown_among(
    group: tuple[str, ...], body: bytes
) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return the feeds that a 404 is about, and in which groups to ask for the others."""
    if len(group) == 1:
        return group, []
    named = named_ids(body, group)
    if not named:
        middle = len(group) // 2
        return (), [group[:middle], group[middle:]]
    rest = tuple(each for each in group if each not in named)
    return tuple(named), [rest] if rest else []


def _unanswered(update: Update, group: tuple[str, ...]) -> list[str]:
    answered = {reading.feed_id for reading in update.readings} | set(update.faulty)
    return [each for each in group if each not in answered]
