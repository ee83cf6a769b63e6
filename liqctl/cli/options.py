"""The options that commands share, and the session they open."""

import functools
import inspect
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from liqctl.errors import GuardError, SettingsError

if TYPE_CHECKING:
    from liqctl.cli.render import Screen
    from liqctl.config import Settings

Url = Annotated[
    str | None,
    typer.Option(
        "-u",
        "--url",
        metavar="URL_OR_MONIKER",
        help="RPC endpoint, or mainnet-beta, testnet, devnet, localhost (or the first letter)."
        " [env: LIQCTL_RPC_URL, SOLANA_RPC_URL]",
    ),
]
FallbackUrls = Annotated[
    list[str] | None,
    typer.Option(
        "--fallback-url",
        metavar="URL",
        help="RPC endpoint to read from when the first fails or lags; may be repeated."
        " [env: LIQCTL_RPC_FALLBACK_URLS]",
    ),
]
SendUrls = Annotated[
    list[str] | None,
    typer.Option(
        "--send-url",
        metavar="URL",
        help="RPC endpoint to send to instead of those to read from; may be repeated."
        " [env: LIQCTL_SEND_URLS]",
    ),
]
WsUrl = Annotated[
    str | None,
    typer.Option(
        "--ws",
        metavar="URL",
        help="WebSocket endpoint; derived from the RPC endpoint unless given. [env: LIQCTL_WS_URL]",
    ),
]
Keypair = Annotated[
    str | None,
    typer.Option(
        "-k",
        "--keypair",
        metavar="SIGNER",
        help="The liquidator's key file, or exec:COMMAND that signs. [env: LIQCTL_KEYPAIR, WALLET_PATH]",
    ),
]
ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "-C",
        "--config",
        metavar="FILE",
        help="Read this liqctl.toml, or (with the ending .yml) this configuration of the Solana command line.",
    ),
]
EnvFile = Annotated[
    Path | None,
    typer.Option(
        "--env-file", metavar="FILE", help="Read variables that are not set from this file."
    ),
]
Commitment = Annotated[
    str | None,
    typer.Option(
        "--commitment",
        metavar="LEVEL",
        help="processed, confirmed or finalized. [env: LIQCTL_COMMITMENT]",
        autocompletion=lambda: ["processed", "confirmed", "finalized"],
    ),
]
ProgramId = Annotated[
    str | None,
    typer.Option(
        "--program-id",
        metavar="PUBKEY",
        help="The program to watch, when it is only one. [env: LIQCTL_PROGRAM_ID]",
    ),
]
VenueNames = Annotated[
    list[str] | None,
    typer.Option(
        "--venue",
        metavar="NAME[=PUBKEY]",
        help="What kind of program it is, and where; may be repeated; `liqctl venues list` shows"
        " which. [env: LIQCTL_VENUE]",
        autocompletion=lambda: ["reference", "perpetuals", "adrena", "jupiter"],
    ),
]
IdlFile = Annotated[
    str | None,
    typer.Option(
        "--idl",
        metavar="FILE",
        help="The IDL of your own program; needs --mapping. [env: LIQCTL_IDL]",
    ),
]
MappingFile = Annotated[
    str | None,
    typer.Option(
        "--mapping",
        metavar="FILE",
        help="What the accounts of your own program mean; see `liqctl venues init`."
        " [env: LIQCTL_MAPPING]",
    ),
]
Database = Annotated[
    str | None,
    typer.Option(
        "--database",
        metavar="URL",
        help="Where records are kept, such as sqlite:FILE. [env: LIQCTL_DATABASE_URL, DATABASE_URL]",
    ),
]
HermesUrl = Annotated[
    str | None,
    typer.Option(
        "--hermes-url",
        metavar="URL",
        help="Price service beside the chain, such as https://HOST/hermes; none unless given."
        " [env: LIQCTL_HERMES_URL]",
    ),
]
LogLevel = Annotated[
    str | None,
    typer.Option(
        "--log-level",
        metavar="LEVEL",
        help="error, warn, info, debug or trace; info for `watch`, else warn, unless given."
        " [env: LIQCTL_LOG_LEVEL, RUST_LOG]",
        autocompletion=lambda: ["error", "warn", "info", "debug", "trace"],
    ),
]
Verbose = Annotated[
    int,
    typer.Option(
        "-v", "--verbose", count=True, show_default=False, help="Log more; twice for everything."
    ),
]
Json = Annotated[
    bool, typer.Option("--json", help="Print JSON: one object, or one a line for streams.")
]
NoColor = Annotated[
    bool, typer.Option("--no-color", help="No colour and no styles. [env: NO_COLOR]")
]
NoInput = Annotated[
    bool, typer.Option("--no-input", help="Never ask; what would need an answer is refused.")
]
Yes = Annotated[bool, typer.Option("-y", "--yes", help="Answer every question with yes.")]
DryRun = Annotated[
    bool,
    typer.Option(
        "-n", "--dry-run", help="Decide everything, load no key, send nothing, record nothing."
    ),
]
Accounts = Annotated[
    Path | None,
    typer.Option(
        "--accounts",
        metavar="DIR",
        help="Read account dumps of `solana account --output json`, one a file, and no node.",
    ),
]
Now = Annotated[
    int | None,
    typer.Option(
        "--now",
        metavar="UNIX_S",
        help="The cluster's time with --accounts; else the dumped clock's, else the newest price's.",
    ),
]

ShadowRate = Annotated[
    float | None,
    typer.Option(
        "--shadow-rate",
        metavar="SHARE",
        help="Let the program itself judge this share of the verdicts, 0 to 1, by simulation."
        " [env: LIQCTL_SHADOW_RATE]",
    ),
]

# name -> (annotation, default); what each session is made of, in the order of the help.
_SHARED: Mapping[str, tuple[object, object]] = {
    "rpc_url": (Url, None),
    "rpc_fallback_urls": (FallbackUrls, None),
    "send_urls": (SendUrls, None),
    "ws_url": (WsUrl, None),
    "keypair": (Keypair, None),
    "config": (ConfigFile, None),
    "env_file": (EnvFile, None),
    "commitment": (Commitment, None),
    "venue": (VenueNames, None),
    "program_id": (ProgramId, None),
    "idl": (IdlFile, None),
    "mapping": (MappingFile, None),
    "database_url": (Database, None),
    "hermes_url": (HermesUrl, None),
    "shadow_rate": (ShadowRate, None),
    "dry_run": (DryRun, False),
    "yes": (Yes, False),
    "as_json": (Json, False),
    "no_input": (NoInput, False),
    "no_color": (NoColor, False),
    "log_level": (LogLevel, None),
    "verbose": (Verbose, 0),
}
_ON_REQUEST = frozenset({"shadow_rate", "dry_run", "yes"})
_SETTINGS = (
    "rpc_url",
    "rpc_fallback_urls",
    "send_urls",
    "ws_url",
    "keypair",
    "commitment",
    "venue",
    "program_id",
    "idl",
    "mapping",
    "database_url",
    "hermes_url",
    "shadow_rate",
    "log_level",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """What a command works with: valid settings, an open screen, logs on stderr."""

    settings: "Settings"
    origins: Mapping[str, str]
    screen: "Screen"
    as_json: bool = False
    dry_run: bool = False
    yes: bool = False
    no_input: bool = False
    no_color: bool = False

    def confirm(self, question: str) -> None:
        """Return when the answer is yes.

        Raises:
            GuardError: the answer is no, or nobody can be asked.
        """
        if self.yes:
            return
        if self.no_input or not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise GuardError(f"{question} Not without --yes.")
        if not typer.confirm(question, err=True):
            raise GuardError("not confirmed; nothing was sent")


def with_session(
    *requested: str, daemon: bool = False, also: Mapping[str, object] = MappingProxyType({})
) -> Callable[[Callable[..., object]], Callable[..., object]]:
    """Give a command its `session`, and its command line the options that the session is made of.

    Of the shared options `dry_run` and `yes` are there only on request; `also` are annotations of
    further settings, by name, that only this command has options for. A command that ends by
    itself prints its result and logs from warn on unless told otherwise; a daemon tells by its log.
    """
    shared = {n: o for n, o in _SHARED.items() if n not in _ON_REQUEST or n in requested}
    names = shared | {name: (annotation, None) for name, annotation in also.items()}

    def decorate(command: Callable[..., object]) -> Callable[..., object]:
        @functools.wraps(command)
        def run(**given: Any) -> object:  # noqa: ANN401 - typer has converted them
            chosen = {name: given.pop(name) for name in names}
            session = open_session(daemon=daemon, **chosen)
            return command(session=session, **given)

        keyword = inspect.Parameter.KEYWORD_ONLY
        own = inspect.signature(command, eval_str=True).parameters
        parameters = [p.replace(kind=keyword) for name, p in own.items() if name != "session"]
        for name, (annotation, default) in names.items():
            parameters.append(
                inspect.Parameter(name, keyword, default=default, annotation=annotation)
            )
        vars(run)["__signature__"] = inspect.Signature(parameters)
        run.__annotations__ = {p.name: p.annotation for p in parameters}
        return run

    return decorate


def open_session(
    *,
    config: Path | None = None,
    env_file: Path | None = None,
    verbose: int = 0,
    no_color: bool = False,
    daemon: bool = False,
    **given: Any,  # noqa: ANN401 - settings and switches by name
) -> Session:
    """Return a session: settings read and checked, logging started.

    Raises:
        SettingsError: a setting is wrong.
    """
    from liqctl.cli.logs import start_logging  # noqa: PLC0415 - 60 ms, not for --help
    from liqctl.cli.render import Screen  # noqa: PLC0415 - 40 ms, not for --help
    from liqctl.config import Files, Settings, load  # noqa: PLC0415 - 60 ms, not for --help

    names = {*_SETTINGS, *(given.keys() & Settings.model_fields.keys())}
    # A list that was not given is an empty one.
    settings_given = {name: None if (v := given.pop(name, None)) == [] else v for name in names}
    if verbose and settings_given["log_level"] is None:
        settings_given["log_level"] = "debug" if verbose == 1 else "trace"
    loaded = load(settings_given, os.environ, Files.locate(config=config, env_file=env_file))
    level = loaded.settings.log_level
    if not daemon and loaded.origins["log_level"] == "default":
        level = "warn"
    start_logging(level, loaded.settings.log_format, no_color=no_color)
    return Session(
        settings=loaded.settings,
        origins=loaded.origins,
        screen=Screen(no_color=no_color),
        no_color=no_color,
        **given,
    )


def whole_number(option: str, value: int, low: int, high: int) -> int:
    """Return the value of an option that must lie in low..high.

    Raises:
        SettingsError: it does not.
    """
    if not low <= value <= high:
        raise SettingsError(f"{option} must be a whole number from {low} to {high}, was {value}")
    return value
