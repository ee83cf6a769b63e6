"""Other keepers on the same chain: they see every price at once and win some of the races."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from solders.keypair import Keypair
from solders.pubkey import Pubkey

from liqctl.core.account import Account, Seen
from liqctl.core.position import Position, Side
from liqctl.localnet.genesis import try_to_send
from liqctl.localnet.history import Landed
from liqctl.localnet.ledger import Commitment
from liqctl.localnet.paths import Quote
from liqctl.localnet.world import World
from liqctl.ports import Rng
from liqctl.venues.reference import ReferenceVenue

WIN_SHARE = 0.25
_RESCAN_SLOTS = 50
_E8_PER_E6 = 100


@dataclass(slots=True)
class Tally:
    """What the rivals have done so far; money in 1e-6 quote."""

    partial: int = 0
    full: int = 0
    bad_debts: int = 0
    bad_debt: int = 0
    refused: int = 0


@dataclass(frozen=True, slots=True)
class _Watched:
    """A position and the last price at which it is liquidatable."""

    position: Position
    price_e6: int

    def crossed(self, price_e6: int) -> bool:
        if self.position.side is Side.LONG:
            return price_e6 <= self.price_e6
        return price_e6 >= self.price_e6


@dataclass(slots=True)
class Rivals:
    """Keepers that act within the slot of a price; each tries a share of what it could take.

    `markets` are addresses by symbol. What they think is liquidatable comes from the venue; the
    program has the last word, and what it refuses is counted.
    """

    world: World
    venue: ReferenceVenue
    markets: Mapping[str, str]
    keys: Sequence[Keypair]
    rng: Rng
    share: float = WIN_SHARE
    tally: Tally = field(default_factory=Tally)
    _book: dict[str, dict[str, _Watched]] = field(default_factory=dict)
    _scanned_slot: int = -_RESCAN_SLOTS

    def act(self, quotes: Mapping[str, Quote]) -> None:
        """Liquidate, at these prices, what chance lets them have."""
        if not self.keys:
            return
        if self.world.slot - self._scanned_slot >= _RESCAN_SLOTS:
            self._scan()
        for symbol, quote in quotes.items():
            price_e6 = quote.price_e8 // _E8_PER_E6
            watched = self._book.get(self.markets[symbol], {})
            crossed = [each for each in watched.values() if each.crossed(price_e6)]
            for each in crossed:
                self._compete(each.position.address, price_e6)

    def _compete(self, address: str, price_e6: int) -> None:
        for key in self.keys:
            if self.rng.random() >= self.share:
                continue
            current = self._look(address)
            if current is not None and current.crossed(price_e6):
                self._liquidate(current.position, key)
            return

    def _liquidate(self, position: Position, key: Keypair) -> None:
        view = self._view(position.market, self.venue.insurance_address())
        plan = self.venue.plan(position, view, str(key.pubkey()))
        answer = try_to_send(self.world, plan.instructions, key)
        self._look(position.address)
        effects = None
        if isinstance(answer, Landed) and answer.failure is None:
            effects = self.venue.effects(answer.execution.logs)
        if effects is None:
            self.tally.refused += 1
            return
        owed = effects["bad_debt_covered"] + effects["bad_debt_uncovered"]
        self.tally.full += effects["is_full"]
        self.tally.partial += 1 - effects["is_full"]
        self.tally.bad_debts += owed > 0
        self.tally.bad_debt += owed

    def _scan(self) -> None:
        self._scanned_slot = self.world.slot
        self._book.clear()
        program = Pubkey.from_string(self.venue.program_id)
        block = self.world.ledger.bank(Commitment.PROCESSED)
        for key, _ in self.world.accounts_at(program, block):
            self._look(str(key))

    def _look(self, address: str) -> _Watched | None:
        """Read a position afresh; None, and forgotten, when it is gone or cannot be liquidated."""
        position = self._seen(address).value
        if not isinstance(position, Position):
            for watched in self._book.values():
                watched.pop(address, None)
            return None
        view = self._view(position.market)
        price_e6 = self.venue.liquidation_price_e6(position, view)
        if price_e6 is None:
            return None
        found = _Watched(position, price_e6)
        self._book.setdefault(position.market, {})[address] = found
        return found

    def _view(self, *addresses: str) -> Mapping[str, Seen]:
        return {address: self._seen(address) for address in addresses}

    def _seen(self, address: str) -> Seen:
        state = self.world.account(Pubkey.from_string(address))
        account = Account(
            address=address,
            owner=str(Pubkey.default() if state is None else state.owner),
            lamports=0 if state is None else state.lamports,
            data=b"" if state is None else state.data,
            slot=self.world.slot,
        )
        return Seen(address=address, slot=account.slot, value=self.venue.decode(account))
