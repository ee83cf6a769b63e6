"""What one setting may be: its type, and the check that a text must pass."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field

from liqctl.alerts.routes import parse_routes
from liqctl.chain.inline_key import refuse_inline_key
from liqctl.core.price_terms import SourceName
from liqctl.core.venue_choice import venue_choice
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
_BASE58_KEY = re.compile(r"[1-9A-HJ-NP-Za-km-z]{32,44}")


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
    if re.fullmatch(r"sqlite(\+\w+)?:(///)?(?!/*$).+|postgres(ql)?(\+\w+)?://.+", text) is None:
        raise ValueError("must be sqlite:FILE, sqlite:///FILE or postgresql://HOST/DATABASE")
    return text


def _program_id(text: str | None) -> str | None:
    if text is not None and _BASE58_KEY.fullmatch(text) is None:
        raise ValueError("must be a public key in base58")
    return text


def _host(text: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9._-]+|\[?[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*\]?", text) is None:
        raise ValueError("must be an address or a name, without a scheme or port")
    return text


def _origin(text: str) -> str:
    if text != "*" and re.fullmatch(r"https?://[A-Za-z0-9._-]+(:\d{1,5})?", text) is None:
        raise ValueError("must be an origin such as https://example.com:8443, or * for everybody")
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


def _channels(texts: tuple[str, ...]) -> tuple[str, ...]:
    try:
        parse_routes(texts)
    except SettingsError as error:
        raise ValueError(str(error)) from None
    return texts


def _words(value: object) -> object:
    """Take a list, or words with blanks between them as a variable holds them: URLs have commas."""
    return value.split() if isinstance(value, str) else value


def _names(value: object) -> object:
    """Take a list, or names with commas between them as a variable holds them."""
    if isinstance(value, str):
        return [name.strip() for name in value.split(",") if name.strip()]
    return value


def _feed_id(text: str | None) -> str | None:
    if text is None:
        return None
    digits = text.lower().removeprefix("0x")
    if re.fullmatch(r"[0-9a-f]{64}", digits, re.ASCII) is None:
        raise ValueError("must be a feed id of 64 hexadecimal digits")
    return digits


def _with_program(sources: tuple[SourceName, ...] | None) -> tuple[SourceName, ...] | None:
    if sources is not None and SourceName.PROGRAM not in sources:
        raise ValueError("must name program too, the account that the verdict is made of")
    return sources if sources is None else tuple(dict.fromkeys(sources))


def _tables(value: object) -> object:
    """Take tables as a file has them, or as JSON from a variable."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        raise ValueError('must be JSON such as {"SOL": {"price_max_age_s": 90}}') from None


def _hermes_url(text: str | None) -> str | None:
    if text:
        _host_url(text, ("https", "http"))
    return text or None


def _venue(text: str) -> str:
    venue_choice(text)
    return text


def _share(value: object) -> object:
    if isinstance(value, bool):  # pydantic would read true as 1
        raise ValueError("must be a number from 0 to 1")  # noqa: TRY004 - pydantic collects ValueError
    return value


Whole = Annotated[int, BeforeValidator(_no_bool)]
Lamports = Annotated[Whole, Field(ge=0, le=10**18)]
AgeS = Annotated[Whole, Field(ge=1, le=3_600)]
Bps = Annotated[Whole, Field(ge=1, le=10_000)]
JumpBps = Annotated[Whole, Field(ge=1, le=1_000_000_000)]
Multiple = Annotated[Whole, Field(ge=0, le=100_000)]
Share = Annotated[float, BeforeValidator(_share), Field(ge=0, le=1)]
Dollars = Annotated[str | None, BeforeValidator(_dollars)]

RpcUrl = Annotated[str, AfterValidator(_rpc_url)]
RpcUrls = Annotated[tuple[RpcUrl, ...], BeforeValidator(_names)]
WsUrl = Annotated[str, AfterValidator(_ws_url)]
HermesUrl = Annotated[str | None, AfterValidator(_hermes_url)]
DatabaseUrl = Annotated[str, AfterValidator(_database_url)]
Host = Annotated[str, AfterValidator(_host)]
Hosts = Annotated[tuple[Host, ...], BeforeValidator(_names)]
Origins = Annotated[tuple[Annotated[str, AfterValidator(_origin)], ...], BeforeValidator(_names)]

Keypair = Annotated[str, AfterValidator(_home)]
ProgramId = Annotated[str | None, AfterValidator(_program_id)]
FeedId = Annotated[str | None, AfterValidator(_feed_id)]
Venues = Annotated[tuple[Annotated[str, AfterValidator(_venue)], ...], BeforeValidator(_names)]
Symbols = Annotated[tuple[str, ...], BeforeValidator(_names)]
Sources = Annotated[tuple[SourceName, ...], BeforeValidator(_names), Field(min_length=1)]
SourcesOfMarket = Annotated[Sources | None, AfterValidator(_with_program)]
Channels = Annotated[tuple[str, ...], BeforeValidator(_words), AfterValidator(_channels)]
Tables = BeforeValidator(_tables)
LogLevel = Annotated[str, AfterValidator(_log_level)]
