"""A keeper that serves, on PostgreSQL, with alert channels and a price service: every other secret."""

import base64
import contextlib
import json
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
from psycopg.sql import SQL, Identifier, Literal
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from tests.canary_search import Stage
from tests.cli.chain_fixture import PROGRAM, environment_of
from tests.server.guarded import free_port
from tests.store.postgres_server import TABLES, fresh_url, server

SCHEMA, ROLE = "canary", "guarded"
PATHS = (
    *("/", "/docs", "/openapi.json", "/health", "/healthz", "/readyz", "/metrics", "/stats"),
    *("/prices", "/positions", "/liquidations/recent", "/liquidations/pending", "/alerts"),
    *("/insurance/balance", "/events", "/missing"),
)
WITHIN_S = 40
UNTIL_ASKED = (
    *("api_serving", "hermes_down", "transaction_confirmed"),
    *(f'"channel": "{name}"' for name in ("hook", "discord", "oncall")),
)


def serving_scene(stage: Stage) -> None:
    """A keeper serves while its channels and its price service refuse and repeat what they hear."""
    stage.chain.price("SOL", 990_000)
    log = stage.place / "serving.log"
    port = free_port()
    with repeating_node() as node, _database(stage.secrets.database) as url:
        settings = _settings(stage, node, url, port)
        with (
            log.open("wb") as errors,
            subprocess.Popen(
                [str(PROGRAM), "watch", "--serve", "--json"],
                cwd=stage.place,
                env=environment_of(stage.place, **stage.environment(**settings)),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
            ) as child,
        ):
            try:
                _wait(log, *UNTIL_ASKED)
                _ask(stage, f"127.0.0.1:{port}", "answer")
                _listen(stage, f"127.0.0.1:{port}")
                with _crashed():
                    _wait(log, "store_failed")
                    _ask(stage, f"127.0.0.1:{port}", "answer without a database")
                _wait(log, "store_works_again")
                _keep_database(stage)
                _keep_commands(stage, settings)
            finally:
                child.send_signal(signal.SIGTERM)
                out, _ = child.communicate(timeout=30)
    stage.evidence.add("serving: stdout", out)
    stage.keep_files("serving", least=(log.name,))
    if child.returncode != 0:
        raise AssertionError(f"the keeper ended with {child.returncode}: {log.read_text()[-2000:]}")


def _settings(stage: Stage, node: str, database: str, port: int) -> dict[str, str]:
    """Return the settings with every secret in its place; no channel is ever reached outside."""
    channel, host = stage.secrets.channel, node.removeprefix("http://")
    channels = stage.keys["good"].parent / "channels"
    channels.write_text(
        f"hook:info=json://{stage.secrets.user}:{channel}@{host}/{channel}?+X-Token={channel}\n"
        f"info=discord://4174216298/{channel}\n"
        f"oncall:info=pagerduty://{channel}@{channel}\n"
    )
    channels.chmod(0o600)
    return {
        "LIQCTL_DATABASE_URL": database,
        "LIQCTL_SERVER_PORT": str(port),
        "LIQCTL_SERVER_TOKEN_FILE": str(stage.keys["token"]),
        "LIQCTL_HERMES_URL": node,
        "LIQCTL_HERMES_API_KEY_FILE": str(stage.keys["hermes"]),
        "LIQCTL_ALERT_CHANNELS_FILE": str(channels),
        "LIQCTL_ALERT_MIN_BALANCE_LAMPORTS": str(10**15),
        "HTTPS_PROXY": "http://127.0.0.1:9",
        "NO_PROXY": "127.0.0.1",
    }


@contextlib.contextmanager
def _database(password: str) -> Iterator[str]:
    """Yield the URL of an empty schema that is entered with the password."""
    where = fresh_url(SCHEMA)
    _alter_password(password)
    with server().admin() as db:
        grant = SQL("GRANT ALL ON SCHEMA {} TO {}")
        db.execute(grant.format(Identifier(SCHEMA), Identifier(ROLE)))
    try:
        yield where.replace("//postgres@", f"//{ROLE}:{password}@")
    finally:
        _alter_password("right")


@contextlib.contextmanager
def _crashed() -> Iterator[None]:
    """Have the database away for the block."""
    server().crash()
    try:
        yield
    finally:
        server().start()


def _alter_password(password: str) -> None:
    with server().admin() as db:
        alter = SQL("ALTER ROLE {} PASSWORD {}")
        db.execute(alter.format(Identifier(ROLE), Literal(password)))


def _wait(log: Path, *words: str) -> None:
    """Return when the log has them all."""
    end = time.monotonic() + WITHIN_S
    while missing := [word for word in words if word not in log.read_text()]:
        if time.monotonic() > end:
            raise AssertionError(f"{missing} is not in the log: {log.read_text()[-3000:]}")
        time.sleep(0.1)


def _ask(stage: Stage, host: str, name: str) -> None:
    """Keep every kind of answer, with its headers, to those who have the token and those who not."""
    token = stage.secrets.token
    bearer = {"authorization": f"Bearer {token}"}
    with httpx.Client(base_url=f"http://{host}", trust_env=False) as http:
        answers = [http.get(path, headers=bearer) for path in PATHS]
        answers += [http.get(f"/prices?token={token}"), http.get(f"/{token}", headers=bearer)]
        answers += [http.post(f"/control/{order}", headers=bearer) for order in ("stop", "resume")]
        answers += [http.post("/control/stop", headers={"authorization": f"Bearer x{token}"})]
        answers += [http.post("/control/stop", headers=bearer, content=token)]
    for number, answer in enumerate(answers):
        told = f"{answer.status_code} {answer.headers!r} {answer.text}"
        stage.evidence.add(f"serving: {name} {number}", told.encode())


def _listen(stage: Stage, host: str) -> None:
    """Keep the head and the first frames of a socket that a browser opens."""
    token = base64.urlsafe_b64encode(stage.secrets.token.encode()).decode().rstrip("=")
    offered = [Subprotocol("liqctl"), Subprotocol(f"liqctl.bearer.{token}")]
    with connect(
        f"ws://{host}/ws?since=0", subprotocols=offered, proxy=None, close_timeout=0.2
    ) as socket:
        frames = [str(socket.recv(timeout=10)) for _ in range(3)]
        told = f"{socket.response and socket.response.headers} {frames}"
    stage.evidence.add("serving: frames", told.encode())


def _keep_database(stage: Stage) -> None:
    """Keep every row, and what the server shows of the sessions."""
    with server().admin() as db:
        for table in TABLES:
            rows = db.execute(SQL("SELECT * FROM {}").format(Identifier(SCHEMA, table))).fetchall()
            stage.evidence.add(f"serving: table {table}", f"{table} {rows}".encode())
        sessions = db.execute("SELECT * FROM pg_stat_activity").fetchall()
        stage.evidence.add("serving: sessions", str(sessions).encode())


def _keep_commands(stage: Stage, settings: dict[str, str]) -> None:
    """Run what a person would run to see what is wrong."""
    for name, command in {
        "settings": "config show --origin",
        "doctor": "doctor",
        "channels": "alerts test",
        "messages": "alerts history --deliveries",
        "alerts": "alerts list --json",
    }.items():
        stage.run_quick(f"serving, {name}", command, **settings)


class Repeating(BaseHTTPRequestHandler):
    """Refuses every call, with everything it was told in the text."""

    def do_POST(self) -> None:
        told = f"no access for {self.path} {self.headers.get('authorization')}"
        error = {"code": -32000, "message": told, "data": {"headers": dict(self.headers)}}
        body = json.dumps({"jsonrpc": "2.0", "id": 0, "error": error}).encode()
        self.send_response(200 if "api-key" in self.path else 403)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        self.do_POST()

    def log_message(self, *arguments: object) -> None:
        pass


@contextlib.contextmanager
def repeating_node() -> Iterator[str]:
    """Return the URL of a node that repeats what it hears."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Repeating) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
