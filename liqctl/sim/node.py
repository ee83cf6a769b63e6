"""One RPC endpoint of the simulated cluster, with everything that can be wrong about one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from solders.transaction import VersionedTransaction

from liqctl.localnet.ledger import Commitment
from liqctl.localnet.rpc.answer import answer_with
from liqctl.localnet.rpc.encoding import AccountFormat, Encoding
from liqctl.localnet.subscriptions import Session
from liqctl.localnet.world import BankUpdate, SlotUpdate
from liqctl.sim.cluster import Cluster
from liqctl.sim.lies import lie
from liqctl.sim.methods import Methods
from liqctl.sim.push import Push
from liqctl.sim.serving import LOST, RESET, SILENT, Reply
from liqctl.sim.swarm import Dice
from liqctl.sim.tree import ForkBlock
from liqctl.sim.view import NodeView, Standing

_LISTED = AccountFormat(encoding=Encoding.BASE64)
_OUTAGES = {"reset": RESET, "silent": SILENT, "503": Reply(status=503)}
_FORWARDED_BY_STRAY = 0.5
_LANDS_ON_STRAY = 0.7
_STRAY_SKIPS = 0.2
_STRAY_BACK_BLOCKS_MAX = 8
_STRAY_SLOTS = 60
_LAG_CHANGE = 0.02
_RETRY_AFTER_SHARE = 0.5


@dataclass(slots=True, kw_only=True)
class NodeConfig:
    """What a node does to its callers; the rates are per call and may be changed at any time.

    `minority` is the chance to be found on a fork of its own from this call on, for a while, and
    `own_root` the share of such forks whose own root answers for finalized. `lag_blocks` are the
    lags it changes between. Its history reaches `history_blocks` below the root, to genesis if
    None; `root_lag_blocks` and `index_lag_blocks` say how far it and its address index are behind
    the root. `push` is per WebSocket message.
    """

    refused_429: float = 0.0
    reset: float = 0.0
    answer_lost: float = 0.0
    outage: float = 0.0
    outage_s_max: float = 60.0
    lag_blocks: tuple[int, ...] = (0,)
    minority: float = 0.0
    own_root: float = 0.5
    stray_windows: int = 5
    amnesia: float = 0.0
    history_blocks: int | None = None
    no_history: bool = False
    root_lag_blocks: int = 0
    index_lag_blocks: int = 0
    lie: float = 0.0
    lies_about: tuple[str, ...] = ()
    unfiltered: float = 0.0
    push: float = 0.0
    delay_ms_max: float = 20.0

    def calm(self) -> None:
        """End all faults; delays stay as far as they are none."""
        fresh = NodeConfig(delay_ms_max=min(self.delay_ms_max, NodeConfig().delay_ms_max))
        for name in NodeConfig.__slots__:
            setattr(self, name, getattr(fresh, name))


@dataclass(slots=True)
class _Stray:
    """A fork of the node's own: nobody else builds on it."""

    tip: ForkBlock
    slots_left: int
    falls_back: bool
    waiting: list[VersionedTransaction]


class Node:
    """Answers JSON-RPC requests and pushes notifications from its own view of the cluster."""

    def __init__(
        self,
        cluster: Cluster,
        name: str,
        rng: Dice,
        config: NodeConfig,
        *,
        now_ms: Callable[[], int] | None = None,
    ) -> None:
        """Join the cluster; `now_ms` is the cluster's time between slots."""
        first = cluster.frames[-1]
        self.name = name
        self.config = config
        self._cluster = cluster
        self._rng = rng
        self._now_ms = now_ms or (lambda: cluster.now_ms)
        self._standing = Standing(processed=first.tip, confirmed=first.confirmed, root=first.root)
        self.view = NodeView(cluster, self._standing, self._take)
        self._methods = Methods(self.view, self._standing)
        self._place = len(cluster.frames) - 1
        self._lag = 0
        self._stray: _Stray | None = None
        self._outage = ("", 0)
        self._told = (first.tip, first.confirmed, first.root)
        cluster.watchers.append(self.advance)

    def calm(self) -> None:
        """End all faults and catch up with the cluster at the next slot."""
        self.config.calm()
        self._lag = 0
        self._stray = None
        self._outage = ("", 0)
        self._standing.cache_from = 0

    def handle(self, body: bytes, method: str) -> Reply:
        """Return what becomes of an HTTP request."""
        if method != "POST":
            return Reply(status=405)
        try:
            request: Any = msgspec.json.decode(body)
        except msgspec.DecodeError:
            return Reply(status=400)
        refused = self._refused()
        if refused is not None:
            return refused
        self._drift()
        answer = answer_with(request, self._methods.call)
        if self._rng.chance(self.config.lie):
            answer = self._lied(request, answer)
        if self._rng.chance(self.config.unfiltered):
            answer = self._unfiltered(request, answer)
        if self._fault(self.config.answer_lost, "answer_lost"):
            return LOST
        delay_s = self._rng.between(0.0, self.config.delay_ms_max) / 1_000
        return Reply(body=msgspec.json.encode(answer), delay_s=delay_s)

    def open_session(self, send: Callable[[bytes], None]) -> Session:
        """Return the subscriptions of a new WebSocket connection."""
        push = Push(self._cluster, self.config, self._rng, send, is_out=self._is_out)
        return Session(self.view, push.send)

    def advance(self) -> None:
        """Follow the cluster by one slot, as far as lag and forks let the node."""
        if len(self.config.lag_blocks) > 1 and self._rng.chance(_LAG_CHANGE):
            self._lag = self._rng.pick(self.config.lag_blocks)
            if self._lag:
                self._cluster.fault("lag")
        if self._stray is not None:
            self._advance_stray(self._stray)
        else:
            newest = len(self._cluster.frames) - 1
            self._place = max(self._place, newest - self._lag)
            frame = self._cluster.frames[self._place]
            self._standing.processed = frame.tip
            self._standing.confirmed = frame.confirmed
            self._standing.root = self._later_root(frame.root)
            self._standing.own_root = None
        self._standing.history_blocks = self.config.history_blocks
        self._standing.index_lag_blocks = self.config.index_lag_blocks
        self._methods.has_history = not self.config.no_history
        self.view.heard_of(self._cluster.confirmed.slot)
        if self.view.listeners:
            self._tell(*self._told)
        self._told = (self._standing.processed, self._standing.confirmed, self._standing.root)

    def _later_root(self, root: ForkBlock) -> ForkBlock:
        root = root.back(self.config.root_lag_blocks)
        return max(root, self._standing.root, key=lambda block: block.slot)

    def _drift(self) -> None:
        """Let the node lose its fork or its memory, as if that had happened a while ago."""
        if self._stray is None and self._fault(self.config.minority, "minority"):
            back = self._standing.processed.back(self._rng.whole(0, _STRAY_BACK_BLOCKS_MAX))
            base = max(back, self._standing.root, key=lambda block: block.slot)
            # Now and then so long that the fork's own root passes the end of a blockhash.
            longest = self.config.stray_windows * self._cluster.config.window_blocks + _STRAY_SLOTS
            slots = int(longest ** self._rng.random())
            falls_back = self._rng.chance(self.config.own_root)
            self._stray = _Stray(base, slots, falls_back, [])
            self._advance_stray(self._stray)
        if self._fault(self.config.amnesia, "amnesia"):
            self._standing.cache_from = self._standing.processed.index

    def _advance_stray(self, stray: _Stray) -> None:
        stray.slots_left -= 1
        if stray.slots_left < 0:
            self._stray = None
            return
        if not self._rng.chance(_STRAY_SKIPS):
            stray.tip = self._cluster.aside(stray.tip, stray.waiting)
            stray.waiting.clear()
        standing = self._standing
        standing.processed = stray.tip
        if stray.falls_back:
            own = stray.tip.back(self._cluster.config.finalize_blocks)
            standing.own_root = own if own.slot > standing.root.slot else None

    def _take(self, transaction: VersionedTransaction) -> None:
        stray = self._stray
        if stray is None:
            self._cluster.submit(transaction)
            return
        if self._rng.chance(_LANDS_ON_STRAY):
            stray.waiting.append(transaction)
        if self._rng.chance(_FORWARDED_BY_STRAY):
            self._cluster.submit(transaction)

    def _fault(self, rate: float, kind: str) -> bool:
        happens = self._rng.chance(rate)
        if happens:
            self._cluster.fault(kind)
        return happens

    def _refused(self) -> Reply | None:
        """Return the fault that keeps a request from having any effect."""
        kind = self._outage[0] if self._is_out() else ""
        if not kind and self._fault(self.config.outage, "outage"):
            kind = self._rng.pick(tuple(_OUTAGES))
            lasts_s = self._rng.between(1.0, self.config.outage_s_max)
            self._outage = (kind, self._now_ms() + int(lasts_s * 1_000))
        if kind:
            return _OUTAGES[kind]
        if self._fault(self.config.refused_429, "429"):
            wait = (("retry-after", str(self._rng.whole(1, 3))),)
            headers = wait if self._rng.chance(_RETRY_AFTER_SHARE) else ()
            return Reply(status=429, headers=headers)
        if self._fault(self.config.reset, "reset"):
            return RESET
        return None

    def _is_out(self) -> bool:
        return self._now_ms() < self._outage[1]

    def _lied(self, request: Any, answer: Any) -> Any:  # noqa: ANN401 - any JSON
        if not isinstance(answer, dict) or "result" not in answer:
            return answer
        if self.config.lies_about and request["method"] not in self.config.lies_about:
            return answer
        first_slot = self._cluster.tree.genesis.slot
        told = lie(request["method"], answer["result"], self._rng, first_slot)
        if told is None:
            return answer
        self._cluster.fault(told[0])
        return {**answer, "result": told[1]}

    def _unfiltered(self, request: Any, answer: Any) -> Any:  # noqa: ANN401 - any JSON
        """Add to a list of a program's accounts what does not belong to it, or is none."""
        if request["method"] != "getProgramAccounts" or "result" not in answer:
            return answer
        block = self._standing.confirmed
        states = [(key, self._cluster.account(key, block)) for key in self._cluster.strangers]
        more = [
            {"account": _LISTED.answer(state), "pubkey": str(key)}
            for key, state in states
            if state is not None
        ]
        self._cluster.fault("unfiltered")
        result = answer["result"]
        return {**answer, "result": {**result, "value": [*result["value"], *more]}}

    def _tell(self, processed: ForkBlock, confirmed: ForkBlock, root: ForkBlock) -> None:
        """Push what has changed since these were the newest blocks."""
        standing = self._standing
        for block in _new_blocks(processed, standing.processed):
            self._push(
                SlotUpdate(
                    slot=block.slot, parent_slot=block.parent_slot, root_slot=standing.root.slot
                )
            )
            self._push(_update(Commitment.PROCESSED, block))
        for block in _new_blocks(confirmed, standing.confirmed):
            self._push(_update(Commitment.CONFIRMED, block))
        for block in _new_blocks(root, standing.root):
            self._push(_update(Commitment.FINALIZED, block))

    def _push(self, update: BankUpdate | SlotUpdate) -> None:
        for listener in tuple(self.view.listeners):
            listener(update)


def _new_blocks(before: ForkBlock, now: ForkBlock) -> Sequence[ForkBlock]:
    """Return the blocks that the line of `now` has and the line of `before` lacks, oldest first."""
    found: list[ForkBlock] = []
    block: ForkBlock | None = now
    while block is not None and not before.has(block):
        found.append(block)
        block = block.parent
    found.reverse()
    return found


def _update(commitment: Commitment, block: ForkBlock) -> BankUpdate:
    return BankUpdate(
        commitment=commitment,
        block=block,
        written=tuple(block.written),
        landed=tuple(block.landed),
    )
