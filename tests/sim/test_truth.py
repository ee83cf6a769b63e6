"""The bench asks the program itself: about attempts, about duties, about what was published."""

import struct
from dataclasses import replace

import pytest
from solders.message import MessageV0
from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction

from liqctl.chain.transaction import compile_message
from liqctl.sim.journal import Move
from liqctl.sim.planted import START_UNIX_MS
from liqctl.sim.stage import Stage, set_up
from liqctl.sim.swarm import SLOT_MS, ClusterFaults, MarketFaults
from tests.sim.lively import LIVELY

QUIET = replace(LIVELY, cluster=ClusterFaults(), market=MarketFaults(path="crash"))
SLOTS_MAX = 600
PRICE_AT, CONFIDENCE_AT, PUBLISHED_AT = 73, 81, 93


def stepped(stage: Stage, slots: int = 1) -> None:
    for _ in range(slots):
        number = stage.cluster.slot - stage.cluster.genesis.slot + 1
        stage.cluster.step(START_UNIX_MS + number * SLOT_MS)
        stage.bench.slot_ended(number * SLOT_MS / 1_000)


def until_due(stage: Stage) -> None:
    """Step until something is liquidatable."""
    for _ in range(SLOTS_MAX):
        stepped(stage)
        if not stage.bench.is_done():
            return
    raise AssertionError("nothing became liquidatable")


def attempt_on(stage: Stage, address: str) -> Move:
    """A liquidation of a position, as if it had just been committed."""
    bench, tip, asker = stage.bench, stage.cluster.tip, stage.cluster.genesis.rivals[0]
    planted = {one.position.address: one.position for one in stage.cluster.genesis.positions}
    position = planted.get(address) or replace(next(iter(planted.values())), address=address)
    view = bench._view(tip, position.market, bench._venue.insurance_address())
    plan = bench._venue.plan(position, view, str(asker.pubkey()))
    message = compile_message(
        str(asker.pubkey()), plan.instructions, str(tip.blockhash), 400_000, 0
    )
    signed = VersionedTransaction(MessageV0.from_bytes(message[1:]), [asker])
    return Move(
        at_s=1.0,
        keeper="k",
        life="k.1",
        table="attempt",
        key="sig",
        intent_id=1,
        before="",
        after="SIGNED",
        raw=bytes(signed),
        position=address,
        decision_slot=tip.slot,
    )


def test_an_attempt_on_a_healthy_position_is_objected_to():
    with set_up(QUIET) as stage:
        stepped(stage)
        healthy = next(
            one.position.address
            for one in stage.cluster.genesis.positions
            if one.distance_ppm > 15_000
        )

        decided = stage.bench.decided(attempt_on(stage, healthy), ())

        assert decided.healthy == "the program says PositionHealthy"
        assert (decided.oracle, decided.hostile) == ("", "")


def test_an_attempt_on_a_liquidatable_position_is_not():
    with set_up(QUIET) as stage:
        until_due(stage)
        due = stage.bench.duties(100.0)[0].position

        decided = stage.bench.decided(attempt_on(stage, due), ())

        assert (decided.healthy, decided.oracle, decided.hostile) == ("", "", "")


def test_an_attempt_on_an_account_that_is_no_position_is_hostile():
    hostile = replace(QUIET, market=MarketFaults(path="calm", accounts=("other_owner",)))
    with set_up(hostile) as stage:
        stepped(stage)

        decided = stage.bench.decided(attempt_on(stage, stage.market.hostile[0]), ())

        assert decided.hostile == "the program says AccountWrongOwner"


@pytest.mark.parametrize(("ahead_s", "objects"), [(5, False), (6, True)])
def test_an_attempt_on_a_price_of_the_future_is_objected_to(ahead_s, objects):
    with set_up(QUIET) as stage:
        until_due(stage)
        tip = stage.cluster.tip
        for spec in stage.cluster.genesis.specs:
            state = stage.cluster.account(spec.price_account)
            assert state is not None
            data = bytearray(state.data)
            struct.pack_into("<q", data, PUBLISHED_AT, tip.unix_ms // 1_000 + ahead_s)
            stage.cluster.tree.put(tip, spec.price_account, replace(state, data=bytes(data)))
        due = [one.position.address for one in stage.cluster.genesis.positions]
        asked = [stage.bench.decided(attempt_on(stage, address), ()) for address in due]

        assert any("in the future" in one.oracle for one in asked) is objects


def test_what_is_healthy_within_the_confidence_is_no_duty_and_an_attempt_on_it_is_objected_to():
    with set_up(QUIET) as stage:
        until_due(stage)
        due = stage.bench.duties(100.0)[0].position
        tip = stage.cluster.tip
        for spec in stage.cluster.genesis.specs:
            state = stage.cluster.account(spec.price_account)
            assert state is not None
            data = bytearray(state.data)
            [price] = struct.unpack_from("<q", data, PRICE_AT)
            struct.pack_into("<Q", data, CONFIDENCE_AT, price // 100)
            stage.cluster.tree.put(tip, spec.price_account, replace(state, data=bytes(data)))

        decided = stage.bench.decided(attempt_on(stage, due), ())

        assert decided.healthy == "healthy at the owner's end of the confidence"
        assert due not in {duty.position for duty in stage.bench.duties(100.0)}


def test_a_duty_begins_when_the_position_became_liquidatable():
    with set_up(QUIET) as stage:
        until_due(stage)
        now_s = 100.0
        first = stage.bench.duties(now_s)[0]
        stage.market.hold()

        stepped(stage, 40)
        later = {duty.position: duty for duty in stage.bench.duties(now_s + 16.0)}

        assert first.since_s == now_s
        assert later[first.position].since_s == pytest.approx(now_s, abs=2.0)


def test_what_is_final_is_told_with_its_time_and_effect():
    with set_up(QUIET) as stage:
        until_due(stage)
        due = stage.bench.duties(0.0)[0].position
        move = attempt_on(stage, due)
        stage.cluster.submit(VersionedTransaction.from_bytes(move.raw))
        asker = str(stage.cluster.genesis.rivals[0].pubkey())

        stepped(stage, 60)
        (truth,) = stage.bench.finals({asker}).values()

        assert truth.told is not None
        assert truth.told["closed_size"] > 0
        assert not truth.failed
        assert truth.final_at_s > 32 * SLOT_MS / 1_000
        assert stage.bench.last_heights({"sig": move.raw})["sig"] > 0


def test_accounts_that_begin_like_positions_count():
    with set_up(replace(QUIET, market=MarketFaults(path="calm"))) as stage:
        stepped(stage)
        assert 12 in stage.bench.positions()
    broken = replace(QUIET, market=MarketFaults(path="calm", accounts=("truncated",)))
    with set_up(broken) as stage:
        stepped(stage)
        assert max(stage.bench.positions()) == 12 + len(stage.market.hostile)
        assert all(Pubkey.from_string(each) for each in stage.market.hostile)
