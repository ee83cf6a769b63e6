"""What the keeper needs of the outside world: nodes, programs, a key, and a way to tell people."""

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

from liqctl.core.account import Account, Decoded, Seen
from liqctl.core.alert import Delivery
from liqctl.core.health import Assessment
from liqctl.core.instruction import Failure, Instruction, Outcome, Plan
from liqctl.core.position import Market, Position


class Rpc(Protocol):
    """One JSON-RPC endpoint or pool."""

    async def call(self, method: str, params: Sequence[object]) -> object:
        """Return the `result` member.

        Raises:
            RpcUnreachable: no answer.
            RpcRefused: an error object, or an HTTP status other than 200.
            RpcMalformed: not a JSON-RPC answer.
        """
        ...


class Signer(Protocol):
    """The liquidator's key, wherever it lives."""

    @property
    def address(self) -> str:
        """The public key in base58."""
        ...

    async def sign(self, message: bytes) -> bytes:
        """Return the 64-byte ed25519 signature of the message."""
        ...


@runtime_checkable
class Venue(Protocol):
    """One on-chain program: bytes to values, verdict, instructions. Pure."""

    id: str
    program_id: str

    def discriminators(self) -> Mapping[str, bytes]:
        """Return the first bytes of each account kind that a snapshot needs, by kind name."""
        ...

    def decode(self, account: Account) -> Decoded:
        """Return what an account of the program is; Undecodable with a reason, never an error."""
        ...

    def dependencies(self, position: Position, view: Mapping[str, Seen]) -> tuple[str, ...]:
        """Return the addresses that the verdict depends on beside the position, as far as known."""
        ...

    def symbol(self, position: Position, view: Mapping[str, Seen]) -> str:
        """Return the market's symbol, or the market's address when it is not known yet."""
        ...

    def assess(self, position: Position, view: Mapping[str, Seen], now_s: int) -> Assessment:
        """Return the program's verdict at the cluster time `now_s`; total, never an error."""
        ...

    def mark_price(self, market: Market, view: Mapping[str, Seen], now_s: int) -> int | str:
        """Return the price in 1e-6 that verdicts of the market use, or the word why there is none."""
        ...

    def bound_price_e6(self, position: Position, view: Mapping[str, Seen]) -> int | None:
        """Return a price that the liquidation price cannot lie beyond, for the book.

        A long can only be liquidatable at or below it, a short at or above it. None: no such
        price is known and the position is always looked at.
        """
        ...

    def plan(
        self,
        position: Position,
        view: Mapping[str, Seen],
        liquidator: str,
        *,
        max_size: int | None = None,
    ) -> Plan:
        """Return the instructions that liquidate the position for this liquidator."""
        ...

    def confirmation(self, position: Position, view: Mapping[str, Seen]) -> Instruction | None:
        """Return the program's own read-only view of the verdict, where it has one."""
        ...

    def classify(self, failure: Failure) -> Outcome:
        """Return what a failure of the liquidate instruction means."""
        ...

    def effects(self, logs: Sequence[str]) -> Mapping[str, int] | None:
        """Return what the program says it did (closed_size, reward, ...), or None if it is silent."""
        ...

    def insurance_address(self) -> str | None:
        """Return the address of the insurance fund, where the venue has one."""
        ...


class Notifier(Protocol):
    """One channel that alerts go to."""

    async def notify(self, delivery: Delivery) -> None:
        """Deliver one message.

        Raises:
            DeliveryError: the channel did not take it, or not in time.
        """
        ...
