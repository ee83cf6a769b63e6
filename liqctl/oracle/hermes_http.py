"""Requests to Hermes: its turn, its key, its bounds, and errors that quote neither URL nor key."""

import asyncio
import email.utils
import logging
import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

import httpx

from liqctl.core.rate import Rate
from liqctl.errors import HermesMalformed, HermesRefused, HermesUnreachable, SettingsError
from liqctl.ports import Clock

LATEST, STREAM = "/v2/updates/price/latest", "/v2/updates/price/stream"
OK, UNKNOWN, TOO_MANY_REQUESTS = 200, 404, 429
NO_ACCESS = frozenset({401, 403})
_QUIET_S, _QUIET_S_MAX = 60.0, 3_600.0
_NS_PER_S = 1_000_000_000
_KEY = re.compile(r"[\x21-\x7e]{1,512}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class HermesLimits:
    """Every wait, every message and the number of requests have an end.

    A stream without a price for `idle_s` is dropped, whatever else it sends; until it is opened
    again the latest prices are asked for every `poll_s`. A request waits its
    turn for `turn_s_max` and is refused when that is not enough. The published limit is ten
    requests in ten seconds.
    """

    timeout_s: float = 10.0
    idle_s: float = 15.0
    turn_s_max: float = 5.0
    poll_s: float = 5.0
    requests_per_s: int = 1
    answer_bytes_max: int = 4 * 1024 * 1024
    event_bytes_max: int = 1024 * 1024


@dataclass(slots=True, kw_only=True)
class HermesCounts:
    """What a client has met since its start."""

    requests: int = 0
    polls: int = 0
    streams: int = 0
    drops: int = 0
    updates: int = 0
    malformed: int = 0
    rate_limited: int = 0


class HermesHttp:
    """One HTTP client of one price service, which asks no more often than it may."""

    def __init__(
        self, base_url: str, clock: Clock, limits: HermesLimits, *, api_key: str | None
    ) -> None:
        """Check URL and key; nothing is sent yet.

        Raises:
            SettingsError: no https URL (plain http only to this host), or no usable key.
        """
        parts = _checked(base_url)
        self._base = base_url.strip().rstrip("/")
        self.shown_url = f"{parts.scheme}://{parts.netloc}/…"
        self._clock = clock
        self._limits = limits
        self._keyed = api_key is not None
        self._client = _client(api_key, loopback=_is_loopback(parts))
        self._rate = Rate(per_second=limits.requests_per_s)
        self._quiet_until_ns = 0
        self.counts = HermesCounts()

    async def aclose(self) -> None:
        """Close the connections; nothing may follow."""
        await self._client.aclose()

    async def get(self, path: str, feeds: tuple[str, ...]) -> tuple[int, bytes]:
        """Return status and body of an answer: 200, or 404 because a feed is unknown.

        Raises:
            HermesUnreachable: no answer, or none in time.
            HermesRefused: another status, or a pause that is not over soon.
            HermesMalformed: an answer that is too large.
        """
        await self._turn()
        with self._translated():
            async with asyncio.timeout(self._limits.timeout_s):
                response = await self._send(path, feeds)
                try:
                    if response.status_code not in {OK, UNKNOWN}:
                        raise self._refusal(response)
                    return response.status_code, await self._body(response)
                finally:
                    await response.aclose()

    @asynccontextmanager
    async def stream(
        self, path: str, feeds: tuple[str, ...]
    ) -> AsyncIterator[AsyncGenerator[bytes, None]]:
        """Open a stream of events and give its chunks; errors are those of `get`."""
        await self._turn()
        with self._translated():
            async with asyncio.timeout(self._limits.timeout_s):
                response = await self._send(path, feeds)
        try:
            if response.status_code != OK:
                raise self._refusal(response)
            if not response.headers.get("content-type", "").startswith("text/event-stream"):
                raise HermesMalformed(f"{self.shown_url} answered with something that is no stream")
            self._check_plain(response)
            async with aclosing(self._chunks(response)) as chunks:
                yield chunks
        finally:
            await response.aclose()

    async def _chunks(self, response: httpx.Response) -> AsyncGenerator[bytes, None]:
        with self._translated():
            async for chunk in response.aiter_raw():
                yield chunk

    async def _send(self, path: str, feeds: tuple[str, ...]) -> httpx.Response:
        """Return an answer whose body was not read yet."""
        self.counts.requests += 1
        params = {
            "ids[]": feeds,
            "parsed": "true",
            "encoding": "base64",
            "ignore_invalid_price_ids": "true",
        }
        request = self._client.build_request("GET", self._base + path, params=params)
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

    async def _turn(self) -> None:
        """Wait until a request may go out.

        Raises:
            HermesRefused: that is too far away, because the service asked for a pause.
        """
        now_ns = self._clock.monotonic_ns()
        wait_ns = max(self._quiet_until_ns - now_ns, self._rate.wait_ns(now_ns), 0)
        if wait_ns > self._limits.turn_s_max * _NS_PER_S:
            raise HermesRefused(
                f"{self.shown_url} may not be asked for another {wait_ns // _NS_PER_S + 1} s",
                code=TOO_MANY_REQUESTS,
                retry_after_s=wait_ns / _NS_PER_S,
            )
        self._rate = self._rate.used(now_ns + wait_ns)
        if wait_ns > 0:
            await self._clock.sleep(wait_ns / _NS_PER_S)

    def _refusal(self, response: httpx.Response) -> HermesRefused:
        status, pause_s = response.status_code, None
        if status in NO_ACCESS:
            text = "refuses the API key" if self._keyed else "wants an API key"
            text += "; is the file of the key the right one?"
        elif status == TOO_MANY_REQUESTS:
            self.counts.rate_limited += 1
            header = response.headers.get("retry-after", "")
            asked_s = _retry_after_s(header, self._clock.unix_ms())
            pause_s = min(_QUIET_S if asked_s is None else asked_s, _QUIET_S_MAX)
            self._quiet_until_ns = self._clock.monotonic_ns() + int(pause_s * _NS_PER_S)
            text = f"was asked too often and wants a pause of {pause_s:g} s"
        elif 300 <= status < 400:
            text = "redirects; name the URL where it leads"
        else:
            text = "did not give prices"
        return HermesRefused(
            f"{self.shown_url} {text} (HTTP status {status})", code=status, retry_after_s=pause_s
        )

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Turn the errors of the transport into ours."""
        try:
            yield
        except (TimeoutError, httpx.TimeoutException) as error:
            raise HermesUnreachable(f"{self.shown_url} did not answer in time") from error
        except httpx.ConnectError as error:
            text = f"no connection to {self.shown_url}; is the Hermes URL right?"
            if "CERTIFICATE" in str(error):
                text = f"the certificate of {self.shown_url} is not trusted"
            raise HermesUnreachable(text) from error
        except (httpx.HTTPError, OSError) as error:
            raise HermesUnreachable(f"{self.shown_url} broke off its answer") from error


def _checked(url: str) -> SplitResult:
    try:
        parts = urlsplit(url.strip())
        usable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
        httpx.URL(url.strip())
    except (ValueError, httpx.InvalidURL):
        raise SettingsError("the Hermes URL is no URL that can be called") from None
    if not usable or "@" in parts.netloc or parts.query or parts.fragment:
        raise SettingsError(
            "the Hermes URL must be https://HOST/PATH, without user, query or fragment; the key is in"
            " a file"
        )
    if parts.scheme == "http" and not _is_loopback(parts):
        raise SettingsError(
            "the Hermes URL is not encrypted; use https:// for another host than this"
        )
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
