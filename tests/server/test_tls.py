"""Certificate and key files: what is refused and how, and a server that speaks TLS with them."""

import asyncio
import socket
import ssl
import subprocess
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from structlog.testing import capture_logs

from liqctl.errors import SettingsError
from liqctl.server.limits import Server, ServerConfig
from liqctl.server.options import Limits, ServeOptions
from liqctl.server.security import Policy, install
from liqctl.server.tls import tls_context
from tests.server.guarded import small_app


def openssl(*arguments: object) -> None:
    command = ["openssl", *map(str, arguments)]
    subprocess.run(command, check=True, capture_output=True, timeout=20)


def self_signed(folder: Path, name: str) -> tuple[Path, Path]:
    """Return a certificate for 127.0.0.1, and its key."""
    cert, key = folder / f"{name}.pem", folder / f"{name}.key"
    made = ("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    named = ("-days", 2, "-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1")
    openssl(*made, "-keyout", key, "-out", cert, *named)
    return cert, key


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tls")


@pytest.fixture(scope="module")
def pair(folder: Path) -> tuple[Path, Path]:
    return self_signed(folder, "one")


@pytest.fixture(scope="module")
def other(folder: Path) -> tuple[Path, Path]:
    return self_signed(folder, "two")


def test_without_files_there_is_no_tls():
    assert tls_context(None, None) is None


def test_a_token_in_the_clear_is_warned_about(pair):
    with capture_logs() as logs:
        tls_context(None, None, public_host="192.0.2.1")
        tls_context(*pair, public_host="192.0.2.1")
        tls_context(None, None)

    assert [(line["event"], line["host"]) for line in logs] == [
        ("tokens_in_the_clear", "192.0.2.1")
    ]


def test_a_pair_of_files_makes_a_context_without_old_versions(pair):
    context = tls_context(*pair)

    assert context is not None
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2


def test_the_files_belong_together(pair, other):
    for cert, key in ((pair[0], None), (None, pair[1])):
        with pytest.raises(SettingsError, match="--tls-cert and --tls-key belong together"):
            tls_context(cert, key)
    with pytest.raises(SettingsError, match=r"two\.key does not belong to .*/one\.pem"):
        tls_context(pair[0], other[1])


def test_what_cannot_be_read_is_named(pair, tmp_path):
    for cert, key, said in (
        (tmp_path / "none.pem", pair[1], "--tls-cert .*none.pem cannot be read: No such file"),
        (pair[0], tmp_path / "none.key", "--tls-key .*none.key cannot be read: No such file"),
        (tmp_path, pair[1], "--tls-cert .* cannot be read: Is a directory"),
        (pair[0], Path("a\0b"), "--tls-key has a zero byte"),
    ):
        with pytest.raises(SettingsError, match=said):
            tls_context(cert, key)


def test_files_of_another_kind_are_refused(pair, tmp_path):
    cert, key = pair
    binary, damaged = tmp_path / "cert.der", tmp_path / "damaged.pem"
    openssl("x509", "-in", cert, "-outform", "DER", "-out", binary)
    damaged.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")

    for wrong_cert, wrong_key, said in (
        (key, key, "--tls-cert .* does not hold a certificate in PEM form"),
        (binary, key, "--tls-cert .* does not hold a certificate in PEM form"),
        (cert, cert, "--tls-key .* does not hold a private key in PEM form"),
        (damaged, key, r"damaged\.pem and --tls-key .* are no use"),
    ):
        with pytest.raises(SettingsError, match=said):
            tls_context(wrong_cert, wrong_key)


def test_an_encrypted_key_is_refused_instead_of_asked_about(pair, tmp_path):
    locked = tmp_path / "locked.key"
    openssl("pkey", "-in", pair[1], "-aes256", "-passout", "pass:canary", "-out", locked)

    with pytest.raises(SettingsError, match=r"encrypted.*openssl pkey"):
        tls_context(pair[0], locked)


async def test_a_server_speaks_tls_and_drops_who_does_not(pair):
    limits = Limits(header_s=0.3, shutdown_s=1.0)
    options = replace(ServeOptions(database_url="sqlite:none.db"), limits=limits)
    app = small_app()
    install(app, Policy.of(options, None))
    context = tls_context(*pair)
    bound = socket.socket()
    bound.bind(("127.0.0.1", 0))
    port = bound.getsockname()[1]
    server = Server(ServerConfig(app, limits, ssl_context_factory=lambda *_: context))
    serving = asyncio.create_task(server.serve(sockets=[bound]))
    trusted = ssl.create_default_context(cafile=str(pair[0]))

    async with (
        asyncio.timeout(10),
        httpx.AsyncClient(verify=trusted, trust_env=False) as http,
    ):
        while not server.started:  # noqa: ASYNC110 - uvicorn tells it by an attribute
            await asyncio.sleep(0.005)
        answer = await http.get(f"https://127.0.0.1:{port}/prices")
        with pytest.raises(httpx.TransportError):
            await http.get(f"http://127.0.0.1:{port}/prices")
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        silent = await reader.read()  # it says nothing, and is cut off
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
    server.should_exit = True
    await serving

    assert answer.status_code == 200
    assert silent == b""
