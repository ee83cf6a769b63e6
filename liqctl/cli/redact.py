"""Text that may be shown: no secrets, no control characters."""

import re

_LOOPBACK = {"localhost", "127.0.0.1", "[::1]"}
_URL = re.compile(
    r"""(?P<scheme>\b[a-z][a-z0-9+.-]*://)
        (?P<user>[^\s/?\#"'<>@]*@)?
        (?P<host>\[[0-9a-f:.]+\]|[^\s/?\#:"'<>,;)]+)
        (?P<port>:\d+)?
        (?P<path>/[^\s?\#"'<>]*)?
        (?P<rest>[?\#][^\s"'<>]*)?""",
    re.VERBOSE | re.IGNORECASE,
)
_NAMED = re.compile(
    r"""(?P<name>\b(?:[\w-]*(?:api[_-]?key|token|secret|passw(?:or)?d|passphrase|private[_-]?key)|authorization)
        ["']?\s*[=:]\s*["']?(?:bearer\s+|basic\s+)?) [^\s"',;&]+""",
    re.VERBOSE | re.IGNORECASE,
)
_BEARER = re.compile(r"\b(bearer\s+)[\w.~+/=-]{8,}", re.IGNORECASE)
_KEY_BYTES = re.compile(r"\[?(?:\b\d{1,3}\s*,\s*){24,}(?:\d{1,3}\b)?\s*\]?")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def redact(text: str) -> str:
    """Return the text without secrets: of a URL stay scheme, host and port; key bytes and tokens go.

    >>> redact("GET https://me:pw@rpc.example.com:8443/v2/K3Y?api-key=K3Y failed")
    'GET https://rpc.example.com:8443/... failed'
    """
    text = _KEY_BYTES.sub("[redacted]", text)
    text = _URL.sub(_without_secrets, text)
    text = _NAMED.sub(r"\g<name>[redacted]", text)
    return _BEARER.sub(r"\1[redacted]", text)


def escape(text: str, *, keep: str = "") -> str:
    r"""Return the text with control and direction characters written out, except those in `keep`.

    >>> escape("two\nlines, \x1b[31mred")
    'two\\nlines, \\x1b[31mred'
    """
    return _CONTROL.sub(lambda m: m[0] if m[0] in keep else repr(m[0])[1:-1], text)


def _without_secrets(match: re.Match[str]) -> str:
    path = match["path"] or ""
    if match["host"].lower() not in _LOOPBACK and path not in {"", "/"}:
        path = "/..."
    elif match["rest"]:
        path = path.removesuffix("/") + "/..."
    return f"{match['scheme']}{match['host']}{match['port'] or ''}{path}"
