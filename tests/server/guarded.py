"""A small application behind the guard and the limits, on a real server and a real socket."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from liqctl.ports import Clock, SystemClock
from liqctl.server.limits import Server, ServerConfig
from liqctl.server.options import ServeOptions
from liqctl.server.security import STRANGER, Policy, install
from liqctl.server.token import TokenFile

TOKEN = "t" * 20 + "0123456789abcdef"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
BIG = 8 * 2**20


async def _prices(_request: Request) -> Response:
    return JSONResponse({"prices": []})


async def _health(request: Request) -> Response:
    return JSONResponse({"stranger": STRANGER in request.scope})


async def _page(_request: Request) -> Response:
    return PlainTextResponse("page")


async def _big(_request: Request) -> Response:
    return Response(b"x" * BIG)


async def _fails(_request: Request) -> Response:
    raise RuntimeError("a bug")


async def _stop(request: Request) -> Response:
    return JSONResponse({"bytes": len(await request.body())})


async def _echo(websocket: WebSocket) -> None:
    await websocket.accept()
    try:
        while True:
            await websocket.send_text(await websocket.receive_text())
    except WebSocketDisconnect:
        return


def small_app() -> Starlette:
    """Return an application with one route of each kind."""
    return Starlette(
        routes=[
            Route("/", _page),
            Route("/static/page.js", _page),
            Route("/prices", _prices),
            Route("/health", _health),
            Route("/healthz", _page),
            Route("/big", _big),
            Route("/fails", _fails),
            Route("/control/stop", _stop, methods=["POST"]),
            WebSocketRoute("/ws", _echo),
        ]
    )


def written(path: Path, content: str = TOKEN) -> Path:
    """Return a token file with this content."""
    path.write_text(content + "\n")
    path.chmod(0o600)
    return path


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as each:
        each.bind(("127.0.0.1", 0))
        return int(each.getsockname()[1])


@dataclass(frozen=True, slots=True)
class Listening:
    """A server that answers."""

    port: int
    server: Server

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/ws"

    def inside(self) -> int:
        """Return how many connections are open."""
        return len(self.server.config.door)


@asynccontextmanager
async def listening(app: Starlette, options: ServeOptions) -> AsyncIterator[Listening]:
    """Serve an application whose guard is installed on a free port."""
    bound = socket.socket()
    bound.bind(("127.0.0.1", 0))
    server = Server(ServerConfig(app, options.limits))
    serving = asyncio.create_task(server.serve(sockets=[bound]))
    try:
        while not server.started:  # noqa: ASYNC110 - uvicorn tells it by an attribute
            await asyncio.sleep(0.005)
        yield Listening(bound.getsockname()[1], server)
    finally:
        server.should_exit = True
        await serving


@asynccontextmanager
async def guarded(
    options: ServeOptions, token_file: Path | None = None, clock: Clock | None = None
) -> AsyncIterator[Listening]:
    """Serve the small application under these options."""
    tokens = None if token_file is None else TokenFile(token_file, clock or SystemClock())
    app = small_app()
    install(app, Policy.of(options, tokens))
    async with listening(app, options) as there:
        yield there


def client(there: Listening, **more: object) -> httpx.AsyncClient:
    """Return a client that no proxy of the environment comes between."""
    return httpx.AsyncClient(base_url=there.url, trust_env=False, **more)  # type: ignore[arg-type]
