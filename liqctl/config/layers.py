"""From files, variables and options to the settings of a run, each with its origin.

From the strongest layer to the weakest:

    option > LIQCTL_* variable > SOLANA_RPC_URL, WALLET_PATH, DATABASE_URL, SERVER_PORT, RUST_LOG
    > the same names in the file of --env-file > ./liqctl.toml > liqctl.toml in the user's
    configuration directory > Solana's config.yml (read only) > default
"""

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, Self

from pydantic import ValidationError

from liqctl.chain.urls import websocket_url
from liqctl.config.settings import MarketSettings, Settings
from liqctl.errors import SettingsError

COMPATIBILITY_NAMES = {
    "rpc_url": "SOLANA_RPC_URL",
    "keypair": "WALLET_PATH",
    "database_url": "DATABASE_URL",
    "server_port": "SERVER_PORT",
    "log_level": "RUST_LOG",
}
SOLANA_NAMES = {
    "rpc_url": "json_rpc_url",
    "ws_url": "websocket_url",
    "keypair": "keypair_path",
    "commitment": "commitment",
}
OPTION_NAMES = {
    "rpc_url": "--url",
    "rpc_fallback_urls": "--fallback-url",
    "send_urls": "--send-url",
    "ws_url": "--ws",
    "database_url": "--database",
    "server_host": "--host",
    "server_port": "--port",
    "server_token_file": "--token-file",
    "server_connections": "--connections",
    "server_connections_per_address": "--connections-per-address",
    "cors_origins": "--cors-origin",
    "allowed_hosts": "--allowed-host",
}
OF_ENDPOINT = frozenset({"rpc_fallback_urls", "send_urls", "ws_url"})
URL_SHOWN_LENGTH_MAX = 16
FILE_LENGTH_MAX = 2**20
FILE_NAME = "liqctl.toml"
DERIVED = "derived from rpc_url"
OF_MAPPING = "named by mapping"
PLURALS = {"venues": "venue"}

_Layer = Mapping[str, tuple[object, str]]  # by setting: the value and its origin


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """The settings, and for each of them where it came from."""

    settings: Settings
    origins: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """The files that are read if they exist, the strongest first."""

    env_file: Path | None
    own: tuple[Path, ...]
    solana: Path
    required: Path | None = None

    @classmethod
    def locate(cls, *, config: Path | None = None, env_file: Path | None = None) -> Self:
        """Return the usual places; `config` replaces ours, or Solana's if it is YAML."""
        from platformdirs import user_config_path  # noqa: PLC0415 - 4 ms, unless files are handed in

        own: tuple[Path, ...] = (Path(FILE_NAME), user_config_path("liqctl") / FILE_NAME)
        solana = Path.home() / ".config" / "solana" / "cli" / "config.yml"
        if config is not None and config.suffix in {".yml", ".yaml"}:
            solana = config
        elif config is not None:
            own = (config,)
        return cls(env_file=env_file, own=own, solana=solana, required=config)


def load(options: Mapping[str, object], environment: Mapping[str, str], files: Files) -> Loaded:
    """Return the settings of this run; options that are None were not given.

    Raises:
        SettingsError: a value, a key or a file is wrong; the message names it and its origin.
    """
    layers = [
        {name: (v, option_name(name)) for name, v in options.items() if v is not None},
        *_environment_layers(environment, ""),
        *_env_file_layers(files.env_file),
        *(_own_layer(path, required=path == files.required) for path in files.own),
        _solana_layer(files.solana, required=files.solana == files.required),
    ]
    chosen: dict[str, tuple[object, str]] = {}
    for layer in layers:
        # An endpoint brings its own company: never pair it with addresses of a weaker layer.
        hidden = OF_ENDPOINT if "rpc_url" in chosen else frozenset()
        for name, value in layer.items():
            if name not in hidden:
                chosen.setdefault(name, value)
    if "mapping" in chosen:
        chosen.setdefault("venue", ((), OF_MAPPING))
    try:
        settings = Settings.model_validate({name: value for name, (value, _) in chosen.items()})
    except ValidationError as error:
        _refuse(error, {name: origin for name, (_, origin) in chosen.items()})
    origins = {
        name: chosen[name][1] if name in chosen else "default" for name in Settings.model_fields
    }
    if not settings.ws_url:
        settings = settings.model_copy(update={"ws_url": websocket_url(settings.rpc_url)})
        origins["ws_url"] = DERIVED
    return Loaded(settings=settings, origins=origins)


def option_name(name: str) -> str:
    """Return the command-line option of a setting.

    >>> option_name("rpc_url"), option_name("program_id")
    ('--url', '--program-id')
    """
    return OPTION_NAMES.get(name, "--" + name.replace("_", "-"))


def _environment_layers(environment: Mapping[str, str], prefix: str) -> list[_Layer]:
    """Our own names, then those that other tools use; an empty variable counts as not set."""
    own = {name: f"LIQCTL_{name.upper()}" for name in Settings.model_fields}
    return [
        {n: (environment[v], prefix + v) for n, v in variables.items() if environment.get(v)}
        for variables in (own, COMPATIBILITY_NAMES)
    ]


def _env_file_layers(path: Path | None) -> list[_Layer]:
    if path is None:
        return []
    from io import StringIO  # noqa: PLC0415 - with the next line, only for --env-file

    from dotenv.parser import parse_stream  # noqa: PLC0415 - 20 ms, only for --env-file

    values = {}
    for binding in parse_stream(StringIO(_read(path))):
        if binding.error:
            raise SettingsError(f"{path}, line {binding.original.line}: expected NAME=VALUE")
        if binding.key and binding.value:
            values[binding.key] = binding.value
    return _environment_layers(values, f"{path}: ")


def _own_layer(path: Path, *, required: bool) -> _Layer:
    text = _read(path) if required or _is_there(path) else ""
    try:
        values = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # also a date or a number that cannot be
        raise SettingsError(f"{path} is not valid TOML: {error}") from error
    values = {PLURALS.get(key, key): value for key, value in values.items()}
    for key in values:
        if key not in Settings.model_fields:
            near = difflib.get_close_matches(key, Settings.model_fields, n=1, cutoff=0.5)
            hint = f"; did you mean {near[0]}?" if near else "; see `liqctl config show`"
            raise SettingsError(f"{path}: unknown setting {key}{hint}")
    return {name: (value, str(path)) for name, value in values.items()}


def _solana_layer(path: Path, *, required: bool) -> _Layer:
    if not required and not _is_there(path):
        return {}
    import yaml  # noqa: PLC0415 - 18 ms, only where the file exists

    try:
        values = yaml.safe_load(_read(path))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise SettingsError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise SettingsError(f"{path} is not a configuration file of the Solana command line")
    return {n: (values[key], str(path)) for n, key in SOLANA_NAMES.items() if values.get(key)}


def _is_there(path: Path) -> bool:
    """Whether a file is there; one that nobody may look for could hold settings that limit us."""
    try:
        return path.exists()
    except OSError as error:
        raise SettingsError(
            f"cannot read {path}: {error.strerror}; is HOME that of another user?"
        ) from error


def _read(path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(FILE_LENGTH_MAX + 1)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise SettingsError(f"cannot read {path}: {reason}") from error
    if len(text) > FILE_LENGTH_MAX:
        raise SettingsError(f"{path} is too large for settings")
    return text


def _refuse(error: ValidationError, origins: Mapping[str, str]) -> NoReturn:
    """Raise the first complaint in our words: which setting, what it must be, what it was."""
    first = error.errors(include_url=False)[0]
    text = first["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    if not first["loc"]:
        raise SettingsError(text) from error
    name = str(first["loc"][0])
    origin = origins[name]
    if name == "markets":
        name = ".".join(part for part in first["loc"] if isinstance(part, str))
        if first["type"] == "extra_forbidden":
            text = f"is no setting; there is {', '.join(MarketSettings.model_fields)}"
    subject, where = (origin, "") if origin.startswith("--") else (name, f" ({origin})")
    found = str(first["input"])
    if name == "alert_channels" or (
        name.endswith(("_url", "_urls")) and len(found) > URL_SHOWN_LENGTH_MAX
    ):
        found = "something else"  # a URL without its scheme may still hold a password
    raise SettingsError(f"{subject} {text}, was {found}{where}") from error
