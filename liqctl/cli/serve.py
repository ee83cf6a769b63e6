"""`liqctl serve`: the API, which is not there yet."""

from liqctl.cli import command_app
from liqctl.errors import SettingsError

app = command_app()


@app.command()
def serve() -> None:
    """Serve the REST and WebSocket API."""
    raise SettingsError(
        "the API comes with the next release; until then use `--json` on any command"
    )
