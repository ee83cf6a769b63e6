"""Prices under which one position after another crosses its line, at an even pace."""

from collections.abc import Iterator, Mapping

from solders.pubkey import Pubkey

from liqctl.core.position import Position, Side
from liqctl.localnet.account import AccountState
from liqctl.localnet.genesis import PROGRAM_ID
from liqctl.localnet.ledger import Commitment
from liqctl.localnet.scenario import CALM, Scenario, ScenarioConfig
from liqctl.sim.planted import seen, seen_account
from liqctl.venues.reference import ReferenceVenue

SHARE_MIN = 0.6  # a price that has fallen further is no quiet one any more


def steady_path(positions: int, pace_ms: int, seconds: float) -> str:
    """Return a price file for `--path` on the chain that `--localnet --positions` builds.

    A step every `pace_ms` puts one market just under the line of its next long; it goes on until
    `seconds` or until the positions are used up.

    Raises:
        ValueError: there are too few positions for so long.
    """
    scenario = Scenario(ScenarioConfig(positions=positions, path=CALM, start_unix_s=1_700_000_000))
    starts = {one.symbol: one.start_price_e8 // 100 for one in scenario.specs}
    falls = sorted(
        (line_e6 / starts[symbol], symbol, line_e6)
        for symbol, found in _lines(scenario).items()
        for line_e6 in found
        if SHARE_MIN * starts[symbol] < line_e6 < starts[symbol]
    )
    steps = int(seconds * 1_000 / pace_ms)
    if len(falls) < steps:
        raise ValueError(f"{positions} positions have {len(falls)} lines, {steps} are needed")
    rows = [f"0,{symbol},{price_e6 / 1e6:.6f}" for symbol, price_e6 in starts.items()]
    for number, (_, symbol, line_e6) in enumerate(reversed(falls[-steps:]), start=1):
        rows.append(f"{number * pace_ms},{symbol},{line_e6 / 1e6:.6f}")
    return "\n".join(rows) + "\n"


def _lines(scenario: Scenario) -> dict[str, list[int]]:
    """Return the liquidation prices of the longs in 1e-6 quote, of each market by its symbol."""
    venue, world = ReferenceVenue(PROGRAM_ID), scenario.world
    block = world.ledger.bank(Commitment.PROCESSED)
    accounts = dict(world.accounts_at(Pubkey.from_string(PROGRAM_ID), block))
    symbols = {address: symbol for symbol, address in scenario.addresses.markets.items()}
    found: dict[str, list[int]] = {symbol: [] for symbol in symbols.values()}
    for position in _longs(venue, accounts):
        market = seen(venue, Pubkey.from_string(position.market), accounts)
        line_e6 = venue.liquidation_price_e6(position, {market.address: market})
        if line_e6 is not None:
            found[symbols[position.market]].append(line_e6)
    return found


def _longs(venue: ReferenceVenue, accounts: Mapping[Pubkey, AccountState]) -> Iterator[Position]:
    for key, state in accounts.items():
        position = venue.decode(seen_account(key, state, 0))
        if isinstance(position, Position) and position.side is Side.LONG:
            yield position
