"""`liqctl serve`: the API over the database, in a program of its own."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from liqctl.cli import command_app
from liqctl.cli.options import Session, with_session

if TYPE_CHECKING:
    from liqctl.config import Settings
    from liqctl.server.options import ServeOptions

app = command_app()

EXAMPLES = (
    "Examples: liqctl serve; liqctl serve --port 9000 --json; "
    "liqctl serve --host 0.0.0.0 --allowed-host NAME --token-file FILE --tls-cert FILE "
    "--tls-key FILE"
)
OPTIONS = {
    "server_host": Annotated[
        str | None,
        typer.Option(
            "--host",
            metavar="ADDRESS",
            help="Listen on this address, 127.0.0.1 unless given. [env: LIQCTL_SERVER_HOST]",
        ),
    ],
    "server_port": Annotated[
        int | None,
        typer.Option(
            "--port",
            metavar="N",
            help="Listen on this port, 8080 unless given. [env: LIQCTL_SERVER_PORT, SERVER_PORT]",
        ),
    ],
    "server_token_file": Annotated[
        str | None,
        typer.Option(
            "--token-file",
            metavar="FILE",
            help="The clients' tokens, one a line; on loopback one is made at first use."
            " [env: LIQCTL_SERVER_TOKEN_FILE]",
        ),
    ],
    "server_connections": Annotated[
        int | None,
        typer.Option(
            "--connections",
            metavar="N",
            help="Connections at the same time, 512 unless given. [env: LIQCTL_SERVER_CONNECTIONS]",
        ),
    ],
    "server_connections_per_address": Annotated[
        int | None,
        typer.Option(
            "--connections-per-address",
            metavar="N",
            help="Connections from one address, 32 unless given; a reverse proxy is one address."
            " [env: LIQCTL_SERVER_CONNECTIONS_PER_ADDRESS]",
        ),
    ],
    "cors_origins": Annotated[
        list[str] | None,
        typer.Option(
            "--cors-origin",
            metavar="ORIGIN",
            help="Let pages of this origin read, such as https://example.com; may be repeated."
            " [env: LIQCTL_CORS_ORIGINS]",
        ),
    ],
    "allowed_hosts": Annotated[
        list[str] | None,
        typer.Option(
            "--allowed-host",
            metavar="NAME",
            help="Answer for this name too, such as a reverse proxy's; may be repeated."
            " [env: LIQCTL_ALLOWED_HOSTS]",
        ),
    ],
    "tls_cert": Annotated[
        str | None,
        typer.Option(
            "--tls-cert",
            metavar="FILE",
            help="Serve https with this certificate (PEM). [env: LIQCTL_TLS_CERT]",
        ),
    ],
    "tls_key": Annotated[
        str | None,
        typer.Option(
            "--tls-key",
            metavar="FILE",
            help="The key of the certificate (PEM). [env: LIQCTL_TLS_KEY]",
        ),
    ],
}


@app.command(epilog=EXAMPLES)
@with_session(daemon=True, also=OPTIONS)
def serve(
    *,
    session: Session,
    exit_with_stdin: Annotated[
        bool,
        typer.Option(
            "--exit-with-stdin",
            hidden=True,
            help="End with the program that holds standard input open.",
        ),
    ] = False,
) -> None:
    """Serve the API, its events and the dashboard from the database.

    Runs beside the keeper, on the same database, and never loads a key. Only this machine can
    reach it unless told otherwise, and all that it can change is the kill switch, with a token.
    """
    from liqctl.ports import SystemClock, SystemRng  # noqa: PLC0415 - 30 ms, not for --help
    from liqctl.server.run import World, run  # noqa: PLC0415 - 400 ms, not for --help

    def ready(url: str) -> None:
        if session.as_json:
            session.screen.json({"type": "ready", "url": url})
        else:
            session.screen.print(f"serving on {url}")

    world = World(clock=SystemClock(), rng=SystemRng(), ready=ready)
    run(serve_options(session.settings), world, supervised=exit_with_stdin)


def serve_options(settings: "Settings") -> "ServeOptions":
    """Return what the settings say about a server."""
    from liqctl.server.options import Limits, ServeOptions  # noqa: PLC0415 - with the server only

    return ServeOptions(
        database_url=settings.database_url,
        host=settings.server_host,
        port=settings.server_port,
        token_file=_path(settings.server_token_file),
        cors_origins=settings.cors_origins,
        allowed_hosts=settings.allowed_hosts,
        tls_cert=_path(settings.tls_cert),
        tls_key=_path(settings.tls_key),
        limits=Limits(
            connections=settings.server_connections,
            connections_per_address=settings.server_connections_per_address,
        ),
    )


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text).expanduser()
