"""Base58 texts: addresses, blockhashes and signatures as they stand in JSON."""

from solders.pubkey import Pubkey
from solders.signature import Signature

_ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
SYSTEM_PROGRAM = "1" * 32


def encode(raw: bytes) -> str:
    r"""Return the base58 text of any bytes.

    >>> encode(b"\x00\x01\xff")
    '19p'
    """
    number = int.from_bytes(raw, "big")
    digits = ""
    while number:
        number, rest = divmod(number, 58)
        digits = _ALPHABET[rest] + digits
    return "1" * (len(raw) - len(raw.lstrip(b"\0"))) + digits


def is_address(text: str) -> bool:
    """Return whether the text is base58 of 32 bytes: an address or a blockhash."""
    try:
        Pubkey.from_string(text)
    except ValueError:
        return False
    return True


def is_signature(text: str) -> bool:
    """Return whether the text is base58 of 64 bytes."""
    try:
        Signature.from_string(text)
    except ValueError:
        return False
    return True
