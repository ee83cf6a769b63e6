"""One JSON-RPC endpoint over HTTP: typed errors, limits, a counted number of retries."""

import asyncio
import email.utils
import itertools
import logging
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit
from urllib.request import getproxies

import httpx
import msgspec

from liqctl.chain.hot_wire import HotWire, NotHot
from liqctl.chain.text import one_line
from liqctl.chain.urls import checked_rpc_url, is_loopback, redacted, without_secrets
from liqctl.errors import RpcError, RpcMalformed, RpcRefused, RpcUnreachable, SettingsError
from liqctl.ports import Clock, Rng

UNHEALTHY = -32005
NO_HISTORY = -32011
MIN_CONTEXT_NOT_REACHED = -32016
TOO_MANY_REQUESTS = 429
HOT_BYTES_MAX = 16 * 1024 * 1024
_WRITES = frozenset({"sendTransaction", "requestAirdrop"})
# Everything goes the short way but what is large or never urgent.
_COLD = frozenset({"getProgramAccounts", "requestAirdrop"})
_SHY_NS = 60_000_000_000
_RETRIED_CODES = frozenset({TOO_MANY_REQUESTS, UNHEALTHY, MIN_CONTEXT_NOT_REACHED})
_BACKOFF_S = 0.1
_BACKOFF_S_MAX = 2.0


class _ErrorForm(msgspec.Struct):
    code: int
    message: str = ""
    data: object = None


class _Envelope(msgspec.Struct):
    id: int | str | None = None
    result: object | msgspec.UnsetType = msgspec.UNSET
    error: _ErrorForm | None = None


_ENVELOPE = msgspec.json.Decoder(_Envelope)


@dataclass(slots=True, kw_only=True)
class RpcCounts:
    """Tries of one endpoint since its start; a retried call counts once per try."""

    tries: int = 0
    unreachable: int = 0
    refused: int = 0
    rate_limited: int = 0
    malformed: int = 0

    @property
    def errors(self) -> int:
        """Return failed tries of every kind; `rate_limited` is part of `refused`."""
        return self.unreachable + self.refused + self.malformed

    def add(self, error: RpcError) -> None:
        """Count one failed try."""
        match error:
            case RpcUnreachable():
                self.unreachable += 1
            case RpcRefused():
                self.refused += 1
                self.rate_limited += error.code == TOO_MANY_REQUESTS
            case _:
                self.malformed += 1


@dataclass(frozen=True, slots=True, kw_only=True)
class RpcLimits:
    """How long, how large and how often: every wait and every retry of an endpoint has an end.

    A call for a snapshot may take long, but not without a byte for `silence_s`. `retries` counts
    the tries after the first, for reads alone. A node that asks for a longer pause than
    `retry_after_s_max` is not waited for.
    """

    timeout_s: float = 10.0
    snapshot_timeout_s: float = 60.0
    silence_s: float = 20.0
    response_bytes_max: int = 256 * 1024 * 1024
    retries: int = 2
    retry_after_s_max: float = 5.0
    connections_max: int = 8


class HttpRpc:
    """A JSON-RPC endpoint over one long-lived HTTP client; implements ports.Rpc."""

    def __init__(
        self,
        url: str,
        clock: Clock,
        rng: Rng,
        *,
        limits: RpcLimits | None = None,
        allow_plain: bool = False,
    ) -> None:
        """Check the URL; nothing is sent yet.

        Raises:
            SettingsError: no http(s) URL, or plain http to another host without `allow_plain`.
        """
        self._url = checked_rpc_url(url, allow_plain=allow_plain)
        self._clock = clock
        self._rng = rng
        self._limits = limits or RpcLimits()
        self._ids = itertools.count(1)
        _check_callable(self._url)
        self._hot = _hot_wire(self._url, self._limits)
        self._shy_until_ns: int | None = None
        self.counts = RpcCounts()

    @cached_property
    def _client(self) -> httpx.AsyncClient:
        """The general client, made when the short way does not do."""
        return _client(self._url, self._limits)

    @property
    def shown_url(self) -> str:
        """Return the endpoint as it may be printed."""
        return redacted(self._url)

    def __repr__(self) -> str:
        """Show no more of the URL than may be printed."""
        return f"HttpRpc({self.shown_url})"

    async def __aenter__(self) -> Self:
        """Return the endpoint; its connections close with the block."""
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
        """Close the connections; no call may follow."""
        if self._hot is not None:
            self._hot.close()
        if "_client" in vars(self):
            await self._client.aclose()

    async def call(self, method: str, params: Sequence[object]) -> object:
        """Return the `result` member of the answer.

        Reads are tried again after an error that may pass; a write is tried exactly once, because
        after any answer it may have happened.

        Raises:
            RpcUnreachable: no answer, or none within the time limit.
            RpcRefused: an error object, or an HTTP status other than 200.
            RpcMalformed: no JSON-RPC answer to this request, or one that is too large.
        """
        retries = 0 if method in _WRITES else self._limits.retries
        attempt = 0
        while True:
            try:
                return await self.once(method, params)
            except RpcError as error:
                if attempt >= retries or not self._may_pass(error):
                    raise
                await self._clock.sleep(self._pause_s(error, attempt))
                attempt += 1

    async def once(self, method: str, params: Sequence[object]) -> object:
        """Return the `result` member of the answer to a single try; errors as those of `call`."""
        self.counts.tries += 1
        try:
            return await self._try(method, params)
        except RpcError as error:
            self.counts.add(error)
            raise

    async def _try(self, method: str, params: Sequence[object]) -> object:
        request_id = next(self._ids)
        request = msgspec.json.encode(
            {"jsonrpc": "2.0", "id": request_id, "method": method, "params": list(params)}
        )
        limits = self._limits
        slow = method == "getProgramAccounts"
        timeout_s = limits.snapshot_timeout_s if slow else limits.timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                status, retry_after, body = await self._post(method, request)
        except (TimeoutError, httpx.TimeoutException) as error:
            silent = isinstance(error, httpx.ReadTimeout)
            waited_s = min(timeout_s, limits.silence_s) if silent else timeout_s
            raise RpcUnreachable(
                f"no answer to {method} from {self.shown_url} within {waited_s:g} s"
            ) from error
        except httpx.DecodingError as error:
            raise RpcMalformed(f"{self.shown_url} compressed its answer wrongly") from error
        except (httpx.HTTPError, OSError) as error:
            raise RpcUnreachable(self._unreachable_text(error)) from error
        if status != 200:
            raise self._http_refusal(method, status, retry_after, body)
        return self._result(method, request_id, body)

    async def _post(self, method: str, request: bytes) -> tuple[int, str | None, bytes]:
        if self._hot is not None and self._goes_hot(method):
            try:
                answer = await self._hot.post(request)
            except NotHot as error:
                if error.framing:
                    self._shy_until_ns = self._clock.monotonic_ns() + _SHY_NS
                if error.sent and (method in _WRITES or not error.framing):
                    raise OSError("the connection broke after the request was written") from error
            else:
                self._shy_until_ns = None
                return answer.status, answer.retry_after, answer.body
        limit = self._limits.response_bytes_max
        async with self._client.stream("POST", self._url, content=request) as response:
            body = bytearray()
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > limit:
                    raise RpcMalformed(f"{self.shown_url} sent more than {limit} bytes")
            return response.status_code, response.headers.get("retry-after"), bytes(body)

    def _goes_hot(self, method: str) -> bool:
        """Return whether to try the short way; reads find out now and then, writes never."""
        until_ns = self._shy_until_ns
        if method in _COLD:
            return False
        if until_ns is None:
            return True
        return method not in _WRITES and self._clock.monotonic_ns() >= until_ns

    def _result(self, method: str, request_id: int, body: bytes) -> object:
        envelope = self._envelope(method, body)
        if envelope.error is not None:
            raise self._refusal(method, envelope.error, envelope.error.code, None)
        if envelope.id != request_id:
            raise RpcMalformed(f"{self.shown_url} answered another request than this {method}")
        if envelope.result is msgspec.UNSET:
            raise RpcMalformed(f"{self.shown_url} answered {method} without result or error")
        return envelope.result

    def _envelope(self, method: str, body: bytes) -> _Envelope:
        try:
            return _ENVELOPE.decode(body)
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            raise RpcMalformed(
                f"{self.shown_url} answered {method} with something that is no JSON-RPC answer"
            ) from error

    def _http_refusal(
        self, method: str, status: int, retry_after: str | None, body: bytes
    ) -> RpcRefused:
        """Return the error of an HTTP status; a JSON-RPC error inside says more, where there is one."""
        pause_s = _retry_after_s(retry_after, self._clock.unix_ms())
        try:
            found = _ENVELOPE.decode(body).error
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            found = None
        if found is None:
            return RpcRefused(
                f"{self.shown_url} answered {method} with HTTP status {status}",
                code=status,
                retry_after_s=pause_s,
            )
        keep_status = status == TOO_MANY_REQUESTS or status >= 500
        return self._refusal(method, found, status if keep_status else found.code, pause_s)

    def _refusal(
        self, method: str, found: _ErrorForm, code: int, retry_after_s: float | None
    ) -> RpcRefused:
        said = one_line(without_secrets(found.message, self._url))
        return RpcRefused(
            f"{self.shown_url} refused {method}: {said} (code {code})",
            code=code,
            detail=found.data,
            retry_after_s=retry_after_s,
        )

    def _unreachable_text(self, error: Exception) -> str:
        match error:
            case httpx.ConnectError() if "CERTIFICATE" in str(error):
                return f"the certificate of {self.shown_url} is not trusted"
            case httpx.ConnectError() | OSError():
                return f"no connection to {self.shown_url}; is the URL right and the node running?"
            case httpx.RemoteProtocolError():
                return f"{self.shown_url} broke off its answer or does not speak HTTP"
            case _:
                return f"the connection to {self.shown_url} failed: {type(error).__name__}"

    def _may_pass(self, error: RpcError) -> bool:
        match error:
            case RpcUnreachable():
                return True
            case RpcRefused():
                pause_s = error.retry_after_s or 0.0
                passing = error.code in _RETRIED_CODES or 500 <= error.code < 600
                return passing and pause_s <= self._limits.retry_after_s_max
            case _:
                return False

    def _pause_s(self, error: RpcError, attempt: int) -> float:
        backoff_s = min(_BACKOFF_S * 2.0**attempt, _BACKOFF_S_MAX) * (0.5 + self._rng.random())
        asked_s = error.retry_after_s if isinstance(error, RpcRefused) else None
        return max(backoff_s, asked_s or 0.0)


def quiet_transport_loggers() -> None:
    """Keep the transport libraries from logging whole URLs, which hold API keys."""
    for name in ("httpx", "httpcore", "websockets"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _hot_wire(url: str, limits: RpcLimits) -> HotWire | None:
    """Return the short way to the node, or None behind a proxy or where the URL has a name."""
    if (getproxies() and not is_loopback(url)) or urlsplit(url).username is not None:
        return None
    bytes_max = min(HOT_BYTES_MAX, limits.response_bytes_max)
    return HotWire(url, connections_max=limits.connections_max, body_bytes_max=bytes_max)


@cache
def _tls(*, secure: bool) -> ssl.SSLContext:
    """Return what connections are verified by; without TLS reading the authorities costs 20 ms."""
    return httpx.create_ssl_context() if secure else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _check_callable(url: str) -> None:
    try:
        httpx.URL(url)
    except httpx.InvalidURL as error:
        raise SettingsError(f"{redacted(url)} is no URL that can be called") from error


def _client(url: str, limits: RpcLimits) -> httpx.AsyncClient:
    quiet_transport_loggers()
    return httpx.AsyncClient(
        headers={"content-type": "application/json", "user-agent": "liqctl"},
        # asyncio.timeout bounds the whole call; a large answer must not fall silent either
        timeout=httpx.Timeout(None, read=limits.silence_s),
        verify=_tls(secure=url.startswith("https")),
        limits=httpx.Limits(
            max_connections=limits.connections_max,
            max_keepalive_connections=limits.connections_max,
            keepalive_expiry=60.0,
        ),
        follow_redirects=False,
        trust_env=not is_loopback(url),
    )


def _retry_after_s(header: str | None, now_unix_ms: int) -> float | None:
    """Return the pause that a Retry-After header asks for, or None when it says nothing usable."""
    if header is None:
        return None
    if header.isascii() and header.isdigit() and len(header) < 10:
        return float(header)
    try:
        then_s: float = email.utils.parsedate_to_datetime(header).timestamp()
    except (ValueError, OverflowError, TypeError):
        return None
    return max(0.0, then_s - now_unix_ms / 1000)
