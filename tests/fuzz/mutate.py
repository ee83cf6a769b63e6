"""Valid inputs, spoiled: bytes, JSON values and texts. The same Random, the same outcome."""

import random
from typing import Any

_WORDS = (0, 1, 2**31, 2**32 - 1, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1, 2**64 - 2, 10**18)
_NUMBERS: tuple[object, ...] = (
    *(-1, -(2**31), -(2**63), -(2**63) - 1, 2**64, 2**128, 10**30, 10**400),
    *(0.0, -0.0, 0.5, 1e308, -1e308, 1e-320, 1.5e18, float("inf"), float("nan")),
)
_TEXTS = (
    *(
        "",
        " ",
        "0",
        "-1",
        "null",
        "NaN",
        "1e999",
        "=",
        "====",
        "AA",
        "AA==",
        "AA=A",
        "\0",
        "\x1b[2J",
    ),
    *("\ud800", "é", "\U0001f600", "٣", "1" * 44, "1" * 88, "z" * 44, "A" * 5_000, "../../etc"),
    *("base64", "finalized", "confirmed", "Custom", "InstructionError", "BlockhashNotFound"),
)
_NAMES = ("value", "context", "slot", "err", "data", "owner", "lamports", "__class__", "", "0")


def word(chance: random.Random) -> int:
    """Return a 64-bit number, more often one that lies at an edge."""
    if chance.random() < 0.6:
        return chance.choice(_WORDS)
    return chance.getrandbits(chance.choice((8, 16, 32, 62, 64)))


def spoiled_bytes(valid: bytes, chance: random.Random) -> bytes:
    """Return the bytes with one to four changes: bits, words, length, order."""
    content = bytearray(valid)
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        at = chance.randrange(len(content) + 1)
        match chance.randrange(9):
            case 0 | 1 if at < len(content):
                content[at] ^= 1 << chance.randrange(8)
            case 2 if at < len(content):
                content[at] = chance.choice((0, 1, 2, 127, 128, 255))
            case 3 | 4 | 5:
                start = at - at % 8
                content[start : start + 8] = word(chance).to_bytes(8, "little")
            case 6:
                del content[at:]
            case 7:
                content[at:at] = chance.randbytes(chance.choice((1, 8, 40)))
            case _:
                there = chance.randrange(len(content) + 1)
                content[at : at + 16] = content[there : there + 16]
    return bytes(content)


def spoiled_json(valid: Any, chance: random.Random) -> Any:  # noqa: PLR0911 - a table of kinds
    """Return the value with one place in it changed; what is not on the way there is shared."""
    here = chance.random()
    if isinstance(valid, dict) and valid and here < 0.9:
        name = chance.choice(list(valid))
        if here < 0.08:
            return {key: value for key, value in valid.items() if key != name}
        if here < 0.12:
            return {**valid, chance.choice(_NAMES): json_value(chance)}
        return {**valid, name: spoiled_json(valid[name], chance)}
    if isinstance(valid, list) and valid and here < 0.9:
        at = chance.randrange(len(valid))
        if here < 0.08:
            return valid[:at] + valid[at + 1 :]
        if here < 0.15:
            return [*valid, valid[at], *([valid[at]] * chance.choice((0, 3)))]
        return [*valid[:at], spoiled_json(valid[at], chance), *valid[at + 1 :]]
    if isinstance(valid, str) and here < 0.6:
        return spoiled_text(valid, chance)
    if type(valid) is int and abs(valid) < 2**64 and here < 0.6:
        return chance.choice((valid + 1, valid - 1, -valid, word(chance), valid + 0.5, str(valid)))
    return json_value(chance)


def json_value(chance: random.Random, depth: int = 3) -> Any:  # noqa: PLR0911 - a table of kinds
    """Return any JSON value at all."""
    match chance.randrange(11 if depth else 8):
        case 0 | 1:
            return chance.choice((None, True, False))
        case 2:
            return word(chance)
        case 3 | 4:
            return chance.choice(_NUMBERS)
        case 5 | 6 | 7:
            return chance.choice(_TEXTS)
        case 8:
            return [json_value(chance, depth - 1) for _ in range(chance.randrange(4))]
        case 9:
            nested: Any = json_value(chance, 0)
            for _ in range(chance.choice((3, 40, 150))):
                nested = [nested] if chance.random() < 0.5 else {"value": nested}
            return nested
        case _:
            names = [chance.choice(_NAMES) for _ in range(chance.randrange(4))]
            return {name: json_value(chance, depth - 1) for name in names}


def spoiled_text(valid: str, chance: random.Random) -> str:
    """Return the text with a part of it replaced, doubled or cut."""
    at = chance.randrange(len(valid) + 1)
    match chance.randrange(5):
        case 0:
            return valid[:at]
        case 1:
            return valid[:at] + chance.choice(_TEXTS) + valid[at:]
        case 2:
            return valid[:at] + valid[at + chance.choice((1, 2, 9)) :]
        case 3:
            return (
                valid[:at] + chr(chance.choice((0, 9, 10, 34, 61, 91, 127, 233))) + valid[at + 1 :]
            )
        case _:
            there = chance.randrange(len(valid) + 1)
            return valid[:at] + valid[there : there + 40] + valid[at:]
