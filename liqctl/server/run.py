"""From options to a listening server: sockets, signals, and an end within seconds."""

import asyncio
import errno
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

from starlette.types import ASGIApp

from liqctl.errors import SettingsError
from liqctl.ports import Clock, Rng
from liqctl.server.app import create_app
from liqctl.server.limits import Server, ServerConfig
from liqctl.server.nudge import beat, follow_keeper
from liqctl.server.options import ServeOptions
from liqctl.server.tls import tls_context
from liqctl.server.token import open_tokens

# A supervised server takes what the keeper leaves of a processor, however many its clients are.
BEHIND_THE_KEEPER = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What a server takes from outside: time, chance, and whom to tell where it listens."""

    clock: Clock
    rng: Rng
    ready: Callable[[str], None]


def run(options: ServeOptions, world: World, *, supervised: bool = False) -> None:
    """Serve until SIGINT or SIGTERM, or until the keeper that supervises this program has ended.

    The first signal ends it after what is being answered, within `limits.shutdown_s`; the second
    at once.

    Raises:
        SettingsError: the token, the certificate or the address cannot be used.
    """
    tokens = open_tokens(
        options.token_file,
        public_host=options.host if options.is_public else None,
        clock=world.clock,
        rng=world.rng,
    )
    app = create_app(options, clock=world.clock, tokens=tokens)
    serve_app(app, options, world.ready, news=app.state.news if supervised else None)


def serve_app(
    app: ASGIApp,
    options: ServeOptions,
    ready: Callable[[str], None],
    *,
    news: asyncio.Event | None = None,
) -> None:
    """Serve any application at the address and under the limits of the options; as `run`.

    With `news` a keeper at the other end of standard input sets it, and its end is ours.

    Raises:
        SettingsError: the certificate or the address cannot be used.
    """
    public_host = options.host if options.is_public else None
    context = tls_context(options.tls_cert, options.tls_key, public_host=public_host)
    secured = {} if context is None else {"ssl_context_factory": lambda *_: context}
    config = ServerConfig(app, options.limits, **secured)
    sockets = bind(options.host, options.port)
    scheme = "http" if context is None else "https"
    server = _Listening(config, lambda: ready(_address(scheme, sockets[0])))
    if news is not None:
        os.nice(BEHIND_THE_KEEPER)
    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(_serve(server, sockets, news))


def bind(host: str, port: int) -> list[socket.socket]:
    """Return sockets that are bound to every address of a host; a port of 0 means any free one.

    Raises:
        SettingsError: the port is taken or not allowed, or the host is not one of this machine.
    """
    name = host.strip("[]")
    try:
        found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError) as error:
        raise SettingsError(f"--host {host} is no address and no name that is known") from error
    sockets: list[socket.socket] = []
    try:
        for family, kind, protocol, _, address in dict.fromkeys(found):
            sockets.append(_bound(socket.socket(family, kind, protocol), address))
    except OSError as error:
        for each in sockets:
            each.close()
        raise _not_bound(error, host, port) from error
    return sockets


def _bound(opened: socket.socket, address: tuple[object, ...]) -> socket.socket:
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if opened.family == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        opened.bind(address)
        # uvicorn listens later; another program must learn now that the port is taken.
        opened.listen()
    except OSError:
        opened.close()
        raise
    return opened


def _not_bound(error: OSError, host: str, port: int) -> SettingsError:
    match error.errno:
        case errno.EADDRINUSE:
            return SettingsError(
                f"port {port} of {host} is in use by another program; name another with SERVER_PORT"
                " or, of `liqctl serve`, with --port"
            )
        case errno.EACCES | errno.EPERM:
            return SettingsError(
                f"port {port} of {host} is not allowed to this user; take one above 1023"
            )
        case errno.EADDRNOTAVAIL:
            return SettingsError(f"--host {host} is no address of this machine")
        case _:
            return SettingsError(f"cannot listen on port {port} of {host}: {error.strerror}")


class _Listening(Server):
    """uvicorn's server, which tells when it listens and leaves signals to `_serve`."""

    def __init__(self, config: ServerConfig, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        try:
            self._ready()
        except OSError:  # nobody reads where it is to be found: it ends in order
            await self.shutdown(sockets)
            raise

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def _serve(
    server: _Listening, sockets: list[socket.socket], news: asyncio.Event | None
) -> None:
    _stop_on_signals(server)
    async with _following(server, news):
        await server.serve(sockets=sockets)


@asynccontextmanager
async def _following(server: _Listening, news: asyncio.Event | None) -> AsyncIterator[None]:
    """Live and end with the keeper that started this program, if one did."""
    if news is None:
        yield
        return

    def end() -> None:
        server.should_exit = True

    await follow_keeper(news, end)
    beating = asyncio.create_task(beat(), name="beat")
    try:
        yield
    finally:
        beating.cancel()


def _stop_on_signals(server: Server) -> None:
    """End the server at the first SIGINT or SIGTERM; the second one ends the program at once."""
    loop = asyncio.get_running_loop()
    both = (signal.SIGINT, signal.SIGTERM)

    def first() -> None:
        server.should_exit = True
        for each in both:
            loop.remove_signal_handler(each)
            signal.signal(each, signal.SIG_DFL)

    for each in both:
        loop.add_signal_handler(each, first)


def _address(scheme: str, bound: socket.socket) -> str:
    host, port = bound.getsockname()[:2]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
