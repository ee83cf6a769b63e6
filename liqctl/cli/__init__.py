"""The command line: one file per command, imported when it is named."""

import importlib
import importlib.util
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from liqctl import __version__
from liqctl.cli.exits import end
from liqctl.errors import SettingsError

COMMANDS = {
    "watch": ("liqctl.cli.watch", "Watch all positions and liquidate the unhealthy ones."),
    "scan": ("liqctl.cli.scan", "Look at every position once and queue the liquidatable ones."),
    "liquidate": ("liqctl.cli.liquidate", "Liquidate one position by hand."),
    "explain": ("liqctl.cli.explain", "Show everything behind the verdict on one position."),
    "queue": ("liqctl.cli.queue", "Show what waits, is in flight or is quarantined, and why."),
    "insurance": ("liqctl.cli.insurance", "Show the insurance fund and what it covers."),
    "serve": ("liqctl.cli.serve", "Serve the API, its events and the dashboard from the database."),
    "localnet": ("liqctl.cli.localnet", "Run an embedded chain with markets and traders."),
    "config": ("liqctl.cli.config", "Show the settings and where they come from."),
    "history": ("liqctl.cli.history", "Show past liquidations, failures and attempts."),
    "alerts": ("liqctl.cli.alerts", "Show alerts, and test the channels that they go to."),
    "doctor": (
        "liqctl.cli.doctor",
        "Check endpoints, program, key and database before real money.",
    ),
    "venues": (
        "liqctl.cli.venues",
        "Show the venues, or map a program of your own.",
    ),
    "bench": ("liqctl.cli.bench", "Measure liqctl on this machine."),
    "dev": ("liqctl.cli.dev", "Tools for rehearsals and proofs."),
}


class Root(TyperGroup):
    """The group that shows every command and imports only the one that is called."""

    def __init__(self, **attributes: Any) -> None:
        """Add a line for each command of the table."""
        super().__init__(**attributes)
        for name, (_, line) in COMMANDS.items():
            self.add_command(TyperCommand(name, help=line))

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Put the real command in the place of its line in the table."""
        name, line, rest = super().resolve_command(ctx, args)
        return name, _real_command(name) if name and line else line, rest

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run a command; in standalone mode end the program with its exit code."""

        def run() -> object:
            return super(Root, self).main(
                args, prog_name, complete_var, False, windows_expand_args, **extra
            )

        return end(run) if standalone_mode else run()


def _real_command(name: str) -> Any:
    module = COMMANDS[name][0]
    if importlib.util.find_spec(module) is None:
        raise SettingsError(f"`liqctl {name}` is not part of this version; see `liqctl --help`")
    command = typer.main.get_command(importlib.import_module(module).app)
    command.name = name
    return command


def command_app(*, add_completion: bool = False, **attributes: Any) -> typer.Typer:
    """Return the Typer object of one command module, in the style of all of them."""
    return typer.Typer(
        add_completion=add_completion,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        **attributes,
    )


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"liqctl {__version__}")
        raise typer.Exit


app = command_app(cls=Root, invoke_without_command=True, add_completion=True)


@app.callback()
def root(
    ctx: typer.Context,
    version: Annotated[  # noqa: ARG001 - its callback prints
        bool,
        typer.Option(
            "-V",
            "--version",
            callback=_print_version,
            is_eager=True,
            help="Show the version and exit.",
        ),
    ] = False,
) -> None:
    """Watch perpetual-futures positions on Solana and liquidate the unhealthy ones, exactly once."""
    if ctx.invoked_subcommand is None:
        print(ctx.get_help())
        raise typer.Exit(2)
