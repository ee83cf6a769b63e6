"""Settings: layered, validated once, frozen; every value remembers where it came from.

From the strongest layer to the weakest:

    option > LIQCTL_* variable > SOLANA_RPC_URL, WALLET_PATH, DATABASE_URL, SERVER_PORT, RUST_LOG
    > the same names in the file of --env-file > ./liqctl.toml > liqctl.toml in the user's
    configuration directory > Solana's config.yml (read only) > default
"""

import difflib
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, NoReturn, Self
from urllib.parse import SplitResult, urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from liqctl.chain.fees import priority_fee_lamports
from liqctl.chain.inline_key import refuse_inline_key
from liqctl.chain.urls import websocket_url
from liqctl.errors import SettingsError

MONIKERS = {
    "m": "https://api.mainnet-beta.solana.com",
    "mainnet": "https://api.mainnet-beta.solana.com",
    "mainnet-beta": "https://api.mainnet-beta.solana.com",
    "t": "https://api.testnet.solana.com",
    "testnet": "https://api.testnet.solana.com",
    "d": "https://api.devnet.solana.com",
    "devnet": "https://api.devnet.solana.com",
    "l": "http://localhost:8899",
    "localhost": "http://localhost:8899",
    "localnet": "http://localhost:8899",
}
LOG_LEVELS = ("off", "error", "warn", "info", "debug", "trace")
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
}
OF_ENDPOINT = frozenset({"rpc_fallback_urls", "send_urls", "ws_url"})
URL_SHOWN_LENGTH_MAX = 16
FILE_NAME = "liqctl.toml"
DERIVED = "derived from rpc_url"

_BASE58_KEY = re.compile(r"[1-9A-HJ-NP-Za-km-z]{32,44}")
_Layer = Mapping[str, tuple[object, str]]  # by setting: the value and its origin


def _host_url(text: str, schemes: Sequence[str]) -> SplitResult:
    try:
        url = urlsplit(text)
        known = url.scheme in schemes and bool(url.hostname) and url.port != 0
    except ValueError:  # a bracket left open, a port beyond 65535
        known = False
    if not known or re.search(r"[\s\x00-\x1f\x7f]", text):
        raise ValueError(
            f"must be a URL that starts with {' or '.join(f'{s}://' for s in schemes)}"
        )
    return urlsplit(text)


def _rpc_url(text: str) -> str:
    if text in MONIKERS:
        return MONIKERS[text]
    try:
        _host_url(text, ("http", "https"))
    except ValueError as error:
        raise ValueError(f"{error}, or one of {', '.join(MONIKERS)}") from None
    return text


def _ws_url(text: str) -> str:
    if text:
        _host_url(text, ("ws", "wss"))
    return text


def _database_url(text: str) -> str:
    if re.fullmatch(r"sqlite:(///)?(?!/*$).+|postgres(ql)?://.+", text) is None:
        raise ValueError("must be sqlite:FILE, sqlite:///FILE or postgresql://HOST/DATABASE")
    return text


def _program_id(text: str | None) -> str | None:
    if text is not None and _BASE58_KEY.fullmatch(text) is None:
        raise ValueError("must be a public key in base58")
    return text


def _log_level(text: str) -> str:
    log_levels(text)
    return text


def _home(text: str) -> str:
    if not text:
        raise ValueError("must be a key file or another signing source")
    refuse_inline_key(text)
    try:
        return str(Path(text).expanduser()) if text.startswith("~") else text
    except RuntimeError:
        raise ValueError("must be a path below a home directory that exists") from None


def _no_bool(value: object) -> object:
    if isinstance(value, bool):  # pydantic would read true as 1
        raise ValueError("must be a whole number")  # noqa: TRY004 - pydantic collects ValueError
    return value


def _dollars(value: object) -> object:
    """Take a number, or one as a variable holds it; as text it stays exact."""
    if value is None:
        return None
    if re.fullmatch(r"(?=.*[1-9])\d{1,9}(\.\d{1,6})?", str(value), re.ASCII) is None:
        raise ValueError("must be a positive number with at most six places, such as 142.5")
    return str(value)


def _names(value: object) -> object:
    """Take a list, or names with commas between them as a variable holds them."""
    if isinstance(value, str):
        return [name.strip() for name in value.split(",") if name.strip()]
    return value


Whole = Annotated[int, BeforeValidator(_no_bool)]
RpcUrls = Annotated[tuple[Annotated[str, AfterValidator(_rpc_url)], ...], BeforeValidator(_names)]
Lamports = Annotated[Whole, Field(ge=0, le=10**18)]


class Settings(BaseModel):
    """All settings of one run."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    rpc_url: Annotated[str, AfterValidator(_rpc_url)] = MONIKERS["mainnet-beta"]
    rpc_fallback_urls: RpcUrls = ()
    send_urls: RpcUrls = ()
    ws_url: Annotated[str, AfterValidator(_ws_url)] = ""
    rpc_requests_per_s: Annotated[Whole, Field(ge=1, le=100_000)] = 200
    keypair: Annotated[str, AfterValidator(_home)] = "~/.config/solana/id.json"
    commitment: Literal["processed", "confirmed", "finalized"] = "confirmed"
    venue: Literal["reference", "perpetuals", "adrena", "jupiter"] = "reference"
    program_id: Annotated[str | None, AfterValidator(_program_id)] = None
    idl: str | None = None
    mapping: str | None = None
    database_url: Annotated[str, AfterValidator(_database_url)] = "sqlite:liquidation_engine.db"

    check_interval_ms: Annotated[Whole, Field(ge=100, le=3_600_000)] = 2_000
    price_cache_ms: Annotated[Whole, Field(ge=0, le=60_000)] = 2_000
    insurance_interval_ms: Annotated[Whole, Field(ge=500, le=3_600_000)] = 10_000
    price_max_age_s: Annotated[Whole, Field(ge=1, le=3_600)] = 60
    price_max_confidence_bps: Annotated[Whole, Field(ge=1, le=10_000)] = 100
    price_max_jump_bps: Annotated[Whole, Field(ge=1, le=1_000_000_000)] = 1_000

    priority_fee_micro_lamports_per_cu: Annotated[Whole, Field(ge=0, le=10**12)] = 1_000_000
    priority_fee_mode: Literal["fixed", "dynamic"] = "fixed"
    priority_fee_percentile: Annotated[Whole, Field(ge=1, le=100)] = 75
    fee_above_reward: bool = False
    compute_unit_limit: Annotated[Whole, Field(ge=1_000, le=1_400_000)] = 200_000
    compute_unit_margin_percent: Annotated[Whole, Field(ge=0, le=1_000)] = 20
    max_retries: Annotated[Whole, Field(ge=0, le=20)] = 3
    max_in_flight: Annotated[Whole, Field(ge=1, le=256)] = 4
    queue_capacity: Annotated[Whole, Field(ge=1, le=10_000_000)] = 10_000

    max_fee_lamports: Lamports = 200_000
    spend_hour_lamports: Lamports = 50_000_000
    spend_day_lamports: Lamports = 500_000_000
    min_balance_lamports: Lamports = 50_000_000
    markets_allow: Annotated[tuple[str, ...], BeforeValidator(_names)] = ()
    markets_deny: Annotated[tuple[str, ...], BeforeValidator(_names)] = ()
    min_reward: Annotated[Whole, Field(ge=0, le=10**18)] = 0
    profit_floor_permille: Annotated[Whole, Field(ge=0, le=1_000_000)] = 1_000
    sol_price_usd: Annotated[str | None, BeforeValidator(_dollars)] = None
    max_sends_per_s: Annotated[Whole, Field(ge=1, le=1_000)] = 20
    breaker_failures_max: Annotated[Whole, Field(ge=1, le=1_000)] = 5
    breaker_unprofitable_max: Annotated[Whole, Field(ge=1, le=1_000)] = 3

    server_port: Annotated[Whole, Field(ge=1, le=65_535)] = 8080
    log_level: Annotated[str, AfterValidator(_log_level)] = "info"
    log_format: Literal["auto", "console", "json"] = "auto"

    @property
    def rpc_urls(self) -> tuple[str, ...]:
        """The endpoints to read from, each once, the preferred one first."""
        return tuple(dict.fromkeys((self.rpc_url, *self.rpc_fallback_urls)))

    @property
    def ws_urls(self) -> tuple[str, ...]:
        """The WebSocket endpoints, each once: the first one's, then those of the fallbacks."""
        return tuple(dict.fromkeys((self.ws_url, *map(websocket_url, self.rpc_urls[1:]))))

    @property
    def priority_fee_lamports(self) -> int:
        """The priority fee of one transaction, rounded up as the chain does."""
        return priority_fee_lamports(
            self.compute_unit_limit, self.priority_fee_micro_lamports_per_cu
        )

    @property
    def sol_price_e6(self) -> int | None:
        """The configured price of SOL in 1e-6 quote, exactly."""
        if self.sol_price_usd is None:
            return None
        whole, _, places = self.sol_price_usd.partition(".")
        return int(f"{whole}{places:0<6}")

    @model_validator(mode="after")
    def _limits_agree(self) -> Self:
        if self.priority_fee_lamports > self.max_fee_lamports:
            raise ValueError(
                f"max_fee_lamports must be at least {self.priority_fee_lamports}, the priority fee of"
                f" one transaction, was {self.max_fee_lamports}"
            )
        if self.spend_hour_lamports > self.spend_day_lamports:
            raise ValueError(
                f"spend_hour_lamports must not exceed spend_day_lamports ({self.spend_day_lamports}),"
                f" was {self.spend_hour_lamports}"
            )
        return self


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


def log_levels(text: str) -> dict[str, str]:
    """Return level by logger, the root under ''; `info,liqctl::chain=debug` as in RUST_LOG.

    Raises:
        ValueError: a level has another name.
    """
    levels = {"": "info"}
    for directive in filter(None, map(str.strip, text.split(","))):
        target, _, level = directive.rpartition("=")
        if level.lower() not in LOG_LEVELS:
            raise ValueError(
                f"must be one of {', '.join(LOG_LEVELS)}, or a list such as warn,liqctl.chain=debug"
            )
        levels[target.replace("::", ".")] = level.lower()
    return levels


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
    text = _read(path) if required or path.exists() else ""
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path} is not valid TOML: {error}") from error
    for key in values:
        if key not in Settings.model_fields:
            near = difflib.get_close_matches(key, Settings.model_fields, n=1, cutoff=0.5)
            hint = f"; did you mean {near[0]}?" if near else "; see `liqctl config show`"
            raise SettingsError(f"{path}: unknown setting {key}{hint}")
    return {name: (value, str(path)) for name, value in values.items()}


def _solana_layer(path: Path, *, required: bool) -> _Layer:
    if not required and not path.exists():
        return {}
    import yaml  # noqa: PLC0415 - 18 ms, only where the file exists

    try:
        values = yaml.safe_load(_read(path))
    except yaml.YAMLError as error:
        raise SettingsError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise SettingsError(f"{path} is not a configuration file of the Solana command line")
    return {n: (values[key], str(path)) for n, key in SOLANA_NAMES.items() if values.get(key)}


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise SettingsError(f"cannot read {path}: {reason}") from error


def _refuse(error: ValidationError, origins: Mapping[str, str]) -> NoReturn:
    """Raise the first complaint in our words: which setting, what it must be, what it was."""
    first = error.errors(include_url=False)[0]
    text = first["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    if not first["loc"]:
        raise SettingsError(text) from error
    name = str(first["loc"][0])
    origin = origins[name]
    subject, where = (origin, "") if origin.startswith("--") else (name, f" ({origin})")
    found = str(first["input"])
    if name.endswith(("_url", "_urls")) and len(found) > URL_SHOWN_LENGTH_MAX:
        found = "something else"  # a URL without its scheme may still hold a password
    raise SettingsError(f"{subject} {text}, was {found}{where}") from error
