from collections.abc import Mapping
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from liqctl.core.account import Gone, Refusal, Seen, Undecodable
from liqctl.core.book import PlainBook
from liqctl.core.engine import Engine
from liqctl.core.events import (
    AccountsSeen,
    Cause,
    CheckDue,
    ClockSeen,
    Coverage,
    Decision,
    Dequeued,
    FundMoved,
    Notice,
    Ordered,
    OutcomeSeen,
    PriceMoved,
    PricesSeen,
    Queued,
    Result,
    SnapshotSeen,
    Wanted,
)
from liqctl.core.guards import Limits
from liqctl.core.health import Assessment
from liqctl.core.insurance import InsuranceState
from liqctl.core.position import Market, Position, Side
from liqctl.core.price import HERMES_OWNER, PriceReading, PriceSource
from liqctl.core.price_guard import PriceGuard
from liqctl.core.price_terms import PriceTerms, SourceName
from liqctl.core.queue import Queue
from liqctl.core.record import QueueOrder, QueueState


class Threshold:
    """A judge for longs that are liquidatable at or below their entry price."""

    def assess(self, position: Position, view: Mapping[str, Seen], now_s: int) -> Assessment:
        market = view.get(position.market)
        price: int | str = "market_missing"
        if market is not None and isinstance(market.value, Market):
            price = self.mark_price(market.value, view, now_s)
        unknown = price if isinstance(price, str) else None
        value = 0 if isinstance(price, str) else price
        return Assessment(
            position=position.address,
            symbol="SOL",
            slot=0,
            liquidatable=None if unknown else value <= position.entry_price_e6,
            unknown_reason=unknown,
            health=value / position.entry_price_e6,
        )

    def mark_price(self, market: Market, view: Mapping[str, Seen], now_s: int) -> int | str:
        seen = view.get(market.price_account)
        if seen is None or not isinstance(seen.value, PriceReading):
            return "price_missing"
        stale = now_s - seen.value.publish_time > market.max_price_age_s
        return "price_stale" if stale else seen.value.mantissa

    def bound_price_e6(self, position: Position, view: Mapping[str, Seen]) -> int | None:
        return position.entry_price_e6

    def dependencies(self, position: Position, view: Mapping[str, Seen]) -> tuple[str, ...]:
        return (position.market, "fund")


def position(name: str, entry: int, *, market: str = "m") -> Position:
    return Position(
        address=name,
        owner="owner",
        market=market,
        side=Side.LONG,
        size=1,
        entry_price_e6=entry,
        collateral=0,
        leverage=1,
        generation=1,
    )


MARKET = Market(address="m", symbol="SOL", price_account="p", paused=False, max_price_age_s=60)


def price(value: int, *, published: int = 1_000) -> PriceReading:
    return PriceReading(
        address="p",
        owner="pyth",
        feed_id="",
        mantissa=value,
        exponent=-6,
        confidence=0,
        publish_time=published,
        fully_verified=True,
        posted_slot=0,
    )


def seen(slot: int, **values: object) -> AccountsSeen:
    return AccountsSeen(
        seen=tuple(Seen(address=a, slot=slot, value=v) for a, v in values.items()),  # type: ignore[arg-type]
        received_ns=slot,
    )


def engine(*positions: Position, at: int = 100) -> Engine:
    started = Engine(Threshold(), PlainBook(), Queue())
    started.apply(ClockSeen(slot=1, unix_timestamp=1_000), 0)
    started.apply(seen(1, m=MARKET, p=price(at), **{p.address: p for p in positions}), 0)
    return started


def of_kind(notices: list[Notice], kind: type) -> list[Notice]:
    return [notice for notice in notices if isinstance(notice, kind)]


def taken(decision: Decision | None) -> str | None:
    return None if decision is None else decision.position.address


def test_a_price_queues_what_it_crosses_and_nothing_else():
    one = engine(position("a", 50), position("b", 90))

    notices = one.apply(seen(2, p=price(80)), 0)

    queued = of_kind(notices, Queued)
    assert [n.position.address for n in queued if isinstance(n, Queued)] == ["b"]
    assert taken(one.next(0)) == "b"
    assert one.next(0) is None


def test_the_decision_knows_when_its_price_arrived():
    one = engine(position("a", 90))

    one.apply(seen(7, p=price(80)), 0)
    decision = one.next(0)

    assert decision is not None
    assert decision.tick_ns == 7


def test_a_price_is_never_applied_backwards():
    one = engine(position("a", 90))
    one.apply(seen(5, p=price(95)), 0)

    one.apply(seen(4, p=price(10)), 0)

    assert one.next(0) is None


def test_a_slot_that_the_cluster_cannot_have_come_to_is_asked_for_again():
    one = engine(position("a", 90))

    assert one.apply(seen(2**62, p=price(10), a=position("a", 1)), 400) == [
        Wanted(addresses=("a", "p"))
    ]
    one.apply(seen(2, p=price(80)), 800)

    assert taken(one.next(800)) == "a"


def test_an_absurd_slot_from_before_the_first_clock_gives_way():
    one = Engine(Threshold(), PlainBook(), Queue())
    one.apply(seen(2**62, m=MARKET, p=price(95), a=position("a", 90)), 0)
    one.apply(ClockSeen(slot=5, unix_timestamp=1_000), 0)

    one.apply(seen(6, m=MARKET, p=price(80), a=position("a", 90)), 400)

    assert one.view["a"].slot == 6
    assert taken(one.next(400)) == "a"


def test_after_this_host_slept_the_accounts_of_the_leap_are_read_once_the_clock_is_believed():
    one = engine(position("a", 90))
    later = 10_000_000
    one.apply(ClockSeen(slot=later, unix_timestamp=1_001), 400)
    assert one.apply(seen(later, p=price(80)), 400) == [Wanted(addresses=("p",))]

    one.apply(ClockSeen(slot=later + 1, unix_timestamp=1_001), 800)
    one.apply(seen(later + 1, p=price(80)), 800)

    assert taken(one.next(800)) == "a"


def test_a_recovered_position_leaves_the_queue():
    one = engine(position("a", 90))
    one.apply(seen(2, p=price(80)), 0)

    notices = one.apply(seen(3, p=price(100)), 0)

    assert Dequeued(position="a", reason="recovered") in notices
    assert one.next(0) is None


def test_a_stale_price_makes_verdicts_unknown_and_is_counted():
    one = engine(position("a", 90), position("b", 10), at=80)
    assert "a" in one.queue

    one.apply(ClockSeen(slot=9, unix_timestamp=1_061), 0)
    notices = one.apply(CheckDue(), 0)

    assert Dequeued(position="a", reason="price_stale") in notices
    assert [n.refusal for n in notices if isinstance(n, PriceMoved)] == ["price_stale"]
    coverage = one.coverage()
    assert (coverage.positions, coverage.evaluated) == (2, 0)
    assert coverage.unknown == {"price_stale": 2}


def test_the_health_of_a_waiting_position_moves_with_the_price():
    one = engine(position("a", 90), position("b", 91), at=89)
    one.apply(seen(2, p=price(45)), 0)

    assert [e.health for e in one.queue.entries()] == [45 / 91, 45 / 90]


def test_a_position_in_flight_is_not_decided_again():
    one = engine(position("a", 90), at=80)
    assert taken(one.next(0)) == "a"

    one.apply(seen(2, p=price(70)), 0)
    one.apply(seen(3, a=position("a", 95)), 0)

    assert one.next(0) is None
    entry = one.queue.get("a")
    assert entry is not None
    assert entry.state is QueueState.IN_FLIGHT


def test_after_landing_the_old_state_does_not_queue_it_again():
    one = engine(position("a", 90), at=80)
    one.next(0)

    one.apply(OutcomeSeen(position="a", result=Result.LANDED, slot=10), 0)
    one.apply(seen(9, p=price(70)), 0)
    assert one.next(0) is None

    one.apply(seen(10, a=position("a", 85)), 0)
    assert taken(one.next(0)) == "a"


def test_a_failure_postpones_and_a_refusal_does_too():
    for result in (Result.FAILED, Result.REFUSED):
        one = engine(position("a", 90), at=80)
        one.next(0)
        one.apply(OutcomeSeen(position="a", result=result, reason="rpc"), 0)

        assert one.next(0) is None
        assert taken(one.next(10_000)) == "a"


def test_one_undecodable_account_is_counted_and_hides_nobody():
    one = engine(position("a", 90), at=80)
    broken = Undecodable(reason=Refusal.WRONG_LENGTH, detail="3 bytes")

    one.apply(seen(2, b=broken), 0)

    assert one.coverage().unknown == {"wrong_length": 1}
    assert one.coverage().positions == 2
    assert taken(one.next(0)) == "a"


def test_a_position_that_turns_undecodable_leaves_the_queue():
    one = engine(position("a", 90), at=80)

    one.apply(seen(2, a=Undecodable(reason=Refusal.WRONG_LENGTH, detail="")), 0)

    assert one.next(0) is None
    assert one.coverage().unknown == {"wrong_length": 1}


def test_a_closed_position_is_forgotten_and_a_late_notice_does_not_bring_it_back():
    one = engine(position("a", 90), at=80)

    one.apply(seen(5, a=Gone()), 0)
    one.apply(seen(4, a=position("a", 90)), 0)

    assert one.next(0) is None
    assert one.coverage().positions == 0


def test_a_reopened_position_is_watched_again():
    one = engine(position("a", 90), at=80)
    one.apply(seen(5, a=Gone()), 0)

    one.apply(seen(6, a=position("a", 85)), 0)

    assert taken(one.next(0)) == "a"


def test_a_short_snapshot_removes_nothing_and_asks_again():
    one = engine(position("a", 90), position("b", 50))

    notices = one.apply(SnapshotSeen(slot=9, addresses=frozenset({"a"})), 0)

    assert notices == [Wanted(addresses=("b",))]
    assert one.coverage().positions == 2


def test_unknown_dependencies_are_asked_for_once():
    one = Engine(Threshold(), PlainBook(), Queue())

    first = one.apply(seen(1, a=position("a", 90)), 0)
    second = one.apply(seen(1, b=position("b", 90)), 0)

    assert of_kind(first, Wanted) == [Wanted(addresses=("fund", "m"))]
    assert of_kind(second, Wanted) == []
    assert one.coverage().unknown == {"market_missing": 2}


def test_positions_seen_before_their_market_are_judged_when_it_comes():
    one = Engine(Threshold(), PlainBook(), Queue())
    one.apply(ClockSeen(slot=1, unix_timestamp=1_000), 0)
    one.apply(seen(1, a=position("a", 90)), 0)
    one.apply(seen(1, p=price(80)), 0)

    one.apply(seen(1, m=MARKET), 0)

    assert taken(one.next(0)) == "a"


def test_a_market_with_another_price_account_follows_the_new_one():
    one = engine(position("a", 90))
    moved = Market(address="m", symbol="SOL", price_account="q", paused=False, max_price_age_s=60)

    one.apply(seen(2, m=moved, q=price(80)), 0)
    assert "a" in one.queue

    one.apply(seen(3, p=price(1_000)), 0)
    assert "a" in one.queue


def test_a_dropped_position_stays_out_until_a_retry():
    one = engine(position("a", 90), at=80)

    one.apply(Ordered(position="a", order=QueueOrder.DROP), 0)
    one.apply(seen(2, p=price(70)), 0)
    assert one.next(10**15) is None

    one.apply(Ordered(position="a", order=QueueOrder.RETRY), 0)
    assert taken(one.next(0)) == "a"


def test_an_order_for_an_unknown_position_has_it_read():
    one = engine()

    notices = one.apply(Ordered(position="z", order=QueueOrder.ENQUEUE), 0)

    assert notices == [Wanted(addresses=("z",))]


def test_the_fund_is_announced_when_it_changes():
    fund = InsuranceState(
        address="fund",
        balance=5,
        bad_debt_covered=0,
        bad_debt_uncovered=0,
        liquidation_count=0,
        mint="",
        vault="",
    )
    one = engine()

    assert of_kind(one.apply(seen(2, fund=fund), 0), FundMoved) == [FundMoved(fund=fund, slot=2)]
    assert of_kind(one.apply(seen(2, fund=fund), 0), FundMoved) == []


def test_closest_lists_the_least_healthy_first():
    one = engine(position("a", 50), position("b", 90), position("c", 70))

    assert [verdict.position for verdict in one.closest(2)] == ["b", "c"]


TICKS = st.lists(st.tuples(st.integers(1, 100), st.booleans()), min_size=1, max_size=60)


@given(st.lists(st.integers(1, 100), min_size=1, max_size=12), TICKS)
def test_after_any_ticks_the_queue_is_exactly_what_a_full_pass_finds(entries, ticks):
    one = engine(*(position(f"x{i}", entry) for i, entry in enumerate(entries)), at=101)
    last = 101
    for slot, (value, backwards) in enumerate(ticks, start=2):
        one.apply(seen(0 if backwards else slot, p=price(value)), 0)
        last = last if backwards else value

    expected = {f"x{i}" for i, entry in enumerate(entries) if last <= entry}

    assert set(one.queue.positions()) == expected


class Counting(Threshold):
    """Counts how often positions are looked at."""

    def __init__(self) -> None:
        self.looks = 0

    def assess(self, position: Position, view: Mapping[str, Seen], now_s: int) -> Assessment:
        self.looks += 1
        return super().assess(position, view, now_s)

    def bound_price_e6(self, position: Position, view: Mapping[str, Seen]) -> int | None:
        self.looks += 1
        return super().bound_price_e6(position, view)


def crowded(judge: Counting) -> Engine:
    one = Engine(judge, PlainBook(), Queue())
    one.apply(ClockSeen(slot=1, unix_timestamp=1_000), 0)
    many = {f"x{n}": position(f"x{n}", n + 1) for n in range(500)}
    one.apply(seen(1, m=MARKET, p=price(10_000), **many), 0)
    judge.looks = 0
    return one


def test_a_tick_looks_only_at_what_it_crosses():
    judge = Counting()
    one = crowded(judge)

    one.apply(seen(2, p=price(9_000)), 0)
    assert judge.looks == 0

    one.apply(seen(3, p=price(498)), 0)
    assert judge.looks == 3


def test_a_market_that_changes_no_liquidation_price_touches_no_position():
    judge = Counting()
    one = crowded(judge)
    pool_moved = Market(
        address="m",
        symbol="SOL",
        price_account="p",
        paused=False,
        max_price_age_s=60,
        record="pool",
    )

    one.apply(seen(2, m=pool_moved), 0)

    assert judge.looks == 0


def test_a_snapshot_that_shows_nothing_new_touches_no_position():
    judge = Counting()
    one = crowded(judge)

    one.apply(seen(9, **{f"x{n}": position(f"x{n}", n + 1) for n in range(500)}), 0)
    one.apply(SnapshotSeen(slot=9, addresses=frozenset(f"x{n}" for n in range(500))), 0)

    assert judge.looks == 0
    assert one.view["x0"].slot == 9


def test_a_drop_outlasts_recovery_and_an_enqueue_by_scan():
    one = engine(position("a", 90))
    one.apply(Ordered(position="a", order=QueueOrder.DROP), 0)

    one.apply(seen(2, p=price(80)), 0)
    assert one.next(10**15) is None

    one.apply(seen(3, p=price(100)), 0)
    one.apply(seen(4, p=price(80)), 0)
    one.apply(Ordered(position="a", order=QueueOrder.ENQUEUE), 0)
    assert one.next(10**15) is None

    one.apply(Ordered(position="a", order=QueueOrder.RETRY), 0)
    assert taken(one.next(0)) == "a"


def test_usable_mark_prices_are_told_by_symbol():
    one = engine(position("a", 90), at=80)

    assert one.mark_prices_e6() == {"SOL": 80}
    one.apply(ClockSeen(slot=99, unix_timestamp=10**9), 10**12)
    assert one.mark_prices_e6() == {}


def test_a_position_that_closed_in_flight_leaves_no_trace_when_its_decision_is_refused():
    for result in (Result.FAILED, Result.REFUSED):
        one = engine(position("a", 90), at=80)
        one.next(0)
        one.apply(seen(5, a=Gone()), 0)

        one.apply(OutcomeSeen(position="a", result=result, reason="held_by_another"), 0)

        assert len(one.queue) == 0


def test_entries_without_a_name_are_counted_until_a_snapshot_without_them():
    one = engine(position("a", 90), at=80)

    one.apply(SnapshotSeen(slot=9, addresses=frozenset({"a"}), nameless=2), 0)
    assert one.coverage().unknown == {"malformed": 2}
    assert one.coverage().positions == 3

    one.apply(SnapshotSeen(slot=10, addresses=frozenset({"a"})), 0)
    assert one.coverage().unknown == {}


def test_a_position_that_cannot_be_judged_for_its_own_sake_is_counted_as_unknown(monkeypatch):
    one = engine(position("a", 90), position("b", 90), at=80)

    def odd(held: Position, view: Mapping[str, Seen], now_s: int) -> Assessment:
        verdict = Threshold().assess(held, view, now_s)
        if held.address == "b":
            return replace(verdict, liquidatable=None, unknown_reason="leverage_too_high")
        return verdict

    monkeypatch.setattr(one._judge, "assess", odd)
    one.apply(seen(3, b=position("b", 91)), 0)
    assert one.coverage() == Coverage(positions=2, evaluated=1, unknown={"leverage_too_high": 1})

    monkeypatch.undo()
    one.apply(seen(4, b=position("b", 92)), 0)
    assert one.coverage().unknown == {}


def test_a_price_that_jumped_is_told_until_a_later_one_agrees():
    one = engine(position("a", 90), at=80)
    far = price(40, published=1_001)
    assert one.prices.jumped({"p": Seen(address="p", slot=2, value=far)})

    one.apply(seen(2, p=far), 0)
    assert one.prices.jumped(one.view)

    one.apply(seen(3, p=price(41, published=1_002)), 0)
    assert not one.prices.jumped(one.view)


def test_an_account_of_others_that_a_node_listed_is_not_counted_once_it_is_read():
    one = engine(position("a", 90), at=80)
    listed = Undecodable(reason=Refusal.MALFORMED, detail="not what was asked for")
    one.apply(seen(2, b=listed), 0)
    assert one.coverage().unknown == {"malformed": 1}

    one.apply(seen(3, b=Undecodable(reason=Refusal.WRONG_OWNER, detail="")), 0)

    assert (one.coverage().positions, one.coverage().unknown) == (1, {})


FEED = "ab" * 32
HERMES = PriceTerms(sources=(SourceName.PROGRAM, SourceName.HERMES))


def told(value: int, *, published: int = 1_000) -> PriceReading:
    """A price of the market as Hermes sends it."""
    return replace(
        price(value, published=published),
        address=FEED,
        owner=HERMES_OWNER,
        feed_id=FEED,
        fully_verified=False,
        source=PriceSource.HERMES,
    )


def doubting(*positions: Position, at: int = 100) -> Engine:
    """An engine whose market is compared with Hermes."""
    judge = Threshold()
    guard = PriceGuard(judge, Limits(prices=replace(HERMES, feed_id=FEED)))
    started = Engine(judge, PlainBook(), Queue(), guard)
    started.apply(ClockSeen(slot=1, unix_timestamp=1_000), 0)
    started.apply(seen(1, m=MARKET, p=price(at), **{p.address: p for p in positions}), 0)
    guard.attend([MARKET], started.view)
    return started


def sent(value: int, *, published: int = 1_000, at_ns: int = 7) -> PricesSeen:
    return PricesSeen(readings=(told(value, published=published),), received_ns=at_ns)


def refused(doubt: str) -> OutcomeSeen:
    return OutcomeSeen(position="a", result=Result.REFUSED, cause=Cause.ORACLE, reason=doubt)


def doubt_of(decision: Decision | None) -> str | None:
    assert decision is not None
    return decision.doubt


def test_a_price_that_is_not_on_the_chain_makes_nothing_liquidatable():
    one = doubting(position("a", 90))

    assert of_kind(one.apply(sent(10), 0), Queued) == []
    assert one.next(0) is None
    assert one.mark_prices_e6() == {"SOL": 100}


def test_what_a_newer_price_is_about_to_turn_is_read_at_once_and_only_once():
    one = doubting(position("a", 90), position("b", 50))

    assert one.apply(sent(80), 0) == [Wanted(addresses=("a", "p"))]
    assert one.apply(sent(79), 0) == []
    assert one.apply(sent(40), 0) == [Wanted(addresses=("b", "p"))]
    assert one.apply(sent(100), 0) == []
    assert one.apply(sent(80), 0) == [Wanted(addresses=("a", "p"))]


def test_a_price_of_a_service_that_is_no_price_calls_for_nothing():
    one = doubting(position("a", 90))

    assert one.apply(sent(0), 0) == []
    assert one.apply(sent(80, published=900), 0) == []
    assert one.apply(PricesSeen(readings=(replace(told(80), feed_id="cd" * 32),)), 0) == []


def test_a_decision_carries_what_speaks_against_it():
    one = doubting(position("a", 90), at=90)
    one.apply(sent(150), 0)

    assert doubt_of(one.next(0)) == "price_sources_disagree"


def test_a_doubt_ends_with_the_price_that_ends_it_and_not_with_a_pause():
    one = doubting(position("a", 90), at=90)
    one.apply(sent(150), 0)
    one.next(0)
    assert one.undoubted == 1
    one.apply(refused("price_sources_disagree"), 0)
    assert one.next(100) is None
    assert one.undoubted == 0

    one.apply(sent(151), 100)
    assert one.next(100) is None
    one.apply(sent(90, published=1_001, at_ns=42), 100)

    decision = one.next(100)
    assert doubt_of(decision) is None
    assert decision is not None
    assert decision.tick_ns == 42


def test_a_feed_that_a_service_lost_speaks_against_nothing():
    one = doubting(position("a", 90), at=90)
    one.apply(sent(150), 0)
    one.next(0)
    one.apply(refused("price_sources_disagree"), 0)

    one.apply(PricesSeen(readings=(), lost=(FEED,)), 100)
    one.apply(CheckDue(), 100)

    assert doubt_of(one.next(100)) is None


def test_a_position_within_the_confidence_is_taken_by_the_tick_that_leaves_it():
    one = engine(position("a", 9_000), at=10_000)
    one.apply(seen(2, p=replace(price(9_000), confidence=50)), 0)
    assert doubt_of(one.next(0)) == "healthy_within_confidence"
    one.apply(refused("healthy_within_confidence"), 0)

    one.apply(seen(3, p=replace(price(8_950), confidence=50)), 100)

    decision = one.next(100)
    assert doubt_of(decision) is None
    assert decision is not None
    assert decision.tick_ns == 3


def test_a_refusal_that_our_own_prices_do_not_explain_waits_out_its_pause():
    """Another node may know a newer price; asking it again at every tick would help nobody."""
    one = engine(position("a", 90), at=80)
    one.next(0)
    one.apply(refused("price_sources_disagree"), 0)

    one.apply(seen(2, p=price(79)), 100)

    assert one.next(100) is None
    assert taken(one.next(2_000)) == "a"


def test_a_verdict_that_prices_speak_against_is_blocked_in_a_fresh_view():
    one = doubting(position("a", 90), at=90)
    verdict = one.assess(position("a", 90))
    assert one.doubted(verdict, one.view) == verdict

    one.apply(sent(150), 0)

    assert one.doubted(verdict, one.view).blockers == ("price_sources_disagree",)
    healthy = replace(verdict, liquidatable=False)
    assert one.doubted(healthy, one.view) == healthy
    assert one.doubted(verdict, one.view, 1_011).blockers == ()
