"""Whether a signing source is itself a secret, which must never stand on a command line."""

import re
import shlex

from liqctl.errors import SettingsError

_WORD = re.compile(
    r"""[1-9A-HJ-NP-Za-km-z]{80,90}          # base58 of 64 bytes; 32 bytes look like an address
      | (0x)?([0-9a-f]{64}|[0-9a-f]{128})
      | [\w+/-]{43}= | [\w+/-]{86}== | [\w-]{86}""",
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)
_NUMBERS = re.compile(r"(\d{1,3}[\s,;]+){15,}\d{1,3}")
_PHRASE = re.compile(r"([a-z]{3,8}[\s,]+){11,}[a-z]{3,8}[\s,]*")


def holds_key(source: str) -> bool:
    """Return whether a text holds a key, a seed or a seed phrase instead of naming one.

    A seed in base58 cannot be told from an address.

    >>> holds_key("~/id.json"), holds_key("exec:signer --slot 3"), holds_key(str([7] * 64))
    (False, False, True)
    """
    text = source.strip()
    try:
        words = shlex.split(text.removeprefix("exec:"))
    except ValueError:
        words = text.split()
    parts = [part for word in words for part in (word, *re.split("[=:]", word, maxsplit=1))]
    secret = any(_WORD.fullmatch(part) or _PHRASE.fullmatch(part) for part in (text, *parts))
    return secret or _NUMBERS.search(text) is not None


def refuse_inline_key(source: str) -> None:
    """Refuse a signing source that is the secret itself, without repeating it.

    Raises:
        SettingsError: it is one.
    """
    if holds_key(source):
        raise SettingsError(
            "--keypair is to name the key, and holds the key itself; name a file of mode 0600,"
            " and replace this key: others may have seen it"
        )
