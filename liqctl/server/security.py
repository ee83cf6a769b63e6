"""Who may ask: the guard before every route, which costs a few microseconds a request."""

import asyncio
import base64
import binascii
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from functools import lru_cache

import msgspec
from starlette.applications import Starlette
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from liqctl.server.errors import ErrorAnswer, Problem
from liqctl.server.options import ServeOptions
from liqctl.server.token import TokenFile, Verdict

QUERY_BYTES_MAX = 4096
LOOPBACK_NAMES = frozenset({b"127.0.0.1", b"localhost", b"[::1]"})
WILDCARDS = frozenset({"0.0.0.0", "::", "[::]"})  # noqa: S104 - to be told apart, not bound
GETTING = frozenset({"GET", "HEAD"})
READING = GETTING | {"OPTIONS"}
# They show nothing of the record: the page asks for a token, the probes say yes or no.
OPEN_PATHS = frozenset({"/", "/favicon.ico", "/healthz", "/readyz"})
OPEN_FOLDER = "/static/"
# Answers strangers too, in one word: the scope then holds STRANGER.
TERSE_PATH = "/health"
STRANGER = "liqctl.stranger"
PAGES = frozenset({"/", "/docs", "/favicon.ico"})
# A browser cannot set a header on a WebSocket; it offers its token as one of two subprotocols.
SUBPROTOCOL = "liqctl"
TOKEN_SUBPROTOCOL = "liqctl.bearer."  # noqa: S105 - its prefix
UNIQUE = frozenset({b"host", b"origin", b"authorization", b"content-length", b"transfer-encoding"})

Header = tuple[bytes, bytes]
Dressed = Callable[[Message], Awaitable[None]]

_ALWAYS: tuple[Header, ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
_OF_ANSWERS: tuple[Header, ...] = (
    *_ALWAYS,
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)
_OF_PAGES: tuple[Header, ...] = (
    *_ALWAYS,
    (b"cache-control", b"no-cache"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
        b" connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
)
_TO_ANYBODY: Header = (b"access-control-allow-origin", b"*")
_OF_PREFLIGHTS: tuple[Header, ...] = (
    (b"access-control-allow-methods", b"GET, HEAD, POST"),
    (b"access-control-allow-headers", b"authorization, content-type"),
    (b"access-control-max-age", b"600"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Whom a server answers. Hosts are names without a port, origins exact.

    A `public` server asks everybody for a token; any server asks whoever comes by a name that is
    not loopback, or through a proxy, and so is not known to be on this machine.
    """

    hosts: frozenset[bytes]
    origins: frozenset[bytes] = frozenset()
    any_origin: bool = False
    public: bool = False
    tokens: TokenFile | None = None
    body_bytes_max: int = 64 * 1024
    body_s_max: float = 10.0

    @classmethod
    def of(cls, options: ServeOptions, tokens: TokenFile | None) -> "Policy":
        """Return what the options say: the loopback names always, the bound name, those listed."""
        named = {_bracketed(name.lower()) for name in options.allowed_hosts}
        if options.host not in WILDCARDS:
            named.add(_bracketed(options.host.lower()))
        return cls(
            hosts=LOOPBACK_NAMES | {name.encode() for name in named},
            origins=frozenset(each.encode() for each in options.cors_origins if each != "*"),
            any_origin="*" in options.cors_origins,
            public=options.is_public,
            tokens=tokens,
            body_bytes_max=options.limits.body_bytes,
            body_s_max=options.limits.header_s,
        )


class Reach(Enum):
    """By what name a client has reached the server."""

    NONE = auto()
    NAMED = auto()
    LOCAL = auto()


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that needs no route."""

    status: int
    headers: list[Header]
    body: bytes = b""


def refusal(status: int, code: str, message: str, *more: Header) -> Answer:
    """Return a refusal in the shape of all errors."""
    body = msgspec.json.encode(ErrorAnswer(error=Problem(code=code, message=message)))
    described = ((b"content-type", b"application/json"), _length(body))
    return Answer(status, [*_OF_ANSWERS, *described, *more], body)


def _unauthorized(code: str, message: str, *, offered: bool) -> Answer:
    challenge = b'Bearer realm="liqctl"'
    if offered:
        challenge += b', error="invalid_token", error_description="' + message.encode() + b'"'
    return refusal(401, code, message, (b"www-authenticate", challenge))


def _length(body: bytes) -> Header:
    return (b"content-length", str(len(body)).encode())


_CLOSE: Header = (b"connection", b"close")
_MISDIRECTED = refusal(
    421, "host_unknown", "The server does not answer for this Host; name it with --allowed-host."
)
_REPEATED = refusal(400, "header_repeated", "A header that must be unique came more than once.")
_FOREIGN = refusal(
    403, "origin_foreign", "Pages of this Origin may not do this; list it with --cors-origin."
)
_QUERY_LONG = refusal(
    414, "query_too_long", f"The query must not be longer than {QUERY_BYTES_MAX} bytes."
)
_BODY_SLOW = refusal(408, "body_too_slow", "The body did not come in time.", _CLOSE)
_TOKEN_MISSING = _unauthorized(
    "token_missing", "This needs a token: Authorization: Bearer TOKEN.", offered=False
)
_TOKEN_REFUSED = {
    Verdict.WRONG: _unauthorized("token_wrong", "The token is wrong.", offered=True),
    Verdict.EXPIRED: _unauthorized("token_expired", "The token has expired.", offered=True),
}


def install(app: Starlette, policy: Policy) -> None:
    """Put the guard before everything in the application, its error answers included.

    It is the last step: nothing can be added to the application afterwards.
    """
    app.middleware_stack = Guard(app.build_middleware_stack(), policy)


class Guard:
    """ASGI middleware: Host, Origin, token and size of each request, then headers of the answer."""

    __slots__ = ("_app", "_body_large", "_policy", "_reach", "_shares")

    def __init__(self, app: ASGIApp, policy: Policy) -> None:
        """Guard the application by the policy."""
        self._app = app
        self._policy = policy
        self._shares = bool(policy.origins) or policy.any_origin
        self._reach = lru_cache(maxsize=64)(self._reach_of)
        text = f"The body must not be larger than {policy.body_bytes_max} bytes."
        self._body_large = refusal(413, "body_too_large", text, _CLOSE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it here."""
        if scope["type"] != "http":
            through = self._websocket if scope["type"] == "websocket" else self._app
            return await through(scope, receive, send)
        headers = dict(scope["headers"])
        answer = self._judge(scope, headers)
        if answer is None and (b"content-length" in headers or b"transfer-encoding" in headers):
            body = await self._body(headers, receive)
            if isinstance(body, Answer):
                answer = body
            elif body is not None:
                receive = _replaying(body, receive)
        if answer is None:
            return await self._app(scope, receive, self._dressed(scope, headers, send))
        whole = [*answer.headers, *self._shared(scope, headers)]
        await send({"type": "http.response.start", "status": answer.status, "headers": whole})
        await send({"type": "http.response.body", "body": answer.body})
        return None

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        answer = self._judge_both(scope, headers)
        if answer is None and not self._is_home(headers):
            answer = _FOREIGN
        offered = scope.get("subprotocols", ())
        if answer is None and self._is_closed(headers):
            answer = self._judge_token(_bearer(headers) or _from_subprotocol(offered))
        if answer is not None:
            await _refuse_handshake(answer, scope, send)
        else:
            chosen = SUBPROTOCOL in offered
            await self._app(scope, receive, _choosing(send) if chosen else send)

    def _judge(self, scope: Scope, headers: Mapping[bytes, bytes]) -> Answer | None:
        """Return the answer of a request that must not, or need not, reach a route."""
        answer = self._judge_both(scope, headers)
        if answer is not None:
            return answer
        method = scope["method"]
        if method == "OPTIONS" and b"access-control-request-method" in headers:
            return self._preflight(headers)
        if method in READING:
            if not self._is_closed(headers) or _is_open(scope, headers):
                return None
        elif not self._is_home(headers):
            return _FOREIGN
        return self._judge_token(_bearer(headers))

    def _judge_both(self, scope: Scope, headers: Mapping[bytes, bytes]) -> Answer | None:
        if len(headers) != len(scope["headers"]):
            names = [name for name, _ in scope["headers"] if name in UNIQUE]
            if len(names) != len(set(names)):
                return _REPEATED
        if self._reach(headers.get(b"host", b"")) is Reach.NONE:
            return _MISDIRECTED
        return _QUERY_LONG if len(scope["query_string"]) > QUERY_BYTES_MAX else None

    def _judge_token(self, offered: bytes | None) -> Answer | None:
        if offered is None:
            return _TOKEN_MISSING
        if self._policy.tokens is None:
            return _TOKEN_REFUSED[Verdict.WRONG]
        return _TOKEN_REFUSED.get(self._policy.tokens.check(offered))

    def _reach_of(self, host: bytes) -> Reach:
        """Return by what kind of name a client comes; any port will do, a tunnel has its own."""
        name = host.lower()
        if name not in self._policy.hosts:
            name, _, port = name.rpartition(b":")
            if not port.isdigit() or name not in self._policy.hosts:
                return Reach.NONE
        return Reach.LOCAL if name in LOOPBACK_NAMES else Reach.NAMED

    def _is_closed(self, headers: Mapping[bytes, bytes]) -> bool:
        """Return whether even reading needs a token."""
        if self._policy.public or self._reach(headers[b"host"]) is not Reach.LOCAL:
            return True
        return b"x-forwarded-for" in headers or b"forwarded" in headers

    def _is_home(self, headers: Mapping[bytes, bytes]) -> bool:
        """Return whether no foreign page asks: none at all, one of this server, or one listed."""
        origin = headers.get(b"origin")
        if origin is None or origin in self._policy.origins:
            return True
        scheme, _, place = origin.partition(b"://")
        return scheme in {b"http", b"https"} and place.lower() == headers[b"host"].lower()

    def _preflight(self, headers: Mapping[bytes, bytes]) -> Answer:
        if self._is_home(headers):
            shared: tuple[Header, ...] = _OF_PREFLIGHTS
        elif self._policy.any_origin and headers[b"access-control-request-method"] == b"GET":
            shared = (_TO_ANYBODY,)
        else:
            return _FOREIGN
        return Answer(204, [*_OF_ANSWERS, *shared])

    def _shared(self, scope: Scope, headers: Mapping[bytes, bytes]) -> list[Header]:
        """Return the headers that let a page of another origin read the answer."""
        if not self._shares:
            return []
        policy, origin = self._policy, headers.get(b"origin")
        shared: list[Header] = [(b"vary", b"Origin")]
        if origin in policy.origins:
            shared.append((b"access-control-allow-origin", origin))
        elif policy.any_origin and scope["method"] in GETTING and not _known_caller(headers):
            shared.append(_TO_ANYBODY)
        return shared

    def _dressed(self, scope: Scope, headers: Mapping[bytes, bytes], send: Send) -> Dressed:
        """Return a `send` that adds our headers to the answer."""
        path = scope["path"]
        added = _OF_PAGES if path in PAGES or path.startswith(OPEN_FOLDER) else _OF_ANSWERS
        if self._shares:
            added = (*added, *self._shared(scope, headers))

        # Not a coroutine of its own: it hands on the one it was asked for.
        def send_dressed(message: Message) -> Awaitable[None]:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *added]
            return send(message)

        return send_dressed

    async def _body(
        self, headers: Mapping[bytes, bytes], receive: Receive
    ) -> bytes | Answer | None:
        """Return the whole body; an answer if it is too large, said or done, or too slow.

        None when the client went away meanwhile.
        """
        limit = self._policy.body_bytes_max
        if int(headers.get(b"content-length", b"0")) > limit:
            return self._body_large
        body, more = bytearray(), True
        try:
            async with asyncio.timeout(self._policy.body_s_max):
                while more:
                    message = await receive()
                    if message["type"] != "http.request":
                        return None
                    body += message.get("body", b"")
                    more = message.get("more_body", False)
                    if len(body) > limit:
                        return self._body_large
        except TimeoutError:
            return _BODY_SLOW
        return bytes(body)


def _bracketed(name: str) -> str:
    return f"[{name}]" if ":" in name and not name.startswith("[") else name


def _is_open(scope: Scope, headers: Mapping[bytes, bytes]) -> bool:
    """Return whether strangers may read this too, and mark what they must get in short."""
    path = scope["path"]
    if path == TERSE_PATH and b"authorization" not in headers:
        scope[STRANGER] = True
        return True
    return path in OPEN_PATHS or path.startswith(OPEN_FOLDER)


def _bearer(headers: Mapping[bytes, bytes]) -> bytes | None:
    scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
    return token.strip() if scheme.lower() == b"bearer" and token else None


def _from_subprotocol(offered: Iterable[str]) -> bytes | None:
    """Return the token in a subprotocol: base64url without padding, as it is not text of a token."""
    for each in offered:
        if each.startswith(TOKEN_SUBPROTOCOL):
            text = each.removeprefix(TOKEN_SUBPROTOCOL)
            try:
                return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
            except (binascii.Error, ValueError):
                return b""
    return None


def _known_caller(headers: Mapping[bytes, bytes]) -> bool:
    return b"authorization" in headers or b"cookie" in headers


def _replaying(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that gives the body in one piece, then goes on."""
    whole: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_whole() -> Message:
        return whole.pop() if whole else await receive()

    return receive_whole


def _choosing(send: Send) -> Send:
    """Return a `send` that chooses our subprotocol: a browser closes when none is chosen."""

    async def send_choosing(message: Message) -> None:
        if message["type"] == "websocket.accept" and message.get("subprotocol") is None:
            message["subprotocol"] = SUBPROTOCOL
        await send(message)

    return send_choosing


async def _refuse_handshake(answer: Answer, scope: Scope, send: Send) -> None:
    """Answer a handshake by a status where the server can, else close before accepting."""
    if "websocket.http.response" in scope.get("extensions", ()):
        start = "websocket.http.response.start"
        await send({"type": start, "status": answer.status, "headers": answer.headers})
        await send({"type": "websocket.http.response.body", "body": answer.body})
    else:
        await send({"type": "websocket.close", "code": 1008})
