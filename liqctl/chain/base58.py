"""Base58 texts of any length: addresses, blockhashes, signatures and transactions in JSON."""

from solders.pubkey import Pubkey
from solders.signature import Signature

_ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_VALUES = {letter: value for value, letter in enumerate(_ALPHABET)}
SYSTEM_PROGRAM = "1" * 32


def encode(raw: bytes) -> str:
    r"""Return the base58 text of any bytes.

    >>> encode(b"\x00\x01\xff")
    '19p'
    """
    number = int.from_bytes(raw, "big")
    digits: list[str] = []
    while number:
        number, rest = divmod(number, 58)
        digits.append(_ALPHABET[rest])
    return "1" * (len(raw) - len(raw.lstrip(b"\0"))) + "".join(reversed(digits))


def decode(text: str) -> bytes:
    """Return the bytes of a base58 text.

    Raises:
        ValueError: a letter is not of the alphabet.
    """
    number = 0
    for letter in text:
        if letter not in _VALUES:
            raise ValueError(f"provided string contained invalid character {letter!r}")
        number = number * 58 + _VALUES[letter]
    zeros = len(text) - len(text.lstrip("1"))
    return bytes(zeros) + number.to_bytes((number.bit_length() + 7) // 8, "big")


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
