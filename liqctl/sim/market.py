"""Everybody else on the simulated chain: publishers, traders, rivals and hostile accounts."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from solders.keypair import Keypair
from solders.message import MessageV0
from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction

from liqctl.chain.transaction import compile_message
from liqctl.core.account import Seen
from liqctl.core.instruction import Instruction
from liqctl.core.position import Position, Side
from liqctl.localnet.account import AccountState
from liqctl.localnet.genesis import PROGRAM_ID, call
from liqctl.localnet.history import Landed
from liqctl.localnet.traders import position_address
from liqctl.oracle.price_update import RECEIVERS, decode_price
from liqctl.sim.cluster import Cluster
from liqctl.sim.pauses import Pauses
from liqctl.sim.planted import Planted, seen_account
from liqctl.sim.prices import Path, Prices
from liqctl.sim.swarm import Dice
from liqctl.sim.tree import ForkBlock
from liqctl.venues.reference import ReferenceVenue
from liqctl.venues.tokens import associated_token_account

_UNITS = 400_000
_PRICES_MICRO_LAMPORTS = (0, 1, 1_000, 20_000)
_RIVAL_EVERY_BLOCKS = 5
_COMES_BACK = 0.1
_RIVAL_WINS = 0.15
_HOSTILE_MAX = 4
_SHRINK_DIVISOR = 50
_SIZE_SCALE = 10**9
_SPARE_MAX = 1.5
_STRANGER = Pubkey(bytes([7] * 32))


@dataclass(slots=True, kw_only=True)
class MarketConfig:
    """What the others do; `calm` ends all of it but the prices themselves.

    `path` and `pace` are those of the prices' `Path`; a price is published every `publish_blocks`,
    one market after another. `prices` and `accounts` are kinds of faults, `traders` is the chance
    in each block that one trader acts, `visits` that somebody names a position in vain, `pauses`
    that the authority pauses a market, `rivals` is how many keepers compete, two at the most.
    """

    path: str = "crash"
    pace: str = "slow"
    publish_blocks: int = 1
    prices: tuple[str, ...] = ()
    accounts: tuple[str, ...] = ()
    rivals: int = 0
    traders: float = 0.0
    visits: float = 0.0
    pauses: float = 0.0

    def calm(self) -> None:
        """End all faults."""
        self.prices, self.rivals = (), 0
        self.traders = self.visits = self.pauses = 0.0


class Market:
    """Acts at the start of every block of the cluster."""

    def __init__(self, cluster: Cluster, rng: Dice, config: MarketConfig) -> None:
        """Plant the hostile accounts into the genesis block and wait for blocks."""
        self.config = config
        self._cluster = cluster
        self._rng = rng
        self._genesis = cluster.genesis
        self._venue = ReferenceVenue(PROGRAM_ID)
        self._specs = {
            self._genesis.addresses.markets[one.symbol]: one for one in self._genesis.specs
        }
        specs = tuple(self._genesis.specs)
        self._prices = Prices(specs, Path(config.path, config.pace, specs, rng), rng)
        self._pauses = Pauses(cluster, rng, self._succeeds)
        self._acts = 0
        self.hostile: tuple[str, ...] = tuple(self._plant_hostile())
        cluster.strangers = tuple(Pubkey.from_string(each) for each in self.hostile)
        cluster.writers.append(self.act)

    def calm(self) -> None:
        """End all faults; prices go on as their path wants."""
        self.config.calm()
        self._prices.calm()
        self._pauses.calm()

    def hold(self) -> None:
        """Let the prices stand still, so that what is liquidatable stays so."""
        self._prices.hold()

    def act(self, block: ForkBlock) -> None:
        """Publish the prices and let traders and rivals do what they want in this block."""
        self._prices.move(block.slot)
        for kind in self._prices.begin_faults(self.config.prices, block.slot):
            self._cluster.fault(f"price_{kind}")
        for turn, spec in enumerate(self._specs.values()):
            if (block.height + turn) % self.config.publish_blocks:
                continue
            state = self._prices.account(spec, block.slot, block.unix_ms // 1000)
            if state is not None:
                self._cluster.tree.put(block, spec.price_account, state)
        self._pauses.act(self.config.pauses, block)
        if self._rng.chance(self.config.traders):
            self._trade(block)
        if self._rng.chance(_COMES_BACK):
            self._come_back(block)
        for planted in self._genesis.positions:
            if self.config.visits and self._rng.chance(self.config.visits):
                self._visit(planted, block)
        if self.config.rivals and block.height % _RIVAL_EVERY_BLOCKS == 0:
            self._compete(block)

    def _trade(self, block: ForkBlock) -> None:
        """Let the owner of some position close it, add to it, or open it again if it is gone."""
        planted = self._rng.pick(self._genesis.positions)
        position = self._read(planted.position.address, block)
        kind = "account_closed"
        if not isinstance(position, Position):
            kind, instruction = "account_reopened", self._opening(planted)
        elif self._rng.chance(0.5):
            instruction = self._closing(planted)
        else:
            kind, instruction = "account_refilled", self._adding(planted)
        if self._succeeds(block, planted.owner, instruction):
            self._cluster.fault(kind)

    def _come_back(self, block: ForkBlock) -> None:
        """Let the owner of a position that is gone open it again: there is always work."""
        planted = self._rng.pick(self._genesis.positions)
        if not isinstance(self._read(planted.position.address, block), Position):
            self._succeeds(block, planted.owner, self._opening(planted))

    def _visit(self, planted: Planted, block: ForkBlock) -> None:
        """Name a position in a transaction that fails: its history grows, and it stays as it is."""
        if isinstance(self._read(planted.position.address, block), Position):
            self._succeeds(block, planted.owner, self._opening(planted))

    def _compete(self, block: ForkBlock) -> None:
        """Let rivals liquidate, in whole or only a little, what the program lets them."""
        for planted in self._genesis.positions:
            if not self._rng.chance(_RIVAL_WINS):
                continue
            rival = self._rng.pick(self._genesis.rivals[: self.config.rivals])
            position = self._read(planted.position.address, block)
            if isinstance(position, Position) and self._is_liquidatable(position, block):
                self._take(block, rival, position)

    def _take(self, block: ForkBlock, rival: Keypair, position: Position) -> None:
        view = self._view(block, position.market, self._venue.insurance_address())
        shrinks = "shrunk" in self.config.accounts and self._rng.chance(0.5)
        size = max(position.size // _SHRINK_DIVISOR, 1) if shrinks else None
        plan = self._venue.plan(position, view, str(rival.pubkey()), max_size=size)
        if self._succeeds(block, rival, *plan.instructions):
            self._cluster.fault("account_shrunk" if shrinks else "account_taken")

    def _is_liquidatable(self, position: Position, block: ForkBlock) -> bool:
        market = self._seen(position.market, block)
        named = self._venue.dependencies(position, {market.address: market})
        view = self._view(block, *named)
        return self._venue.assess(position, view, block.unix_ms // 1000).liquidatable is True

    def _succeeds(self, block: ForkBlock, signer: Keypair, *calls: Instruction) -> bool:
        """Land a transaction in the block; everyone pays a little for priority."""
        self._acts += 1
        parent = block.parent or block
        raw = compile_message(
            str(signer.pubkey()),
            calls,
            str(parent.blockhash),
            _UNITS - self._acts % 1_000,
            self._rng.pick(_PRICES_MICRO_LAMPORTS),
        )
        transaction = VersionedTransaction(MessageV0.from_bytes(raw[1:]), [signer])
        answer = self._cluster.land(transaction, block)
        return isinstance(answer, Landed) and answer.failure is None

    def _closing(self, planted: Planted) -> Instruction:
        return call(
            self._genesis.addresses, "close_position", self._accounts(planted, priced=True), {}
        )

    def _adding(self, planted: Planted) -> Instruction:
        amount = max(planted.position.collateral // 20, 1)
        accounts = self._accounts(planted, priced=False)
        return call(self._genesis.addresses, "add_collateral", accounts, {"amount": amount})

    def _opening(self, planted: Planted) -> Instruction:
        """Return the call that opens the position again, close to the line."""
        position = planted.position
        spec = self._specs[position.market]
        leverage = spec.leverages[-1]
        price_e6 = self._prices.quotes[spec.symbol].price_e8 // 100
        least = position.size * price_e6 // _SIZE_SCALE // leverage + 1
        return call(
            self._genesis.addresses,
            "open_position",
            self._accounts(planted, priced=True),
            {
                "id": self._number(planted),
                "size": position.size if position.side is Side.LONG else -position.size,
                "collateral": int(least * self._rng.between(1.01, _SPARE_MAX)),
                "leverage": leverage,
            },
        )

    def _accounts(self, planted: Planted, *, priced: bool) -> Mapping[str, str]:
        position = planted.position
        accounts = {
            "owner": position.owner,
            "position": position.address,
            "owner_token": associated_token_account(position.owner, self._genesis.addresses.mint),
        }
        if priced:
            spec = self._specs[position.market]
            accounts |= {"market": position.market, "price_account": str(spec.price_account)}
        return accounts

    def _number(self, planted: Planted) -> int:
        """Return the number that the position's address is derived from."""
        position = planted.position
        return next(
            number
            for number in range(1_000)
            if position_address(position.owner, position.market, number) == position.address
        )

    def _read(self, address: str, block: ForkBlock) -> object:
        return self._seen(address, block).value

    def _view(self, block: ForkBlock, *addresses: str) -> Mapping[str, Seen]:
        return {address: self._seen(address, block) for address in addresses}

    def _seen(self, address: str, block: ForkBlock) -> Seen:
        key = Pubkey.from_string(address)
        account = seen_account(key, self._cluster.account(key, block), block.slot)
        decode = decode_price if account.owner in RECEIVERS else self._venue.decode
        return Seen(address=address, slot=block.slot, value=decode(account))

    def _hand_over(self, first: ForkBlock) -> None:
        """Give the token account of one owner to somebody else: nobody can liquidate him then."""
        owner = self._rng.pick(self._genesis.positions).position.owner
        mint = self._genesis.addresses.mint
        key = Pubkey.from_string(associated_token_account(owner, mint))
        state = self._cluster.account(key, first)
        if state is not None:
            given = state.data[:32] + bytes(_STRANGER) + state.data[64:]
            self._cluster.tree.put(first, key, replace(state, data=given))
            self._cluster.fault("account_handed_over")

    def _plant_hostile(self) -> list[str]:
        """Put accounts beside the positions that look like one and are none."""
        first = self._cluster.tree.genesis
        planted: list[str] = []
        for kind in self.config.accounts:
            if kind == "handed_over":
                self._hand_over(first)
                continue
            for _ in range(self._rng.whole(1, _HOSTILE_MAX)):
                model = self._rng.pick(self._genesis.positions).position.address
                state = self._cluster.account(Pubkey.from_string(model), first)
                broken = None if state is None else _broken(kind, state)
                if broken is not None:
                    key = Pubkey(bytes(self._rng.whole(0, 255) for _ in range(32)))
                    self._cluster.tree.put(first, key, broken)
                    self._cluster.fault(f"account_{kind}")
                    planted.append(str(key))
        return planted


def _broken(kind: str, state: AccountState) -> AccountState | None:
    match kind:
        case "truncated":
            return replace(state, data=state.data[: len(state.data) // 2])
        case "other_owner":
            return replace(state, owner=_STRANGER)
        case "other_discriminator":
            return replace(state, data=bytes(8) + state.data[8:])
        case _:
            return None
