"""Local receivers that play Slack, Discord, PagerDuty and a webhook, under their own host names.

apprise posts to fixed hosts over TLS. The receiver is the HTTP proxy that `requests` takes from the
environment: it answers CONNECT, and is the host that was asked for, with a certificate that only
the tests trust. So the real plugins run unchanged, down to the bytes on the wire.
"""

import asyncio
import json
import ssl
import warnings
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pytest
from aiosmtpd.smtp import SMTP

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # its mail plugin imports `imghdr`
    import apprise.plugins.email  # noqa: F401 - for its warning alone

CERTIFICATE = Path(__file__).with_name("receivers.pem")
SLACK = "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7vF"
DISCORD = "discord://4174216298/JHMHI8qBe7bk2ZwO5U711o3dV_js"
PAGERDUTY = "pagerduty://R0UTINGKEY0123456789@ap1key0123456789"
SECRETS = ("T1JJ3T3L2", "TIiajkdn", "4174216298", "JHMHI8q", "R0UTINGKEY", "ap1key")


@dataclass(frozen=True)
class Answer:
    """What a receiver says; `hangs` says nothing until the receiver closes."""

    status: int = 200
    body: bytes = b"ok"
    headers: tuple[str, ...] = ()
    hangs: bool = False


HANGS = Answer(hangs=True)
BUSY = Answer(status=429, body=b"", headers=("Retry-After: 1",))
BROKEN = Answer(status=503, body=b"")


@dataclass(frozen=True)
class Request:
    """One request as it arrived."""

    host: str
    path: str
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Receiver:
    """Answers every request from a script, the last answer again and again."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = deque(answers or (Answer(),))
        self.requests: list[Request] = []
        self.port = 0
        self._closing = asyncio.Event()
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(CERTIFICATE)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *error: object) -> None:
        self._closing.set()
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            method, target, headers = await self._head(reader)
            host = headers.get("host", "")
            if method == "CONNECT":
                host = target.partition(":")[0]
                writer.write(b"HTTP/1.1 200 established\r\n\r\n")
                await writer.start_tls(self._tls)
                _, target, headers = await self._head(reader)
            length = int(headers.get("content-length", "0"))
            body = await reader.readexactly(length)
            await self._answer(writer, Request(host, target, body))
        writer.close()
        with suppress(ConnectionError, ssl.SSLError):
            await writer.wait_closed()

    async def _head(self, reader: asyncio.StreamReader) -> tuple[str, str, dict[str, str]]:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.rstrip("\r\n").split("\r\n")
        method, target, _ = first.split(" ")
        pairs = (line.partition(":") for line in lines)
        return method, target, {name.lower(): value.strip() for name, _, value in pairs}

    async def _answer(self, writer: asyncio.StreamWriter, request: Request) -> None:
        self.requests.append(request)
        answer = self.answers.popleft() if len(self.answers) > 1 else self.answers[0]
        if answer.hangs:
            await self._closing.wait()
            return
        head = [f"HTTP/1.1 {answer.status} as scripted", f"Content-Length: {len(answer.body)}"]
        lines = "\r\n".join([*head, *answer.headers, "Connection: close", "", ""])
        writer.write(lines.encode() + answer.body)
        await writer.drain()


def reach(monkeypatch: pytest.MonkeyPatch, receiver: Receiver) -> None:
    """Let every HTTPS request of this process end at the receiver, and trust its certificate."""
    monkeypatch.setenv("HTTPS_PROXY", receiver.url)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(CERTIFICATE))


class Mailbox:
    """An SMTP server that keeps what it is sent."""

    def __init__(self) -> None:
        self.mails: list[str] = []
        self.port = 0

    async def handle_DATA(self, _server: object, _session: object, envelope: Any) -> str:  # noqa: N802
        self.mails.append(envelope.content.decode())
        return "250 kept"

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: SMTP(self, hostname="localhost"), "127.0.0.1", 0
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *error: object) -> None:
        self._server.close()
        await self._server.wait_closed()
