"""What the cluster itself says about decisions, landings and duties: the program is asked, not us."""

import struct
from bisect import bisect_left
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import islice

from solders.keypair import Keypair
from solders.message import MessageV0
from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction

from liqctl.chain.transaction import compile_message
from liqctl.core.account import Seen
from liqctl.core.insurance import InsuranceState
from liqctl.core.position import Market, Position
from liqctl.core.price import PriceReading
from liqctl.core.price_policy import PERMILLE, owner_favourable
from liqctl.localnet.history import Landed
from liqctl.oracle.price_update import RECEIVERS, decode_price
from liqctl.sim.cluster import Cluster
from liqctl.sim.evidence import Decided, Duty, Truth
from liqctl.sim.journal import Move
from liqctl.sim.planted import seen_account
from liqctl.sim.swarm import SLOT_MS
from liqctl.sim.tree import ForkBlock
from liqctl.venues.reference import ReferenceVenue
from liqctl.venues.reference_layout import REFERENCE_IDL

BLOCKS_MAX = 3_000
UNITS = 400_000
SLOT_S = SLOT_MS / 1_000
DUTY_STEP_FRAMES = 5
# A closing is told by no notice: a keeper learns of it at its next reconciliation, every 15 s.
RECENT = 75
FUTURE_S_MAX = 5
_PUBLISHED_AT = 93
_HOSTILE = frozenset({"AccountNotInitialized", "AccountWrongOwner", "AccountWrongType"})


class Bench:
    """Answers questions about a cluster with the program's own verdict on its blocks."""

    def __init__(self, cluster: Cluster, venue: ReferenceVenue, asker: Keypair) -> None:
        """Ask as `asker`, who has lamports; nothing that is asked lands."""
        self._cluster = cluster
        self._venue = venue
        self._asker = asker
        self._landed = 0
        self.final_at_s: dict[str, float] = {}
        self.roots: list[tuple[float, int]] = []

    def slot_ended(self, now_s: float) -> None:
        """Note the root and what became final with it."""
        height = self._cluster.root.height
        if not self.roots or self.roots[-1][1] != height:
            self.roots.append((now_s, height))
        final = self._cluster.landed_final
        if len(final) > self._landed:
            for signature in list(final)[self._landed :]:
                self.final_at_s[signature] = now_s
            self._landed = len(final)

    def finals(self, payers: Container[str]) -> dict[str, Truth]:
        """Return the finalized transactions of the payers by signature."""
        return {
            signature: self._truth(signature, landed)
            for signature, landed in self._cluster.landed_final.items()
            if str(landed.keys.static[0]) in payers
        }

    def _truth(self, signature: str, landed: Landed) -> Truth:
        failed, fee_lamports = landed.failure is not None, landed.execution.fee_lamports
        return Truth(
            signature=signature,
            slot=landed.slot,
            fee_lamports=fee_lamports,
            cost_lamports=max(landed.pre_lamports[0] - landed.post_lamports[0], fee_lamports),
            failed=failed,
            told=None if failed else self._venue.effects(landed.execution.logs),
            final_at_s=self.final_at_s[signature],
        )

    def last_heights(self, raws: Mapping[str, bytes]) -> dict[str, int]:
        """Return for each transaction the finalized height from which on no block can carry it."""
        found: dict[str, int] = {}
        for signature, raw in raws.items():
            blockhash = VersionedTransaction.from_bytes(raw).message.recent_blockhash
            height = self._cluster.tree.ruled_out_at(blockhash, self._cluster.root)
            if height is not None:
                found[signature] = height
        return found

    def decided(self, move: Move, tried_slots: Container[int]) -> Decided:
        """Return what the cluster says about an attempt at the moment of its commit.

        The blocks where a node simulated it are asked first.
        """
        transaction = VersionedTransaction.from_bytes(move.raw)
        since = list(self._blocks_since(move.decision_slot))
        tried = [block for block in since if block.slot in tried_slots]
        others = [block for block in since if block.slot not in tried_slots]
        blocks = [*tried, *others]
        code, _, text = self._objection(transaction, move.position, blocks).partition(":")
        return Decided(
            at_s=move.at_s,
            attempt=move.key,
            position=move.position,
            healthy=text if code == "HEALTHY" else "",
            oracle=text if code == "ORACLE" else "",
            hostile=text if code == "HOSTILE" else "",
            age_s=self._age_s(move.decision_slot),
        )

    def _objection(
        self, transaction: VersionedTransaction, position: str, blocks: Iterable[ForkBlock]
    ) -> str:
        """Return the last objection of the blocks, or nothing if one has none."""
        wrong = "HEALTHY:no block since the decision"
        for block in blocks:
            failure = self._cluster.simulate(transaction, block).failure
            wrong = _meaning(failure)
            if not wrong:
                wrong = self._from_future(transaction, block)
            if not wrong and not self._is_certain(position, block):
                wrong = "HEALTHY:healthy at the owner's end of the confidence"
            if not wrong:
                return ""
        return wrong

    def _blocks_since(self, slot: int) -> Iterator[ForkBlock]:
        """Yield blocks of every fork from a slot on, the newest first."""
        for block in islice(self._cluster.tree.newest_first(), BLOCKS_MAX):
            if block.slot < slot:
                return
            yield block

    def _from_future(self, transaction: VersionedTransaction, block: ForkBlock) -> str:
        """Return an objection when a price in use was published after the block's own time."""
        for key in _static(transaction):
            state = self._cluster.account(key, block)
            if state is None or str(state.owner) not in RECEIVERS:
                continue
            published = struct.unpack_from("<q", state.data, _PUBLISHED_AT)[0]
            if published - block.unix_ms // 1_000 > FUTURE_S_MAX:
                return f"ORACLE:published {published - block.unix_ms // 1_000} s in the future"
        return ""

    def _age_s(self, slot: int) -> float:
        frames = self._cluster.frames
        at = bisect_left(frames, slot, key=lambda frame: frame.slot)
        behind = max(0, len(frames) - 1 - at)
        return behind * SLOT_S

    def is_done(self) -> bool:
        """Return whether nothing is liquidatable at the tip."""
        return not any(self._passes(position, self._cluster.tip) for position in self._candidates())

    def duties(self, now_s: float) -> list[Duty]:
        """Return the positions that are liquidatable at the tip, and since when without a break."""
        frames, found = self._cluster.frames, []
        for position in self._candidates():
            if not self._passes(position, self._cluster.tip):
                continue
            since = len(frames) - 1
            for at in range(since, -1, -DUTY_STEP_FRAMES):
                if not self._passes(position, frames[at].tip):
                    break
                since = at
            age_s = (len(frames) - 1 - since) * SLOT_S
            found.append(Duty(position=position.address, since_s=now_s - age_s))
        return found

    def _candidates(self) -> list[Position]:
        """Return the positions at the tip that are not healthy by our own arithmetic."""
        tip = self._cluster.tip
        return [one for one in list(self._positions(tip)) if self._may_pass(one, tip)]

    def _may_pass(self, position: Position, block: ForkBlock) -> bool:
        """Return whether it is not healthy at the price and at the owner's end of its confidence.

        Our own rule is the second: the program accepts a price that is sure to 1 %.
        """
        now_s = block.unix_ms // 1_000
        view = self._whole(position, block)
        if self._venue.assess(position, view, now_s).liquidatable is False:
            return False
        market = view[position.market].value
        price = view.get(market.price_account) if isinstance(market, Market) else None
        if price is None or not isinstance(price.value, PriceReading):
            return True
        edge = owner_favourable(price.value, position.side, PERMILLE)
        there = {**view, price.address: replace(price, value=edge)}
        return self._venue.assess(position, there, now_s).liquidatable is not False

    def _is_certain(self, address: str, block: ForkBlock) -> bool:
        """Return whether a position that the program would liquidate may be, by our own rule."""
        found = self._view(block, address)[address].value
        return isinstance(found, Position) and self._may_pass(found, block)

    def _whole(self, position: Position, block: ForkBlock) -> dict[str, Seen]:
        """Return a position with all it depends on after a block."""
        market = self._view(block, position.market)
        return self._view(block, position.address, *self._venue.dependencies(position, market))

    def _passes(self, position: Position, block: ForkBlock) -> bool:
        """Return whether the program itself would liquidate after a block."""
        if not self._may_pass(position, block):
            return False
        view = self._view(block, position.market, self._venue.insurance_address())
        asker = str(self._asker.pubkey())
        if not all(isinstance(seen.value, Market | InsuranceState) for seen in view.values()):
            return False
        plan = self._venue.plan(position, view, asker)
        message = compile_message(asker, plan.instructions, str(block.blockhash), UNITS, 0)
        signed = VersionedTransaction(MessageV0.from_bytes(message[1:]), [self._asker])
        failure = self._cluster.simulate(signed, block).failure
        return failure is None and not self._from_future(signed, block)

    @property
    def program_id(self) -> str:
        """The program whose verdict it is."""
        return self._venue.program_id

    def addresses(self) -> set[str]:
        """Return the positions that the tip has, readable or not."""
        program = Pubkey.from_string(self._venue.program_id)
        head = self._venue.discriminators()["position"]
        owned = self._cluster.tree.owned_by(program, self._cluster.tip)
        return {str(key) for key, state in owned if state.data.startswith(head)}

    def positions(self) -> frozenset[int]:
        """Return how many positions a keeper may know that follows the recent confirmed blocks.

        What has opened it is told at once; at most it still knows all that has closed. An account
        that begins like a position and is none counts too, as unknown.
        """
        program = Pubkey.from_string(self._venue.program_id)
        head = self._venue.discriminators()["position"]
        tree = self._cluster.tree
        latest = {
            frame.confirmed.index: frame.confirmed for frame in self._cluster.frames[-RECENT:]
        }
        found = [
            {key for key, state in tree.owned_by(program, block) if state.data.startswith(head)}
            for block in latest.values()
        ]
        return frozenset(range(min(map(len, found)), len(set().union(*found)) + 1))

    def _positions(self, block: ForkBlock) -> Iterator[Position]:
        program = Pubkey.from_string(self._venue.program_id)
        for key, state in self._cluster.tree.owned_by(program, block):
            found = self._venue.decode(seen_account(key, state, block.slot))
            if isinstance(found, Position):
                yield found

    def _view(self, block: ForkBlock, *addresses: str) -> dict[str, Seen]:
        view: dict[str, Seen] = {}
        for address in addresses:
            key = Pubkey.from_string(address)
            account = seen_account(key, self._cluster.account(key, block), block.slot)
            decode = decode_price if account.owner in RECEIVERS else self._venue.decode
            view[address] = Seen(address=address, slot=block.slot, value=decode(account))
        return view


def _static(transaction: VersionedTransaction) -> list[Pubkey]:
    return list(transaction.message.account_keys)


def _meaning(failure: object) -> str:
    """Return what the program objects to, with the code of the checker that it concerns."""
    match failure:
        case None:
            return ""
        case {"InstructionError": [int(), {"Custom": int(code)}]}:
            name = REFERENCE_IDL.errors.get(code, f"code {code}")
            if name.startswith("Price"):
                return f"ORACLE:the program says {name}"
            if name in _HOSTILE:
                return f"HOSTILE:the program says {name}"
            return f"HEALTHY:the program says {name}"
        case _:
            return f"HEALTHY:the program says {failure}"
