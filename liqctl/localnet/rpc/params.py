"""Positional parameters and configuration objects, checked before anything reads them."""

from collections.abc import Mapping, Sequence
from typing import cast

from solders.pubkey import Pubkey
from solders.signature import Signature

from liqctl.localnet.ledger import Block, Commitment
from liqctl.localnet.rpc.errors import MIN_CONTEXT_SLOT_NOT_REACHED, Refusal, invalid_params
from liqctl.localnet.rpc.view import View

_U64_MAX = 2**64 - 1


class Config:
    """One configuration object; keys that are not asked for are ignored, as nodes do."""

    def __init__(self, members: Mapping[str, object]) -> None:
        self._members = members

    def get(self, name: str) -> object:
        """Return a member as it is, None when it is absent."""
        return self._members.get(name)

    def flag(self, name: str) -> bool:
        """Return a boolean member, False when it is absent or null."""
        value = self._members.get(name)
        if value is None:
            return False
        if not isinstance(value, bool):
            raise invalid_params(f"Invalid params: {name}: expected a boolean")
        return value

    def text(self, name: str) -> str | None:
        """Return a string member."""
        value = self._members.get(name)
        if value is not None and not isinstance(value, str):
            raise invalid_params(f"Invalid params: {name}: expected a string")
        return value

    def number(self, name: str) -> int | None:
        """Return an unsigned 64-bit member."""
        value = self._members.get(name)
        return None if value is None else as_u64(value, name)

    def commitment(self, name: str = "commitment") -> Commitment:
        """Return the commitment level, finalized when it is absent."""
        value = self.text(name)
        if value is None:
            return Commitment.FINALIZED
        try:
            return Commitment(value)
        except ValueError as error:
            raise unknown_variant(value, list(Commitment)) from error

    def bank(self, view: View, *, commitment: Commitment | None = None) -> Block:
        """Return the block that answers, checked against `minContextSlot`."""
        block = view.ledger.bank(commitment or self.commitment())
        least = self.number("minContextSlot")
        if least is not None and block.slot < least:
            raise Refusal(
                MIN_CONTEXT_SLOT_NOT_REACHED,
                "Minimum context slot has not been reached",
                {"contextSlot": block.slot},
            )
        return block


class Params:
    """The `params` array of one request."""

    def __init__(self, values: Sequence[object]) -> None:
        self._values = values

    def require(self, count: int) -> None:
        """Refuse when fewer than `count` parameters were given."""
        if len(self._values) < count:
            raise invalid_params(f"`params` should have at least {count} argument(s)")

    def value(self, index: int) -> object:
        """Return a parameter, None when it is absent."""
        return self._values[index] if index < len(self._values) else None

    def text(self, index: int) -> str:
        """Return a required string."""
        self.require(index + 1)
        value = self._values[index]
        if not isinstance(value, str):
            raise invalid_params(f"Invalid params: argument {index}: expected a string.")
        return value

    def number(self, index: int) -> int:
        """Return a required unsigned 64-bit number."""
        self.require(index + 1)
        return as_u64(self._values[index], f"argument {index}")

    def pubkey(self, index: int) -> Pubkey:
        """Return a required address."""
        return as_pubkey(self.text(index))

    def texts(self, index: int, *, count_max: int) -> list[str]:
        """Return a required list of strings."""
        self.require(index + 1)
        values = as_texts(self._values[index], f"argument {index}")
        if len(values) > count_max:
            raise invalid_params(f"Too many inputs provided; max {count_max}")
        return values

    def config(self, index: int) -> Config:
        """Return an optional configuration object."""
        value = self.value(index)
        if value is None:
            return Config({})
        if not isinstance(value, dict):
            raise invalid_params(f"Invalid params: argument {index}: expected an object.")
        return Config(cast("dict[str, object]", value))


def as_pubkey(text: str) -> Pubkey:
    """Return an address from base58."""
    try:
        return Pubkey.from_string(text)
    except ValueError as error:
        reason = "WrongSize" if "size" in str(error).lower() else "Invalid"
        raise invalid_params(f"Invalid param: {reason}") from error


def as_signature(text: str) -> Signature:
    """Return a signature from base58."""
    try:
        return Signature.from_string(text)
    except ValueError as error:
        reason = "WrongSize" if "size" in str(error).lower() else "Invalid"
        raise invalid_params(f"Invalid param: {reason}") from error


def as_u64(value: object, name: str) -> int:
    """Return an unsigned 64-bit number."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _U64_MAX:
        raise invalid_params(f"Invalid params: {name}: expected u64.")
    return value


def as_list(value: object, name: str) -> list[object]:
    """Return a list."""
    if not isinstance(value, list):
        raise invalid_params(f"Invalid params: {name}: expected a sequence.")
    return cast("list[object]", value)


def as_texts(value: object, name: str) -> list[str]:
    """Return a list of strings."""
    values = as_list(value, name)
    if not all(isinstance(text, str) for text in values):
        raise invalid_params(f"Invalid params: {name}: expected strings.")
    return cast("list[str]", values)


def unknown_variant(value: str, known: Sequence[str]) -> Refusal:
    """Return the error for a name that is not one of the known ones."""
    names = ", ".join(f"`{name}`" for name in known)
    return invalid_params(f"Invalid params: unknown variant `{value}`, expected one of {names}.")


def with_context(block: Block, value: object) -> dict[str, object]:
    """Return a value together with the slot it was read at."""
    return {"context": context_of(block.slot), "value": value}


def context_of(slot: int) -> dict[str, object]:
    """Return the `context` member."""
    return {"apiVersion": API_VERSION, "slot": slot}


API_VERSION = "2.2.0"
"""The release whose answers are modelled."""
