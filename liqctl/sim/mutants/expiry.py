"""Mutants of the expiry proof: an attempt is called expired although it landed or still may."""

from dataclasses import replace

from liqctl.chain import expiry
from liqctl.chain.answers import Commitment, Epoch
from liqctl.chain.client import Chain
from liqctl.core.intent import Attempt
from liqctl.errors import RpcError
from liqctl.keeper import executor, settle
from liqctl.keeper.feeds import Feeds
from liqctl.sim.mutants.judges import no_trial
from liqctl.sim.mutants.layers import LAYERS, Part, all_of, closes_little, without
from liqctl.sim.mutants.registry import Mutant, Patches
from liqctl.sim.mutants.worlds import world
from liqctl.sim.swarm import ClusterFaults, MarketFaults, NodeFaults

PAST_ALL = 2**62
PATIENCE_MS = 10_000


async def believed(_chain: Chain, attempt: Attempt) -> expiry.Proof:
    """Return a proof of nothing."""
    return expiry.Proof(
        signature=attempt.signature,
        slot=attempt.min_context_slot,
        block_height=attempt.last_valid_block_height,
        json="{}",
    )


def no_proof(patches: Patches) -> None:
    """Call an attempt expired when a look has a finalized height past validity and no status."""
    patches.set(settle, "prove_expiry", believed)


def silence_is_expiry(patches: Patches) -> None:
    """Call an attempt expired once it was not seen for ten seconds."""
    first: dict[str, int] = {}

    async def follow(self: Part, live: Part, status: Part, _height: int) -> None:
        now_ms = self._context.steady.ms()
        waited_ms = now_ms - first.setdefault(live.attempt.signature, now_ms)
        await before(self, live, status, PAST_ALL if waited_ms > PATIENCE_MS else 0)

    before = patches.set(settle.Settler, "_follow", follow)
    no_proof(patches)


def _ask_at_once(patches: Patches) -> None:
    """Look for the proof at every look that finds no status."""

    async def follow(self: Part, live: Part, status: Part, _height: int) -> None:
        await before(self, live, status, PAST_ALL)

    before = patches.set(settle.Settler, "_follow", follow)


def _hash_alone(patches: Patches) -> None:
    async def prove(chain: Chain, attempt: Attempt) -> expiry.Proof | None:
        answer = await chain.is_blockhash_valid(attempt.blockhash, Commitment.CONFIRMED)
        return None if answer.valid else await believed(chain, attempt)

    _ask_at_once(patches)
    patches.set(settle, "prove_expiry", prove)


def _two_nodes(patches: Patches) -> None:
    LAYERS["one"](patches)
    no_proof(patches)


def _one_block_early(patches: Patches) -> None:
    async def past(chain: Chain, attempt: Attempt) -> Epoch:
        epoch = await chain.epoch_info(
            Commitment.FINALIZED, min_context_slot=attempt.min_context_slot
        )
        if epoch.block_height < attempt.last_valid_block_height:
            raise expiry._Unproven("too early")  # noqa: SLF001
        return epoch

    async def follow(self: Part, live: Part, status: Part, height: int) -> None:
        await before(self, live, status, height + 1)

    before = patches.set(settle.Settler, "_follow", follow)
    patches.set(expiry, "_finalized_past_validity", past)


def _unsettled_height(patches: Patches) -> None:
    async def ask(self: Chain, _commitment: Commitment, **more: Part) -> Part:
        return await before(self, Commitment.PROCESSED, **more)

    before = patches.set(Chain, "epoch_info", ask)


def _status_first(patches: Patches) -> None:
    async def settle_once(self: Part) -> None:
        await self._renew()
        lives = list(self._live.values())
        try:
            answer = await self._chain.statuses([live.attempt.signature for live in lives])
            epoch = await self._chain.epoch_info(Commitment.FINALIZED)
            for live, status in zip(lives, answer.statuses, strict=True):
                await self._follow_apart(live, status, epoch.block_height)
        except RpcError:
            self.counts["rpc_errors"] += 1

    patches.set(settle.Settler, "settle_once", settle_once)


def _any_context(patches: Patches) -> None:
    async def unknown(chain: Chain, attempt: Attempt, slot: int) -> int:
        return await before(chain, attempt, 0) and slot

    before = patches.set(expiry, "_status_unknown", unknown)


def _any_root(patches: Patches) -> None:
    async def absent(chain: Chain, attempt: Attempt, _slot: int) -> Part:
        return await before(chain, attempt, None)

    before = patches.set(expiry, "_absent_from_history", absent)


def _first_page(patches: Patches) -> None:
    async def absent(chain: Chain, attempt: Attempt, slot: int) -> tuple[str, int]:
        page = await chain.signatures_for_address(attempt.position, min_context_slot=slot)
        if any(entry.signature == attempt.signature for entry in page):
            raise expiry._Unproven("it landed")  # noqa: SLF001 - as the product does
        return attempt.position, len(page)

    patches.set(expiry, "_absent_from_history", absent)


def _pages_of_three(patches: Patches) -> None:
    patches.set(expiry, "HISTORY_PER_CALL", 3)

    async def page(self: Chain, address: str, **more: Part) -> object:
        return await before(self, address, limit=3, **more)

    before = patches.set(Chain, "signatures_for_address", page)


def _no_second_look(patches: Patches) -> None:
    expired: set[str] = set()

    async def prove(chain: Chain, attempt: Attempt) -> Part:
        proof = await proven(chain, attempt)
        if proof is not None:
            expired.add(attempt.position)
        return proof

    async def read(
        venue: Part, chain: Part, position: Part, view: Part, *rest: Part, **more: Part
    ) -> Part:
        fresh = await fresh_read(venue, chain, position, view, *rest, **more)
        if position.address not in expired:
            return fresh
        addresses = [position.address, *venue.dependencies(position, view)]
        known = {address: view[address] for address in addresses if address in view}
        verdict = venue.assess(position, known, fresh.now_s)
        return replace(fresh, view=known, position=position, assessment=verdict)

    proven = patches.set(settle, "prove_expiry", prove)
    patches.set(Feeds, "want", lambda *_parts, **_more: None)
    fresh_read = patches.set(executor, "read_fresh", read)


LATE = ClusterFaults(late=0.9)
SLOWLY = MarketFaults(path="dips")
STRAYING = world(
    cluster=LATE,
    node=NodeFaults(minority=0.005, own_root=1.0, stray_windows=40),
    market=SLOWLY,
)
EXPIRY: tuple[Mutant, ...] = (
    Mutant(
        name="M02",
        text="a transaction that was not seen for ten seconds is signed anew",
        caught_by=("DOUBLE",),
        patch=silence_is_expiry,
        unmask=closes_little,
        swarm=world(cluster=LATE, market=SLOWLY, window_blocks=60),
        fast=True,
    ),
    Mutant(
        name="M03",
        text="a blockhash that is not valid any more means expired",
        caught_by=("DOUBLE",),
        patch=_hash_alone,
        unmask=closes_little,
        swarm=world(
            cluster=ClusterFaults(late=0.5),
            node=NodeFaults(lag_blocks=(0, 40), minority=0.01),
            market=SLOWLY,
        ),
    ),
    Mutant(
        name="M04",
        text="statuses are not searched in the history; without E4, E5 and a second endpoint",
        caught_by=("DOUBLE",),
        patch=LAYERS["search"],
        unmask=without("E4", "E5", "second"),
        swarm=world(cluster=LATE, node=NodeFaults(amnesia=0.05), market=SLOWLY),
        fast=True,
    ),
    Mutant(
        name="M05",
        text="the height is one node's, the status another's; nothing else is asked",
        caught_by=("DOUBLE",),
        patch=_two_nodes,
        unmask=closes_little,
        swarm=world(cluster=LATE, node=NodeFaults(lag_blocks=(0, 40, 200)), market=SLOWLY),
    ),
    Mutant(
        name="M10",
        text="a finalized height equal to the last valid one is enough; of two nodes, no E2, E4, E5",
        caught_by=("DOUBLE",),
        patch=_one_block_early,
        unmask=without("E2", "E4", "E5", "one"),
        swarm=world(
            cluster=ClusterFaults(late=1.0),
            market=SLOWLY,
            node=NodeFaults(lag_blocks=(0, 32)),
            settle_ms=250,
        ),
    ),
    Mutant(
        name="M11",
        text="the height is that of the processed bank; without E2, E4, E5 and a second endpoint",
        caught_by=("DOUBLE",),
        patch=_unsettled_height,
        unmask=without("E2", "E4", "E5", "second"),
        swarm=world(
            cluster=LATE,
            node=NodeFaults(minority=0.02, own_root=0.0, reset=0.3),
            market=SLOWLY,
        ),
    ),
    Mutant(
        name="M12",
        text="the status is asked before the height; slow nodes, finality in one block, no proof beyond",
        caught_by=("DOUBLE",),
        patch=_status_first,
        unmask=all_of(closes_little, no_proof),
        swarm=world(
            cluster=LATE,
            node=NodeFaults(delay_ms_max=4_000.0),
            market=SLOWLY,
            finalize_blocks=1,
        ),
    ),
    Mutant(
        name="M13",
        text="the context slot of the status is ignored; of two nodes, without E2, E4, E5",
        caught_by=("DOUBLE",),
        patch=_any_context,
        unmask=without("E2", "E4", "E5", "one"),
        swarm=world(cluster=LATE, node=NodeFaults(lag_blocks=(0, 40, 200)), market=SLOWLY),
    ),
    Mutant(
        name="M14",
        text="the finalized history is not asked (E4); of one endpoint alone",
        caught_by=("DOUBLE",),
        patch=LAYERS["E4"],
        unmask=without("others"),
        swarm=STRAYING,
    ),
    Mutant(
        name="M15",
        text="the history is asked without minContextSlot; of one endpoint alone",
        caught_by=("DOUBLE",),
        patch=_any_root,
        unmask=without("others"),
        swarm=STRAYING,
    ),
    Mutant(
        name="M16",
        text="only the first page of the history is read; pages of three, no search, E5, second",
        caught_by=("DOUBLE",),
        patch=_first_page,
        unmask=all_of(without("E5", "second", "search"), _pages_of_three),
        swarm=world(
            cluster=LATE,
            node=NodeFaults(amnesia=0.05),
            market=MarketFaults(path="dips", visits=0.3),
        ),
    ),
    Mutant(
        name="M17",
        text="the blockhash itself is not asked about (E2); without a second endpoint",
        caught_by=("DOUBLE",),
        patch=LAYERS["E2"],
        unmask=without("second"),
        swarm=world(
            cluster=LATE,
            node=NodeFaults(lie=0.5, lies_about=("getLatestBlockhash",)),
            market=SLOWLY,
            window_blocks=60,
        ),
    ),
    Mutant(
        name="M18",
        text="nobody asks how far back the history reaches (E5); without a second endpoint",
        caught_by=("DOUBLE",),
        patch=LAYERS["E5"],
        unmask=without("second"),
        swarm=world(
            cluster=LATE,
            node=NodeFaults(amnesia=0.05, pruned=True, pruned_blocks=0),
            market=SLOWLY,
        ),
    ),
    Mutant(
        name="M19",
        text="what an expired attempt was for is not read again (E6); no trial",
        caught_by=("HEALTHY",),
        patch=_no_second_look,
        unmask=no_trial,
        swarm=world(
            cluster=ClusterFaults(dropped=0.9),
            node=NodeFaults(push=0.5),
            market=MarketFaults(path="dips", traders=0.5),
        ),
    ),
)
