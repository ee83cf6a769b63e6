"""Hermes over HTTP: the latest prices once, and a stream of them that reconnects."""

import asyncio
import email.utils
import logging
import re
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from types import TracebackType
from typing import Self
from urllib.parse import SplitResult, urlsplit

import httpx
import structlog

from liqctl.core.price import PriceReading
from liqctl.core.rate import Rate
from liqctl.errors import (
    HermesError,
    HermesMalformed,
    HermesRefused,
    HermesUnreachable,
    SettingsError,
)
from liqctl.oracle.hermes import Update, decode_update, feed_id_of, named_ids
from liqctl.oracle.sse import MESSAGE, SseParser
from liqctl.ports import Clock, Rng

log = structlog.get_logger(__name__)

LATEST, STREAM = "/v2/updates/price/latest", "/v2/updates/price/stream"
OK, UNKNOWN, TOO_MANY_REQUESTS = 200, 404, 429
NO_ACCESS = frozenset({401, 403})
FEEDS_MAX = 100  # a request for more would be longer than servers take
# Enough to find one unknown feed among FEEDS_MAX by halves, where the answer does not name it.
_REQUESTS_MAX = 16
_BACKOFF_S, _BACKOFF_S_MAX = 0.5, 60.0
_QUIET_S, _QUIET_S_MAX = 60.0, 3_600.0
_NS_PER_S = 1_000_000_000
_KEY = re.compile(r"[\x21-\x7e]{1,512}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class HermesLimits:
    """Every wait, every message and the number of requests have an end.

    A stream without a price for `idle_s` is dropped, whatever else it sends. A request waits its
    turn for `turn_s_max` and is refused when that is not enough. The published limit is ten
    requests in ten seconds.
    """

    timeout_s: float = 10.0
    idle_s: float = 15.0
    turn_s_max: float = 5.0
    requests_per_s: int = 1
    answer_bytes_max: int = 4 * 1024 * 1024
    event_bytes_max: int = 1024 * 1024


@dataclass(slots=True, kw_only=True)
class HermesCounts:
    """What a client has met since its start."""

    requests: int = 0
    streams: int = 0
    drops: int = 0
    updates: int = 0
    malformed: int = 0
    rate_limited: int = 0


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
        parts = _checked(base_url)
        self._base = base_url.strip().rstrip("/")
        self.shown_url = f"{parts.scheme}://{parts.netloc}/…"
        self._clock = clock
        self._rng = rng
        self._limits = limits or HermesLimits()
        self._keyed = api_key is not None
        self._client = _client(api_key, loopback=_is_loopback(parts))
        self._rate = Rate(per_second=self._limits.requests_per_s)
        self._quiet_until_ns = 0
        self._reported: frozenset[str] = frozenset()
        self.counts = HermesCounts()

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
        await self._client.aclose()

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
            status, body = await self._get(group)
            if status == OK:
                update = self._decoded(body, group)
                unknown += _unanswered(update, group)
                updates.append(update)
            else:
                named, others = _unknown_among(group, body)
                unknown += named
                pending += others
        if pending:
            raise HermesRefused(
                f"{self.shown_url} knows too few of the feeds; is hermes_url right?", code=UNKNOWN
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

        Each connection begins with the latest prices, so that nothing is missed between two. The
        sink is called on the loop and must not block; what it raises ends the stream.

        Raises:
            SettingsError: as for `latest`.
        """
        asked = _normalised(feed_ids)
        failures = 0
        while True:
            started_ns = self._clock.monotonic_ns()
            error = await self._one_stream(asked, sink)
            self.counts.drops += 1
            # a service that answers once and hangs up must not be asked without a pause
            lived_s = (self._clock.monotonic_ns() - started_ns) / _NS_PER_S
            failures = 0 if lived_s > 2 * self._limits.idle_s else failures + 1
            pause_s = self._pause_s(error, failures)
            log.warning("hermes_down", reason=str(error), pause_s=round(pause_s, 1))
            sink(HermesDown(reason=str(error), pause_s=pause_s))
            await self._clock.sleep(pause_s)

    async def _one_stream(
        self, asked: tuple[str, ...], sink: Callable[[HermesItem], None]
    ) -> HermesError:
        """Return why the stream ended, or never came to be."""
        try:
            first = await self.latest(asked)
            sink(first)
            known = tuple(each for each in asked if each not in first.unknown)
            if not known:
                return HermesRefused(f"{self.shown_url} knows none of the feeds", code=UNKNOWN)
            with self._translated():
                await self._follow(known, sink)
        except HermesError as error:
            self.counts.malformed += isinstance(error, HermesMalformed)
            return error
        return HermesUnreachable(f"{self.shown_url} ended the stream")

    async def _follow(self, known: tuple[str, ...], sink: Callable[[HermesItem], None]) -> None:
        """Read one stream into the sink until it ends."""
        idle_s = self._limits.idle_s
        response = await self._opened(STREAM, known)
        try:
            self._check_stream(response)
            self.counts.streams += 1
            async with aclosing(self._updates(response, known)) as updates:
                while True:
                    try:
                        async with asyncio.timeout(idle_s):
                            update = await anext(updates, None)
                    except TimeoutError as error:
                        raise HermesUnreachable(
                            f"{self.shown_url} sent no price for {idle_s:g} s"
                        ) from error
                    if update is None:
                        return
                    self.counts.updates += 1
                    sink(
                        HermesPrices(
                            readings=update.readings,
                            received_ns=self._clock.monotonic_ns(),
                            faulty=update.faulty,
                        )
                    )
        finally:
            await response.aclose()

    async def _updates(
        self, response: httpx.Response, known: tuple[str, ...]
    ) -> AsyncIterator[Update]:
        """Yield what holds a price; ends when the service says so or stops sending."""
        parser = SseParser(event_bytes_max=self._limits.event_bytes_max)
        async for chunk in response.aiter_raw():
            for event in parser.feed(chunk):
                if event.kind == "error":
                    return
                update = self._event_update(event.data, known) if event.kind == MESSAGE else None
                if update is not None and update.readings:
                    yield update

    def _event_update(self, body: bytes, known: tuple[str, ...]) -> Update | None:
        try:
            return decode_update(body, known)
        except HermesMalformed:
            self.counts.malformed += 1
            return None

    def _check_stream(self, response: httpx.Response) -> None:
        if response.status_code != OK:
            raise self._refusal(response)
        if not response.headers.get("content-type", "").startswith("text/event-stream"):
            raise HermesMalformed(f"{self.shown_url} answered with something that is no stream")
        self._check_plain(response)

    async def _get(self, group: tuple[str, ...]) -> tuple[int, bytes]:
        """Return status and body of an answer: prices, or that a feed is unknown."""
        with self._translated():
            async with asyncio.timeout(self._limits.timeout_s + self._limits.turn_s_max):
                response = await self._opened(LATEST, group)
                try:
                    if response.status_code not in {OK, UNKNOWN}:
                        raise self._refusal(response)
                    return response.status_code, await self._body(response)
                finally:
                    await response.aclose()

    async def _opened(self, path: str, feeds: tuple[str, ...]) -> httpx.Response:
        """Return an answer whose body was not read yet."""
        await self._turn()
        self.counts.requests += 1
        params = [("ids[]", feed) for feed in feeds]
        params += [("parsed", "true"), ("encoding", "base64"), ("ignore_invalid_price_ids", "true")]
        request = self._client.build_request("GET", self._base + path, params=params)
        async with asyncio.timeout(self._limits.timeout_s):
            return await self._client.send(request, stream=True)

    async def _body(self, response: httpx.Response) -> bytes:
        self._check_plain(response)
        limit = self._limits.answer_bytes_max
        body = bytearray()
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > limit:
                raise HermesMalformed(f"{self.shown_url} sent more than {limit} bytes")
        return bytes(body)

    def _check_plain(self, response: httpx.Response) -> None:
        """Refuse what is compressed although nobody asked for it: its size is not bounded."""
        if response.headers.get("content-encoding", "identity") != "identity":
            raise HermesMalformed(f"{self.shown_url} compressed its answer unasked")

    def _decoded(self, body: bytes, group: tuple[str, ...]) -> Update:
        try:
            return decode_update(body, group)
        except HermesMalformed:
            self.counts.malformed += 1
            raise

    async def _turn(self) -> None:
        """Wait until a request may go out.

        Raises:
            HermesRefused: that is too far away, because the service asked for a pause.
        """
        now_ns = self._clock.monotonic_ns()
        wait_ns = max(self._quiet_until_ns - now_ns, self._rate.wait_ns(now_ns))
        self._rate = self._rate.used(now_ns + max(wait_ns, 0))
        if wait_ns > self._limits.turn_s_max * _NS_PER_S:
            raise HermesRefused(
                f"{self.shown_url} wants no request for another {wait_ns // _NS_PER_S + 1} s",
                code=TOO_MANY_REQUESTS,
                retry_after_s=wait_ns / _NS_PER_S,
            )
        if wait_ns > 0:
            await self._clock.sleep(wait_ns / _NS_PER_S)

    def _refusal(self, response: httpx.Response) -> HermesRefused:
        status, pause_s = response.status_code, None
        if status in NO_ACCESS:
            text = "refuses the API key" if self._keyed else "wants an API key"
            text += "; name its file with hermes_api_key_file"
        elif status == TOO_MANY_REQUESTS:
            self.counts.rate_limited += 1
            header = response.headers.get("retry-after", "")
            asked_s = _retry_after_s(header, self._clock.unix_ms())
            pause_s = min(_QUIET_S if asked_s is None else asked_s, _QUIET_S_MAX)
            self._quiet_until_ns = self._clock.monotonic_ns() + int(pause_s * _NS_PER_S)
            text = f"was asked too often and wants a pause of {pause_s:g} s"
        elif 300 <= status < 400:
            text = "redirects; set hermes_url to where it leads"
        else:
            text = "did not give prices"
        return HermesRefused(
            f"{self.shown_url} {text} (HTTP status {status})", code=status, retry_after_s=pause_s
        )

    def _pause_s(self, error: HermesError, failures: int) -> float:
        longest_s = min(_BACKOFF_S * 2.0 ** min(failures, 16), _BACKOFF_S_MAX)
        if isinstance(error, HermesRefused):
            if error.code in NO_ACCESS or error.code == UNKNOWN:
                longest_s = _BACKOFF_S_MAX  # nothing that passes by itself soon
            if error.retry_after_s is not None:
                return error.retry_after_s + _BACKOFF_S * self._rng.random()
        return longest_s * (0.5 + self._rng.random() / 2)

    def _report(self, unknown: frozenset[str]) -> None:
        """Log feeds that Hermes does not know, once each."""
        for feed_id in sorted(unknown - self._reported):
            log.warning("hermes_feed_unknown", feed_id=feed_id, url=self.shown_url)
        self._reported |= unknown

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Turn the errors of the transport into ours, without what they may quote."""
        try:
            yield
        except (TimeoutError, httpx.TimeoutException) as error:
            raise HermesUnreachable(f"{self.shown_url} did not answer in time") from error
        except httpx.ConnectError as error:
            trusted = "CERTIFICATE" not in str(error)
            raise HermesUnreachable(
                f"no connection to {self.shown_url}; is hermes_url right?"
                if trusted
                else f"the certificate of {self.shown_url} is not trusted"
            ) from error
        except (httpx.HTTPError, OSError) as error:
            raise HermesUnreachable(f"{self.shown_url} broke off its answer") from error


def _normalised(feed_ids: Collection[str]) -> tuple[str, ...]:
    found = {text: feed_id_of(text) for text in feed_ids}
    for text, feed_id in found.items():
        if feed_id is None:
            raise SettingsError(f"a feed id has 64 hexadecimal digits, was {text[:80]!r}")
    asked = tuple(dict.fromkeys(each for each in found.values() if each is not None))
    if not 1 <= len(asked) <= FEEDS_MAX:
        raise SettingsError(f"Hermes is asked for 1 to {FEEDS_MAX} feeds, not {len(asked)}")
    return asked


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


def _checked(url: str) -> SplitResult:
    try:
        parts = urlsplit(url.strip())
        usable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
        httpx.URL(url.strip())
    except (ValueError, httpx.InvalidURL):
        raise SettingsError("hermes_url is no URL that can be called") from None
    if not usable or "@" in parts.netloc or parts.query or parts.fragment:
        raise SettingsError(
            "hermes_url must be https://HOST/PATH, without user, query or fragment; the key is in"
            " the file of hermes_api_key_file"
        )
    if parts.scheme == "http" and not _is_loopback(parts):
        raise SettingsError("hermes_url is not encrypted; use https:// for another host than this")
    return parts


def _is_loopback(parts: SplitResult) -> bool:
    host = parts.hostname or ""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _client(api_key: str | None, *, loopback: bool) -> httpx.AsyncClient:
    if api_key is not None and _KEY.fullmatch(api_key) is None:
        raise SettingsError("the API key of Hermes is not one word of plain characters")
    for name in ("httpx", "httpcore"):  # they would log whole URLs
        logging.getLogger(name).setLevel(logging.WARNING)
    headers = {"user-agent": "liqctl", "accept-encoding": "identity"}
    if api_key is not None:
        headers["authorization"] = f"Bearer {api_key}"
    return httpx.AsyncClient(
        headers=headers,
        timeout=None,  # noqa: S113 - asyncio.timeout bounds every wait
        limits=httpx.Limits(max_connections=4, max_keepalive_connections=2, keepalive_expiry=60.0),
        follow_redirects=False,  # the key is for this host alone
        trust_env=not loopback,
    )


def _retry_after_s(header: str, now_unix_ms: int) -> float | None:
    """Return the pause that a Retry-After header asks for, or None when it says nothing usable."""
    if header.isascii() and header.isdigit() and len(header) < 10:
        return float(header)
    try:
        then_s: float = email.utils.parsedate_to_datetime(header).timestamp()
    except (ValueError, OverflowError, TypeError):
        return None
    return max(0.0, then_s - now_unix_ms / 1000)
