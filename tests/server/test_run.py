"""The server as it is run: a process, a socket, signals."""

import errno
import shutil
import signal
import socket

import pytest

from liqctl.errors import SettingsError
from liqctl.server import run
from tests.server.program import WAIT_S, serving, started


@pytest.fixture
def place(full_file, tmp_path):
    """A folder with a database in it."""
    shutil.copy(full_file, tmp_path / "api.db")
    return tmp_path


def free_port() -> int:
    with socket.socket() as each:
        each.bind(("127.0.0.1", 0))
        return int(each.getsockname()[1])


def test_it_serves_without_the_key_and_ends_with_0_although_clients_stay(place):
    with serving(place, "--port", str(free_port())) as program:
        stays = socket.create_connection(("127.0.0.1", int(program.url.rpartition(":")[2])))
        stays.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        head = stays.recv(4096).lower()
        found = program.get("/liquidations/recent")
        program.process.send_signal(signal.SIGTERM)
        code = program.end()
        stays.close()

    assert found.status_code == 200
    assert len(found.json()["items"]) == 5
    assert b"server:" not in head
    assert b"uvicorn" not in head
    assert code == 0


def test_a_second_signal_ends_it_at_once(place):
    with serving(place, "--port", str(free_port())) as program:
        # A request whose body never comes keeps the first signal waiting.
        stays = socket.create_connection(("127.0.0.1", int(program.url.rpartition(":")[2])))
        stays.sendall(
            b"POST /control/stop HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer "
            + (place / ".local/state/liqctl/token").read_bytes().strip()
            + b"\r\nContent-Length: 9\r\n\r\n"
        )
        program.get("/healthz")
        program.process.send_signal(signal.SIGTERM)
        with pytest.raises(Exception, match="timed out"):
            program.process.wait(0.5)
        program.process.send_signal(signal.SIGINT)
        code = program.end()
        stays.close()

    assert code == -signal.SIGINT


def test_a_reader_that_has_left_before_the_address_is_told_ends_it_in_order(place):
    process = started(place, "--port", str(free_port()))
    assert process.stdout is not None
    process.stdout.close()
    process.stdout = None
    _, err = process.communicate(timeout=WAIT_S)

    assert process.returncode == 1
    assert "Traceback" not in err


def test_a_port_in_use_is_refused_with_2_and_said(place):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        process = started(place, "--port", str(port))
        out, err = process.communicate(timeout=WAIT_S)

    assert (process.returncode, out) == (2, "")
    assert err == (
        f"liqctl: port {port} of 127.0.0.1 is in use by another program; name another with"
        " SERVER_PORT or, of `liqctl serve`, with --port\n"
    )


@pytest.mark.parametrize(
    "host, family", [("127.0.0.1", "AF_INET"), ("::1", "AF_INET6"), ("[::1]", "AF_INET6")]
)
def test_an_address_is_bound_as_what_it_is(host, family):
    try:
        sockets = run.bind(host, 0)
    except SettingsError as error:
        if getattr(error.__cause__, "errno", None) == errno.EADDRNOTAVAIL:
            pytest.skip("this machine has no IPv6")
        raise
    try:
        assert [each.family.name for each in sockets] == [family]
    finally:
        for each in sockets:
            each.close()


@pytest.mark.parametrize(
    "host, said",
    [
        ("192.0.2.1", "no address of this machine"),
        ("no-such-host.invalid", "no name that is known"),
    ],
)
def test_a_host_that_is_not_this_machine_is_refused(host, said):
    with pytest.raises(SettingsError, match=said):
        run.bind(host, 0)
