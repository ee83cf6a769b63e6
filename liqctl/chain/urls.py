"""URLs of RPC nodes: monikers, the WebSocket twin, and what of them may be printed."""

import base64
import ipaddress
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from liqctl.errors import SettingsError

_SOCKET_SCHEMES = {"http": "ws", "https": "wss"}
_PLAIN_SCHEMES = frozenset({"http", "ws"})
_SECRET_LENGTH_MIN = 4
# Of a part of a name (RFC 1035).
_LABEL_LENGTH_MAX = 63


def websocket_url(url: str) -> str:
    """Return the WebSocket URL that belongs to an RPC URL.

    The port grows by one only where the URL names a port.

    >>> websocket_url("http://127.0.0.1:8899")
    'ws://127.0.0.1:8900'
    >>> websocket_url("https://rpc.example/?api-key=k")
    'wss://rpc.example/?api-key=k'
    """
    parts = _split(url, ("http", "https"))
    netloc = parts.netloc
    if parts.port is not None:
        if parts.port == 65535:
            raise SettingsError(
                f"no port follows {redacted(url)}; name the WebSocket URL with --ws"
            )
        netloc = f"{netloc.rpartition(':')[0]}:{parts.port + 1}"
    changed = parts._replace(scheme=_SOCKET_SCHEMES[parts.scheme], netloc=netloc, fragment="")
    return changed.geturl()


def redacted(url: str) -> str:
    """Return scheme, host and port of a URL; user, path and query may hold a key and become `…`.

    >>> redacted("https://user:pw@rpc.example:443/v2/SECRET?api-key=SECRET")
    'https://rpc.example:443/…'
    """
    try:
        parts = urlsplit(url.strip())
        host, port = parts.hostname, parts.port
    except ValueError:
        return "…"
    if not host or not parts.scheme:
        return "…"
    shown = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown}{'' if port is None else f':{port}'}/…"


def without_secrets(text: str, url: str) -> str:
    """Return a text of the node with every part of its URL that may be a key replaced by `…`."""
    parts = urlsplit(url.strip())
    user, password = parts.username or "", parts.password or ""
    found = {parts.query, parts.path.strip("/"), user, password, unquote(password)}
    found.update(parts.path.split("/"))
    if password:  # as it goes out in the header, which a node may repeat
        pair = f"{unquote(user)}:{unquote(password)}"
        found.add(base64.b64encode(pair.encode()).decode())
    found.update(value for _, value in parse_qsl(parts.query))
    for secret in sorted(found, key=len, reverse=True):
        if len(secret) >= _SECRET_LENGTH_MIN:
            text = text.replace(secret, "…")
    return text


def checked_rpc_url(url: str, *, allow_plain: bool) -> str:
    """Return the URL if calls may go there.

    Raises:
        SettingsError: it is no http(s) URL, or plain http to a host that is not this one.
    """
    return _checked(url, ("http", "https"), allow_plain=allow_plain)


def checked_websocket_url(url: str, *, allow_plain: bool) -> str:
    """Return the URL if subscriptions may go there.

    Raises:
        SettingsError: it is no ws(s) URL, or plain ws to a host that is not this one.
    """
    return _checked(url, ("ws", "wss"), allow_plain=allow_plain)


def is_loopback(url: str) -> bool:
    """Return whether the URL names this host."""
    host = urlsplit(url.strip()).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _checked(url: str, schemes: tuple[str, ...], *, allow_plain: bool) -> str:
    parts = _split(url, schemes)
    if parts.scheme in _PLAIN_SCHEMES and not allow_plain and not is_loopback(url):
        raise SettingsError(
            f"{redacted(url)} is not encrypted; use {schemes[1]}:// for another host than this one"
        )
    return url.strip()


def _split(url: str, schemes: tuple[str, ...]) -> SplitResult:
    expected = f"expected a URL that starts with {' or '.join(f'{each}://' for each in schemes)}"
    if schemes[0] == "http":
        expected += ", or one of mainnet-beta, testnet, devnet, localhost"
    if any(not character.isprintable() or character.isspace() for character in url.strip()):
        raise SettingsError(f"the URL has blanks or control characters; {expected}")
    try:
        parts = urlsplit(url.strip())
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise SettingsError(f"the URL cannot be read; {expected}") from error
    if parts.scheme not in schemes or not host:
        shown = redacted(url)
        found = (
            f"{url.strip()!r} is no URL" if shown == "…" and len(url) <= 16 else f"found {shown}"
        )
        raise SettingsError(f"{found}; {expected}")
    labels = host.removesuffix(".").split(".")
    if not url.strip().isascii() or not all(
        0 < len(label) <= _LABEL_LENGTH_MAX for label in labels
    ):
        raise SettingsError(
            f"{redacted(url)} cannot be sent as it is; write the host in ASCII (xn--…), each of its "
            f"parts with 1 to {_LABEL_LENGTH_MAX} characters, and what else is not ASCII as %XX"
        )
    return parts
