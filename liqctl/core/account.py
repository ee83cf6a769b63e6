"""An account as one RPC answer showed it, and what it was decoded to."""

from dataclasses import dataclass
from enum import StrEnum

from liqctl.core.insurance import InsuranceState
from liqctl.core.position import Market, Position
from liqctl.core.price import PriceReading


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Bytes, owner and lamports of one address at one slot."""

    address: str
    owner: str
    lamports: int
    data: bytes
    slot: int
    executable: bool = False


class Refusal(StrEnum):
    """Why bytes were not decoded."""

    WRONG_OWNER = "wrong_owner"
    WRONG_DISCRIMINATOR = "wrong_discriminator"
    WRONG_LENGTH = "wrong_length"
    ABSURD_VALUE = "absurd_value"
    MALFORMED = "malformed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Undecodable:
    """An account that is there but is not what it should be; it counts as unknown."""

    reason: Refusal
    detail: str


@dataclass(frozen=True, slots=True)
class Gone:
    """No account at this address: never created, or closed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VenueState:
    """An account of the program that only its venue understands, such as its settings."""

    address: str
    kind: str
    record: object


Decoded = Position | Market | PriceReading | InsuranceState | VenueState | Undecodable | Gone


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What was at an address at a slot."""

    address: str
    slot: int
    value: Decoded
