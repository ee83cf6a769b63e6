"""The error tree: one class per reaction, each with its exit code.

LiqctlError                    1  something failed; the message says what to do
├── SettingsError              2  correct an option, a file or the environment
├── RpcError                   4  the node: try later, or another one
│   ├── RpcUnreachable         4  no answer: refused, reset, timed out
│   ├── RpcMalformed           4  an answer that is not what was asked for
│   └── RpcRefused             4  a JSON-RPC error object, with its code
├── PriceError                 5  do not use this price
│   └── HermesError            5  the price service: its feeds are missing until it answers
│       ├── HermesUnreachable  5  no answer, a broken stream, a stream without prices
│       ├── HermesMalformed    5  an answer that is not what was asked for, or too large
│       └── HermesRefused      5  an HTTP status, with the pause it asks for
├── TransactionError           6  the chain said no, or never said yes
├── GuardError                 7  our own limit said no
├── LayoutError                1  an account is not what it should be
├── DeliveryError              1  a channel did not take an alert
└── StoreError                 1  the database
    ├── StoreBusy              1  locked by somebody else, or away: try again
    └── StoreUnusable          2  not a database, read-only, newer than the program

InvariantError stands outside: it is a broken promise of ours and nothing catches it.
"""

from typing import ClassVar, TypeVar

T = TypeVar("T")


class LiqctlError(Exception):
    """Something failed."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str | None = None) -> None:
        """Take the docstring as the default message."""
        super().__init__(message or (type(self).__doc__ or "").strip().splitlines()[0])


class SettingsError(LiqctlError):
    """A setting is missing or wrong."""

    exit_code = 2


class RpcError(LiqctlError):
    """The RPC node could not be used."""

    exit_code = 4


class RpcUnreachable(RpcError):
    """The RPC node did not answer."""


class RpcMalformed(RpcError):
    """The RPC node answered with something that is not an answer."""


class RpcRefused(RpcError):
    """The RPC node answered with an error."""

    def __init__(
        self,
        message: str,
        *,
        code: int,
        detail: object = None,
        retry_after_s: float | None = None,
    ) -> None:
        """Keep the JSON-RPC code (or HTTP status), its `data` member and the Retry-After time."""
        super().__init__(message)
        self.code = code
        self.detail = detail
        self.retry_after_s = retry_after_s


class PriceError(LiqctlError):
    """The price cannot be used."""

    exit_code = 5


class HermesError(PriceError):
    """The price service could not be used."""


class HermesUnreachable(HermesError):
    """The price service did not answer."""


class HermesMalformed(HermesError):
    """The price service answered with something that is not an answer."""


class HermesRefused(HermesError):
    """The price service answered with an error."""

    def __init__(
        self, message: str | None = None, *, code: int = 0, retry_after_s: float | None = None
    ) -> None:
        """Keep the HTTP status, and how long not to ask again."""
        super().__init__(message)
        self.code = code
        self.retry_after_s = retry_after_s


class TransactionError(LiqctlError):
    """The transaction was rejected or not confirmed."""

    exit_code = 6


class GuardError(LiqctlError):
    """A guard or limit refused."""

    exit_code = 7


class SpendCapReached(GuardError):
    """What was spent leaves no room for a transaction; `reason` names the cap."""

    def __init__(self, reason: str) -> None:
        """Keep the word that counts and logs use."""
        super().__init__(f"{reason}: another keeper on this database has spent meanwhile")
        self.reason = reason


class LayoutError(LiqctlError):
    """An account is not what its place says it is."""


class DeliveryError(LiqctlError):
    """An alert channel did not take a message."""

    def __init__(self, message: str | None = None, *, refused: bool = False) -> None:
        """Keep whether the receiver understood and said no: the same again rarely helps."""
        super().__init__(message)
        self.refused = refused


class StoreError(LiqctlError):
    """The database failed."""


class StoreBusy(StoreError):
    """The database is locked by another process, or away."""


class StoreUnusable(StoreError):
    """The database cannot be used by this version of liqctl."""

    exit_code = 2


class InvariantError(BaseException):
    """A promise of liqctl itself is broken; no code may go on after this."""


def invariant(condition: object, text: str) -> None:
    """Raise InvariantError unless the condition holds; works under -O as well."""
    if not condition:
        raise InvariantError(text)


def present(value: T | None, text: str) -> T:
    """Return the value; one that is missing breaks a promise, as in `invariant`."""
    if value is None:
        raise InvariantError(text)
    return value
