"""What a PostgreSQL URL means: one spelling for all libraries, and encryption unless it says no."""

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

from liqctl.errors import SettingsError

LOOPBACK = {"localhost", "127.0.0.1", "::1"}
# Without the scheme in front, because what looks like a URL is taken out of messages.
SHAPE = (
    "after postgresql:// write USER:PASSWORD@HOST:PORT/DATABASE, with %40 for @, %3A for :, "
    "%2F for /, %3F for ?, %23 for # and %25 for % in user and password"
)
# The names that sqlx, asyncpg and SQLAlchemy have for libpq's options.
ALIASES = {
    "ssl": "sslmode",
    "ssl-mode": "sslmode",
    "ssl-root-cert": "sslrootcert",
    "ssl-ca": "sslrootcert",
    "ssl-cert": "sslcert",
    "ssl-key": "sslkey",
}
SSL_FLAGS = {"true": "require", "false": "disable"}
NOT_FOR_US = {"statement-cache-capacity", "prepared_statement_cache_size", "async_fallback"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where to connect: `parameters` are libpq's, `place` is what messages may show of it."""

    parameters: dict[str, Any] = field(repr=False)
    place: str


def target_of(url: str) -> Target:
    """Return where a URL leads; what it leaves out comes from the PG* variables, as in psql.

    The certificate and the name of a server on another host are verified unless the URL or
    PGSSLMODE says otherwise. A refused URL is not shown: any part of it may be the password.

    Raises:
        SettingsError: the URL cannot be read.
    """
    try:
        parameters = conninfo_to_dict(_libpq_url(url))
    except (ProgrammingError, ValueError):
        raise SettingsError(f"the PostgreSQL URL cannot be read; {SHAPE}") from None
    hosts = str(parameters.get("host") or os.environ.get("PGHOST", "")).split(",")
    if _is_misread(parameters, hosts):
        raise SettingsError(f"the PostgreSQL URL has a part of the password elsewhere; {SHAPE}")
    if "sslmode" not in parameters and "PGSSLMODE" not in os.environ:
        numbers = str(parameters.get("hostaddr") or "").split(",")
        if not all(_is_near(host) for host in [*hosts, *numbers]):
            parameters["sslmode"] = "verify-full"
    if parameters.get("sslmode") == "verify-full" and not _trusts_somebody(parameters):
        parameters["sslrootcert"] = "system"
    return Target(parameters=parameters, place=_place(parameters, hosts))


def _libpq_url(url: str) -> str:
    """Return the URL as libpq reads it: without a driver, and with its names of the options."""
    parts = urlsplit(url)
    if parts.fragment:
        raise ValueError
    query, settings = list[tuple[str, str]](), list[str]()
    for name, value in parse_qsl(parts.query, keep_blank_values=True, strict_parsing=True):
        if name.startswith("options[") and name.endswith("]"):  # of sqlx
            settings.append(f"-c {name[8:-1]}={value}")
        elif name == "options":
            settings.append(value)
        elif name not in NOT_FOR_US:
            query.append((ALIASES.get(name, name), SSL_FLAGS.get(value, value)))
    if settings:
        query.append(("options", " ".join(settings)))
    # libpq does not read a plus sign as a space.
    options = urlencode(query).replace("+", "%20")
    return f"postgresql://{parts.netloc}{parts.path}?{options}"


def _is_misread(parameters: dict[str, Any], hosts: list[str]) -> bool:
    """Return whether a character of the password was taken for a mark of the URL."""
    if any("@" in text for text in (*hosts, str(parameters.get("dbname", "")))):
        return True
    return not re.fullmatch(r"[\d,]*", str(parameters.get("port") or ""))


def _trusts_somebody(parameters: dict[str, Any]) -> bool:
    """Return whether libpq knows an authority without the host's own ones."""
    if "sslrootcert" in parameters or "PGSSLROOTCERT" in os.environ:
        return True
    return Path(os.environ.get("HOME", "/"), ".postgresql", "root.crt").exists()


def _is_near(host: str) -> bool:
    """Return whether a connection to the host never leaves this machine."""
    return not host or host.startswith(("/", "@")) or host.lower() in LOOPBACK


def _place(parameters: dict[str, Any], hosts: list[str]) -> str:
    name = parameters.get("dbname") or os.environ.get("PGDATABASE") or parameters.get("user")
    shown = ", ".join(host for host in hosts if host) or "the local socket"
    port = parameters.get("port")
    return f"{name or 'of the user'} at {shown}{f':{port}' if port else ''}"
