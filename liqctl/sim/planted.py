"""What stands on the simulated chain at the start: built once in a process, shared by all seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

from solders.keypair import Keypair
from solders.pubkey import Pubkey

from liqctl.core.account import Account, Seen
from liqctl.core.position import Position
from liqctl.localnet.account import SYSTEM_PROGRAM, AccountState
from liqctl.localnet.genesis import PROGRAM_ID, Addresses, key_of
from liqctl.localnet.ledger import Commitment
from liqctl.localnet.markets import MarketSpec
from liqctl.localnet.program import program_bytes
from liqctl.localnet.scenario import CALM, Scenario, ScenarioConfig
from liqctl.localnet.spl_token import TOKEN_PROGRAM
from liqctl.localnet.traders import POSITIONS_PER_TRADER, trader_key
from liqctl.oracle.price_update import RECEIVER_CLASSIC
from liqctl.sim.machine import Machine
from liqctl.sim.swarm import Dice
from liqctl.venues.reference import ReferenceVenue

START_UNIX_MS = 1_760_000_000_000
"""The cluster time of the genesis block; virtual time 0 of a seed is the same moment."""

_SEED = 1
_POSITIONS = 240
_MARKETS = 3
_RIVALS = 2
_NEAR_PPM = 20_000
_NEAR_SHARE = 0.75
KEEPER_LAMPORTS = 100 * 10**9
_PPM = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Planted:
    """A position of genesis; its liquidation price is `distance_ppm` from the start price."""

    position: Position
    owner: Keypair
    distance_ppm: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Genesis:
    """The accounts of the first block. `machine` runs the transactions of every seed."""

    machine: Machine
    slot: int
    unix_ms: int
    accounts: Mapping[Pubkey, AccountState]
    positions: Sequence[Planted]
    rivals: Sequence[Keypair]
    authority: Keypair
    addresses: Addresses
    specs: Sequence[MarketSpec]

    def selection(self, rng: Dice, count: int) -> "Genesis":
        """Return the same genesis with `count` of the positions, most of them near the line."""
        near = [each for each in self.positions if each.distance_ppm <= _NEAR_PPM]
        far = [each for each in self.positions if each.distance_ppm > _NEAR_PPM]
        chosen: list[Planted] = []
        for _ in range(count):
            group = near if near and (not far or rng.chance(_NEAR_SHARE)) else far
            if group:
                chosen.append(group.pop(int(rng.random() * len(group))))
        kept = {each.position.address for each in chosen}
        left_out = {
            Pubkey.from_string(each.position.address)
            for each in self.positions
            if each.position.address not in kept
        }
        accounts = {key: one for key, one in self.accounts.items() if key not in left_out}
        return replace(self, accounts=accounts, positions=chosen)


def keeper_key(number: int) -> Keypair:
    """Return the key of a keeper; keepers of one store share one."""
    return key_of(_SEED, f"keeper {number}")


@cache
def planted() -> Genesis:
    """Return the whole genesis, with every position (about 0.5 s, once in a process)."""
    config = ScenarioConfig(
        positions=_POSITIONS,
        markets=_MARKETS,
        seed=_SEED,
        path=CALM,
        rivals=_RIVALS,
        start_unix_s=START_UNIX_MS // 1000,
    )
    scenario = Scenario(config)
    machine = Machine()
    program = Pubkey.from_string(PROGRAM_ID)
    accounts = {program: machine.add_program(program, program_bytes())}
    block = scenario.world.ledger.bank(Commitment.PROCESSED)
    owners = (SYSTEM_PROGRAM, TOKEN_PROGRAM, Pubkey.from_string(RECEIVER_CLASSIC), program)
    for owner in owners:
        accounts.update(scenario.world.accounts_at(owner, block))
    for number in range(3):
        accounts[keeper_key(number).pubkey()] = AccountState(lamports=KEEPER_LAMPORTS)
    return Genesis(
        machine=machine,
        slot=block.slot + 1_000,
        unix_ms=START_UNIX_MS,
        accounts=accounts,
        positions=_positions(accounts, scenario.specs, scenario.addresses),
        rivals=[key_of(_SEED, f"rival {number}") for number in range(_RIVALS)],
        authority=key_of(_SEED, "authority"),
        addresses=scenario.addresses,
        specs=scenario.specs,
    )


def _positions(
    accounts: Mapping[Pubkey, AccountState], specs: Sequence[MarketSpec], addresses: Addresses
) -> Sequence[Planted]:
    venue = ReferenceVenue(PROGRAM_ID)
    traders = (trader_key(_SEED, number) for number in range(_POSITIONS // POSITIONS_PER_TRADER))
    owners = {str(key.pubkey()): key for key in traders}
    prices = {addresses.markets[one.symbol]: one.start_price_e8 // 100 for one in specs}
    found: list[Planted] = []
    for key, state in accounts.items():
        position = venue.decode(seen_account(key, state, 0))
        if not isinstance(position, Position):
            continue
        market = seen(venue, Pubkey.from_string(position.market), accounts)
        line_e6 = venue.liquidation_price_e6(position, {market.address: market})
        price_e6 = prices[position.market]
        distance = _PPM if line_e6 is None else abs(line_e6 - price_e6) * _PPM // price_e6
        found.append(
            Planted(position=position, owner=owners[position.owner], distance_ppm=distance)
        )
    return found


def seen(venue: ReferenceVenue, key: Pubkey, accounts: Mapping[Pubkey, AccountState]) -> Seen:
    """Return what the venue makes of an account at genesis."""
    account = seen_account(key, accounts.get(key), 0)
    return Seen(address=account.address, slot=0, value=venue.decode(account))


def seen_account(key: Pubkey, state: AccountState | None, slot: int) -> Account:
    """Return an account as an RPC answer would have shown it; an empty one when there is none."""
    return Account(
        address=str(key),
        owner=str(SYSTEM_PROGRAM if state is None else state.owner),
        lamports=0 if state is None else state.lamports,
        data=b"" if state is None else state.data,
        slot=slot,
    )
