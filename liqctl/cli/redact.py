"""Text that may be shown: no secrets, no control characters."""

import base64
import re

_LOOPBACK = {"localhost", "127.0.0.1", "[::1]"}
# Where the host is a host; of an alert channel such as slack://A/B/C it is part of the secret.
_WITH_HOST = re.compile(
    r"(https?|wss?|jsons?|mailtos?|postgres(ql)?(\+\w+)?|file)://", re.IGNORECASE
)
_ROUTE = re.compile(r"(/[a-z]{1,12}){1,3}")  # of our own API; a token of a local proxy has digits
_URL = re.compile(
    r"""(?P<scheme>\b[a-z][a-z0-9+.-]*://)
        (?P<user>[^\s/?\#"'<>@]*@)?
        (?P<host>\[[0-9a-f:.]+\]|[^\s/?\#:"'<>,;)]+)
        (?P<port>:\d+)?
        (?P<path>/[^\s?\#"'<>]*)?
        (?P<rest>[?\#][^\s"'<>]*)?""",
    re.VERBOSE | re.IGNORECASE,
)
# libpq reads passwords that no URL should hold; up to the last @ anything may be part of one.
_DATABASE = re.compile(
    r"""\b(?P<scheme>[a-z\d]*(?:sql|postgres)[a-z\d]*(?:\+\w+)?://)
        (?P<user>\S*@)?
        (?P<rest>(?:[^\s"'<>]*[^\s"'<>,;:.)])?)""",
    re.VERBOSE | re.IGNORECASE,
)
_HOSTS = re.compile(
    r"(?P<hosts>(?:[\w.-]*|\[[\da-f:.]+\])(?::\d+)?(?:,[\w.:-]+)*)(?P<path>[/?].*)?", re.IGNORECASE
)
_NAMED = re.compile(
    r"""(?P<name>\b(?:[\w-]*(?:api[_-]?key|token|secret|passw(?:or)?d|passphrase|private[_-]?key)|authorization)
        ["']?\s*[=:]\s*["']?(?:bearer\s+|basic\s+)?) [^\s"',;&]+""",
    re.VERBOSE | re.IGNORECASE,
)
_CREDENTIALS = re.compile(
    r"\b((?:bearer|basic(?=\s+(?-i:[\w+/]*[A-Z0-9=])))\s+)[\w.~+/=-]{8,}", re.IGNORECASE
)
_KEY_BYTES = re.compile(r"\[?(?:\b\d{1,3}\s*,\s*){24,}(?:\d{1,3}\b)?\s*\]?")
_KEY_TEXT = re.compile(
    r"\b(?:[1-9A-HJ-NP-Za-km-z]{80,90}|[0-9a-fA-F]{128})\b|(?<![\w+/-])[\w+/-]{86}(?:==|(?![\w=]))"
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def redact(text: str) -> str:
    """Return the text without secrets: of a URL stay scheme, host and port; keys and tokens go.

    Signatures have the length of keys and stay: of a key the second half follows from the first.

    >>> redact("GET https://me:pw@rpc.example.com:8443/v2/K3Y?api-key=K3Y failed")
    'GET https://rpc.example.com:8443/... failed'
    """
    text = _KEY_BYTES.sub("[redacted]", text)
    text = _KEY_TEXT.sub(_without_key, text)
    text = _DATABASE.sub(_without_password, text)
    text = _URL.sub(_without_secrets, text)
    text = _NAMED.sub(r"\g<name>[redacted]", text)
    return _CREDENTIALS.sub(r"\1[redacted]", text)


def escape(text: str, *, keep: str = "") -> str:
    r"""Return the text with control and direction characters written out, except those in `keep`.

    >>> escape("two\nlines, \x1b[31mred")
    'two\\nlines, \\x1b[31mred'
    """
    return _CONTROL.sub(lambda m: m[0] if m[0] in keep else repr(m[0])[1:-1], text)


def _without_secrets(match: re.Match[str]) -> str:
    if _WITH_HOST.fullmatch(match["scheme"]) is None:
        return f"{match['scheme']}..."
    path = match["path"] or ""
    known = match["host"].lower() in _LOOPBACK and _ROUTE.fullmatch(path)
    if match["rest"] or not (known or path in {"", "/"}):
        path = "/..."
    return f"{match['scheme']}{match['host']}{match['port'] or ''}{path}"


def _without_password(match: re.Match[str]) -> str:
    found = _HOSTS.fullmatch(match["rest"])
    if found is None or "?" in (match["user"] or ""):
        return f"{match['scheme']}..."
    return f"{match['scheme']}{found['hosts']}{'/...' if found['path'] else ''}"


def _without_key(match: re.Match[str]) -> str:
    from solders.keypair import Keypair  # noqa: PLC0415 - 30 ms, and hardly ever needed

    from liqctl.chain.base58 import decode  # noqa: PLC0415 - as above

    for spelled in (decode, bytes.fromhex, _from_base64):
        try:
            Keypair.from_bytes(spelled(match[0]))
        except ValueError:
            continue
        return "[redacted]"
    return match[0]


def _from_base64(text: str) -> bytes:
    return base64.b64decode(
        f"{text.rstrip('=')}==", altchars="-_" if "-" in text or "_" in text else None
    )
