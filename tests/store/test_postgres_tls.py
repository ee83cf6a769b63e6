"""On the way to another host the certificate is checked, and so is the name in it."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import quote

import pytest

from liqctl.errors import StoreUnusable
from liqctl.store.open import open_store
from tests.store.postgres_server import fresh_url, server

# A certificate that signed itself, for localhost and 127.0.0.1, with its key.
PEM = Path(__file__).parents[1] / "alerts" / "receivers.pem"


class TlsFront:
    """Speaks TLS with clients of PostgreSQL, and in the clear with the server behind it."""

    def __init__(self) -> None:
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._context.load_cert_chain(PEM)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.served = 0
        self._outside: socket.socket | None = None
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        if self._outside is not None:
            with suppress(OSError):
                self._outside.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with client, suppress(OSError):
                self._serve(client)

    def _serve(self, client: socket.socket) -> None:
        assert client.recv(8)[4:] == (80877103).to_bytes(4)  # the request for TLS
        client.sendall(b"S")
        with (
            self._context.wrap_socket(client, server_side=True) as inside,
            socket.create_connection(("127.0.0.1", server().port)) as outside,
        ):
            self.served, self._outside = self.served + 1, outside
            back = threading.Thread(target=_pump, args=(outside, inside))
            back.start()
            _pump(inside, outside)
            back.join()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65_536):
            sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def front(monkeypatch: pytest.MonkeyPatch) -> Iterator[TlsFront]:
    for name in ("PGSSLMODE", "PGSSLROOTCERT"):
        monkeypatch.delenv(name, raising=False)
    fresh_url("tls")
    front = TlsFront()
    yield front
    front.close()


def url(front: TlsFront, host: str, more: str) -> str:
    options = quote("-csearch_path=tls", safe="")
    return f"postgresql://postgres@{host}:{front.port}/liqctl?options={options}&{more}"


def test_a_server_whose_authority_and_name_are_known_is_used(front):
    trusted = f"sslmode=verify-full&sslrootcert={PEM}"

    with closing(open_store(url(front, "localhost", trusted))) as store:
        assert store.append_event("queue", "{}", 1) == 1
    assert front.served == 1


def test_a_server_that_anybody_could_be_is_refused(front):
    with pytest.raises(StoreUnusable, match=r"no verified TLS connection .*sslrootcert=FILE"):
        open_store(url(front, "db.example.com", "hostaddr=127.0.0.1"))
    assert front.served == 0


def test_a_server_of_another_name_is_refused_although_its_authority_is_trusted(front):
    elsewhere = f"hostaddr=127.0.0.1&sslrootcert={PEM}"

    with pytest.raises(StoreUnusable, match=r"no verified TLS connection .*db.example.com"):
        open_store(url(front, "db.example.com", elsewhere))


def test_who_chooses_less_gets_less(front):
    with closing(
        open_store(url(front, "db.example.com", "hostaddr=127.0.0.1&sslmode=require"))
    ) as s:
        assert s.last_seq() == 0
