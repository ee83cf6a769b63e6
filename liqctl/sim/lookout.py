"""Looks at keepers while they run: what they signed and could pay for, what they hear and know."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import islice, takewhile
from typing import TYPE_CHECKING

from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction

from liqctl.core.position import Position
from liqctl.core.price import PriceReading, price_e6
from liqctl.oracle.price_update import decode_price
from liqctl.sim.checks_decision import STATUS
from liqctl.sim.evidence import Books, Glance, Signed
from liqctl.sim.journal import Move
from liqctl.sim.network import End
from liqctl.sim.planted import seen_account
from liqctl.sim.stage import PORT, Stage, host_of
from liqctl.sim.tree import ForkBlock
from liqctl.venues.reference import ReferenceVenue

if TYPE_CHECKING:
    from liqctl.sim.life import Life

GLANCE_S = 5.0
BLOCKS_MAX = 40
SOL = "SOL"


class Lookout:
    """Gathers facts for the checkers; touches nothing."""

    def __init__(self, stage: Stage, lives: Mapping[str, "Life"]) -> None:
        """Look at the lives of the stage's seats."""
        self.signed: list[Signed] = []
        self.glances: list[Glance] = []
        self._stage = stage
        self._lives = lives
        self._ends: dict[End, int] = {}
        self._held: set[str] = set()
        self._tip: ForkBlock | None = None
        genesis = stage.cluster.genesis
        self._places = {Pubkey.from_string(one.position.address) for one in genesis.positions}
        self._closed = 0
        stage.cluster.watchers.append(self._slot_ended)
        self._venue = ReferenceVenue(stage.bench.program_id)
        for books in stage.books:
            books.journal.listeners.append(partial(self._moved, books))

    async def look_on(self) -> None:
        """Look every few seconds, until cancelled."""
        while True:
            await asyncio.sleep(GLANCE_S)
            for name, life in self._lives.items():
                if life.process.running and not life.process.paused:
                    self.glances.append(self._glance(name, life))

    def _glance(self, name: str, life: "Life") -> Glance:
        stage = self._stage
        ends = [
            end
            for node in range(stage.swarm.endpoints)
            for end in stage.network.connections(name, host_of(node), PORT + 1)
            if end.peer.process is life.process
        ]
        row = stage.operators[life.seat.database].state(STATUS)
        return Glance(
            at_s=stage.now_s(),
            life=life.owner,
            half_open=frozenset(self._number(end) for end in ends if end.half_open),
            status_json=None if row is None else row[0],
            status_ms=0 if row is None else row[1],
            closed=self._closed,
        )

    def _number(self, end: End) -> int:
        return self._ends.setdefault(end, len(self._ends))

    def _slot_ended(self) -> None:
        """Count positions that have closed, even those that come back before the next look."""
        tip = self._stage.cluster.tip
        if tip is self._tip:
            return
        if tip.parent is not self._tip or not self._places.isdisjoint(tip.written):
            held = self._stage.bench.addresses()
            self._closed += len(self._held - held)
            self._held = held
        self._tip = tip

    def _moved(self, books: Books, move: Move) -> None:
        if move.table == "attempt" and not move.before:
            self.signed.append(self._facts(books, move))

    def _facts(self, books: Books, move: Move) -> Signed:
        """Return what the blocks since the decision say, with every doubt in the keeper's favour."""
        stage = self._stage
        transaction = VersionedTransaction.from_bytes(move.raw)
        newest = islice(stage.cluster.tree.newest_first(), BLOCKS_MAX)
        blocks = [block for block in newest if block.slot >= move.decision_slot]
        payer = transaction.message.account_keys[0]
        states = [stage.cluster.account(payer, block) for block in blocks]
        known = stage.operators[next(p for p in stage.operators if str(p) == books.path)]
        intent = known.intent_of(move.key)
        floor = books.limits.profit_floor_permille
        return Signed(
            at_s=move.at_s,
            attempt=move.key,
            path=books.path,
            position=move.position,
            generation=0 if intent is None else intent[0].generation,
            generations=frozenset(self._generations(move.position, move.decision_slot)),
            balance_lamports=max((0 if s is None else s.lamports for s in states), default=None),
            reward_e6=self._reward_e6(transaction, blocks) if floor else None,
            sol_price_e6=self._sol_price_e6(blocks) if floor else 0,
        )

    def _generations(self, position: str, since_slot: int) -> Iterator[int]:
        """Yield those that a block of any fork shows, from the decision's slot on."""
        key, cluster = Pubkey.from_string(position), self._stage.cluster
        blocks = takewhile(lambda one: one.slot >= since_slot, cluster.tree.newest_first())
        states = {id(state): state for state in (cluster.account(key, one) for one in blocks)}
        for state in states.values():
            value = self._venue.decode(seen_account(key, state, since_slot))
            if isinstance(value, Position):
                yield value.generation

    def _reward_e6(self, transaction: VersionedTransaction, blocks: Sequence[ForkBlock]) -> int:
        told = [
            self._venue.effects(self._stage.cluster.simulate(transaction, block).logs)
            for block in blocks
        ]
        return max((effects["reward"] for effects in told if effects), default=0)

    def _sol_price_e6(self, blocks: Sequence[ForkBlock]) -> int:
        spec = next(one for one in self._stage.cluster.genesis.specs if one.symbol == SOL)
        prices: list[int] = []
        for block in blocks:
            state = self._stage.cluster.account(spec.price_account, block)
            reading = decode_price(seen_account(spec.price_account, state, block.slot))
            if isinstance(reading, PriceReading):
                prices.append(price_e6(reading.mantissa, reading.exponent))
        return min(prices, default=0)
