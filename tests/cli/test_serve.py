"""The options of `liqctl serve`, from every layer to what the server is told."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from liqctl.cli import app
from liqctl.cli.serve import serve_options
from liqctl.config import Files, load
from liqctl.server.options import ServeOptions

NO_FILES = Files(env_file=None, own=(), solana=Path("/nonexistent"))


def test_a_server_that_is_told_nothing_listens_on_this_machine_alone():
    options = serve_options(load({}, {}, NO_FILES).settings)

    assert options == ServeOptions(database_url="sqlite:liquidation_engine.db")
    assert (options.host, options.port, options.is_public) == ("127.0.0.1", 8080, False)


def test_the_server_is_told_what_the_variables_say():
    variables = {
        "DATABASE_URL": "sqlite:a.db",
        "LIQCTL_SERVER_HOST": "0.0.0.0",  # noqa: S104
        "SERVER_PORT": "81",
        "LIQCTL_SERVER_TOKEN_FILE": "~/token",
        "LIQCTL_CORS_ORIGINS": "https://a.example, http://localhost:3000",
        "LIQCTL_ALLOWED_HOSTS": "api.example,[::1]",
        "LIQCTL_TLS_CERT": "cert.pem",
        "LIQCTL_TLS_KEY": "key.pem",
    }

    options = serve_options(load({}, variables, NO_FILES).settings)

    assert options == ServeOptions(
        database_url="sqlite:a.db",
        host="0.0.0.0",  # noqa: S104
        port=81,
        token_file=Path.home() / "token",
        cors_origins=("https://a.example", "http://localhost:3000"),
        allowed_hosts=("api.example", "[::1]"),
        tls_cert=Path("cert.pem"),
        tls_key=Path("key.pem"),
    )
    assert options.is_public


@pytest.mark.parametrize(
    "options, said",
    [
        (("--host", "0.0.0.0"), "--token-file"),  # noqa: S104
        (("--host", "a b"), "--host must be an address or a name"),
        (("--host", "http://a"), "--host must be an address or a name"),
        (("--cors-origin", "https://x/y"), "--cors-origin must be an origin"),
        (("--cors-origin", "https://a", "--cors-origin", "null"), "--cors-origin must be"),
        (("--allowed-host", "http://x"), "--allowed-host must be"),
        (("--port", "0"), "--port must be greater than or equal to 1"),
        (("--tls-cert", "missing.pem"), "--tls-key"),
    ],
)
def test_settings_that_cannot_be_used_are_refused_with_2(tmp_path, monkeypatch, options, said):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))

    done = CliRunner().invoke(app, ["serve", *options], prog_name="liqctl")

    assert (done.exit_code, done.stdout) == (2, "")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
