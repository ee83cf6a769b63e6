"""The truth of a simulation: blocks, forks, landings."""

import hashlib
import os
import subprocess
import sys

import pytest

from liqctl.localnet.history import Landed
from liqctl.localnet.world import Dropped
from liqctl.sim.cluster import Cluster
from liqctl.sim.market import Market, MarketConfig
from liqctl.sim.swarm import rng_for
from liqctl.sim.tree import ForkBlock
from tests.sim.small_cluster import PAYER, RECEIVER, new_cluster, run, transfer_of


def digest_of(seed: int) -> str:
    """Return a hash over everything that happened in 300 slots full of faults."""
    cluster = new_cluster(
        seed, positions=12, skipped=0.1, fork=0.1, late=0.3, dropped=0.3, lands_again=0.5
    )
    config = MarketConfig(prices=("stale", "wide"), accounts=("shrunk",), rivals=2, traders=0.3)
    Market(cluster, rng_for(seed, "market"), config)
    for number in range(300):
        if number % 7 == 0:
            cluster.submit(transfer_of(10_000_000 + number, cluster.confirmed))
        run(cluster, 1)
    digest = hashlib.sha256()
    for frame in cluster.frames:
        landed = [(str(one.signature), str(one.failure)) for one in frame.tip.landed]
        digest.update(bytes(frame.tip.blockhash) + repr(landed).encode())
    digest.update(repr(sorted(cluster.faults.items())).encode())
    return digest.hexdigest()


def line_of(block: ForkBlock) -> list[Landed]:
    """Return the transactions on the way from genesis to a block."""
    landed: list[Landed] = []
    at: ForkBlock | None = block
    while at is not None:
        landed[:0] = at.landed
        at = at.parent
    return landed


def until_abandoned(cluster: Cluster) -> ForkBlock:
    """Run until a fork has ended, and return the tip that it abandoned."""
    while True:
        tip = cluster.tip
        run(cluster, 1)
        if not cluster.tip.has(tip):
            return tip


def test_the_same_seed_gives_the_same_chain_whatever_the_hash_seed():
    here = digest_of(5)
    command = [
        sys.executable, "-c", "from tests.sim.test_cluster import digest_of; print(digest_of(5))",
    ]  # fmt: skip

    there = subprocess.run(
        command,
        env={**os.environ, "PYTHONHASHSEED": "4711", "PYTHONPATH": "."},
        capture_output=True,
        text=True,
        check=True,
    )

    assert there.stdout.strip() == here
    assert digest_of(6) != here


def test_a_hash_is_good_through_one_block_after_its_last_valid_height():
    for blocks_later, lands in ((20, True), (21, True), (22, False)):
        cluster = new_cluster()
        run(cluster, 1)
        origin = cluster.tip
        run(cluster, blocks_later - 1)
        transaction = transfer_of(10_000_000, origin)

        block = cluster.aside(cluster.tip, [transaction])

        assert block.height == origin.height + blocks_later
        assert origin.last_valid_block_height == origin.height + 20
        assert bool(block.landed) is lands


def test_a_block_cannot_carry_its_own_hash_or_one_of_another_fork():
    cluster = new_cluster()
    run(cluster, 2)
    aside = cluster.aside(cluster.tip.back(1), [])
    block = cluster.aside(cluster.tip, [])

    assert cluster.land(transfer_of(1, block), block) == Dropped(failure="BlockhashNotFound")
    assert cluster.land(transfer_of(1, aside), block) == Dropped(failure="BlockhashNotFound")


def test_a_hash_that_a_fork_left_behind_is_ruled_out_by_the_first_final_block_of_its_slot():
    cluster = new_cluster()
    run(cluster, 2)
    aside = cluster.aside(cluster.tip.back(1), [])
    at_first = cluster.tree.ruled_out_at(aside.blockhash, cluster.root)
    run(cluster, 60)

    ruled_out = cluster.tree.ruled_out_at(aside.blockhash, cluster.root)
    assert at_first == aside.last_valid_block_height + 1
    assert ruled_out is not None
    first = next(
        block for block in cluster.root.since(cluster.tree.genesis) if block.slot >= aside.slot
    )
    assert ruled_out == first.height < at_first
    kept = cluster.root.back(3)
    assert (
        cluster.tree.ruled_out_at(kept.blockhash, cluster.root) == kept.last_valid_block_height + 1
    )


def test_a_transaction_is_once_on_a_line_however_often_it_is_sent():
    cluster = new_cluster()
    run(cluster, 2)
    transaction = transfer_of(10_000_000, cluster.tip)

    for _ in range(5):
        cluster.submit(transaction)
        run(cluster, 1)

    assert len(line_of(cluster.tip)) == 1
    received = cluster.account(RECEIVER)
    assert received is not None
    assert received.lamports == 10_000_000


def test_a_wrong_signature_never_lands():
    cluster = new_cluster()
    run(cluster, 1)
    good = transfer_of(10_000_000, cluster.tip)
    other = transfer_of(20_000_000, cluster.tip)
    bad = type(good).populate(good.message, other.signatures)

    cluster.submit(bad)
    run(cluster, 10)

    assert line_of(cluster.tip) == []


def test_signature_and_priority_fee_are_charged():
    cluster = new_cluster()
    run(cluster, 1)
    before = cluster.account(PAYER.pubkey())

    cluster.submit(transfer_of(10_000_000, cluster.tip, price_micro_lamports=1_000_000))
    run(cluster, 1)

    after = cluster.account(PAYER.pubkey())
    assert before is not None
    assert after is not None
    assert before.lamports - after.lamports == 10_000_000 + 5_000 + 10_000
    assert line_of(cluster.tip)[0].execution.fee_lamports == 15_000


def test_a_late_transaction_still_lands_in_time_and_sometimes_in_the_last_block():
    places: list[int] = []
    for seed in range(40):
        cluster = new_cluster(seed, late=1.0)
        run(cluster, 1)
        origin = cluster.tip
        cluster.submit(transfer_of(10_000_000, origin))
        run(cluster, 25)
        (landed,) = line_of(cluster.tip)
        places.append(landed.slot - origin.slot)

    assert max(places) == 21
    assert min(places) < 10


def test_a_dropped_transaction_never_lands_and_may_be_sent_again():
    cluster = new_cluster(dropped=1.0)
    run(cluster, 1)
    transaction = transfer_of(10_000_000, cluster.tip)
    cluster.submit(transaction)
    run(cluster, 5)
    assert line_of(cluster.tip) == []

    cluster.config.calm()
    cluster.submit(transaction)
    run(cluster, 1)

    assert len(line_of(cluster.tip)) == 1


def test_a_rolled_back_transaction_is_undone():
    cluster = new_cluster(fork=1.0)
    run(cluster, 1)
    cluster.submit(transfer_of(10_000_000, cluster.tip.back(1)))

    abandoned = until_abandoned(cluster)

    assert len(line_of(abandoned)) == 1
    assert line_of(cluster.tip) == []
    assert cluster.account(RECEIVER, abandoned) is not None
    assert cluster.account(RECEIVER) is None
    assert cluster.faults["rolled_back"] == 1


def test_a_rolled_back_transaction_may_land_again():
    cluster = new_cluster(fork=1.0, lands_again=1.0)
    run(cluster, 1)
    transaction = transfer_of(10_000_000, cluster.tip.back(1))
    cluster.submit(transaction)
    abandoned = until_abandoned(cluster)
    cluster.config.fork = 0.0

    run(cluster, 30)

    blocks = [block for block, _ in cluster.tree.landings(transaction.signatures[0])]
    assert abandoned.has(blocks[0])
    assert cluster.tip.has(blocks[-1])
    assert len(line_of(cluster.tip)) == 1


@pytest.mark.parametrize("unconfirmed", [0.0, 1.0])
def test_only_a_fork_that_may_do_so_rolls_back_what_was_confirmed(unconfirmed):
    cluster = new_cluster(fork=0.3, unconfirmed=unconfirmed)
    confirmed: list[ForkBlock] = []

    for _ in range(300):
        run(cluster, 1)
        confirmed.append(cluster.confirmed)

    lost = [block for block in confirmed if not cluster.confirmed.has(block)]
    assert bool(lost) is bool(unconfirmed)
    assert bool(cluster.faults["confirmed_rolled_back"]) is bool(unconfirmed)


@pytest.mark.parametrize("final", [8, 32])
def test_what_is_finalized_stays_under_the_deepest_forks(final):
    cluster = new_cluster(
        fork=0.5, fork_depth_max=31, skipped=0.3, unconfirmed=0.5, finalize_blocks=final
    )
    roots: list[ForkBlock] = []
    depths: list[int] = []

    for number in range(1_500):
        tip = cluster.tip
        if number % 10 == 0:
            cluster.submit(transfer_of(10_000_000 + number, cluster.confirmed))
        run(cluster, 1)
        roots.append(cluster.root)
        if not cluster.tip.has(tip):
            depths.append(tip.height - cluster.tip.height + 1)

    assert all(cluster.tip.has(root) for root in roots)
    assert max(depths) in range(final - 4, final)
    signatures = {str(one.signature) for one in line_of(cluster.root)}
    assert set(cluster.landed_final) == signatures
    assert len(signatures) > 10


def test_what_one_transaction_leaves_the_next_on_that_fork_finds():
    cluster = new_cluster(3, positions=12, fork=0.2, lands_again=0.5)
    Market(cluster, rng_for(3, "market"), MarketConfig(rivals=2, traders=0.5))
    run(cluster, 400)
    left: dict[str, int] = {}
    compared = 0

    for landed in line_of(cluster.tip):
        keys = [str(key) for key in landed.keys.all]
        for key, before in zip(keys, landed.pre_lamports, strict=True):
            assert left.get(key, before) == before
            compared += key in left
        left.update(zip(keys, landed.post_lamports, strict=True))

    assert compared > 200
    assert cluster.faults["rolled_back"] > 10


def test_the_machine_keeps_nothing_of_an_earlier_seed():
    first = new_cluster()
    run(first, 1)
    first.submit(transfer_of(10_000_000, first.tip))
    run(first, 1)

    second = new_cluster()
    run(second, 1)
    second.submit(transfer_of(30_000_000, second.tip))
    run(second, 1)

    received = second.account(RECEIVER)
    assert received is not None
    assert received.lamports == 30_000_000


def test_skipped_slots_have_no_block():
    cluster = new_cluster(skipped=0.3)

    run(cluster, 300)

    grown = cluster.tip.height - cluster.tree.genesis.height
    assert grown == 300 - cluster.faults["skipped_slot"]
    assert 50 < cluster.faults["skipped_slot"] < 150
