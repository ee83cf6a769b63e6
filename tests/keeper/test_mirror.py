"""The rows that others read: what the engine holds, bounded in time, and nothing that is gone."""

import math
from typing import Any

import pytest

from liqctl.core.account import Gone, Seen
from liqctl.core.events import AccountsSeen
from liqctl.core.record import PositionQuery
from liqctl.errors import StoreBusy
from liqctl.keeper.mirror import Mirror, Pace
from liqctl.keeper.service import Keeper
from tests.keeper.stage import Stage

EVERYTHING = PositionQuery(limit=1_000)


@pytest.fixture
async def stage(tmp_path):
    made = Stage(tmp_path)
    yield made
    await made.close()


class Hours:
    """The mirror of a started keeper, with time that moves by hand."""

    def __init__(self, keeper: Keeper, monkeypatch: pytest.MonkeyPatch, **pace: Any) -> None:
        self.keeper = keeper
        self.store = keeper._context.store.store
        self.now_ns = keeper._context.clock.monotonic_ns()
        self.busy = False
        self.slices: list[tuple[int, int]] = []
        self.written: list[str] = []
        monkeypatch.setattr(keeper._context.clock, "monotonic_ns", lambda: self.now_ns)
        self.pace = Pace(**pace)
        self.mirror = Mirror(keeper._context, keeper.engine, lambda: self.busy, self.pace)
        put = self.store.put_positions

        def counted(rows: Any, removed: Any) -> None:
            self.slices.append((len(rows), len(removed)))
            self.written += [row.position for row in rows]
            put(rows, removed)

        monkeypatch.setattr(self.store, "put_positions", counted)

    async def tick(self, count: int = 1) -> None:
        for _ in range(count):
            self.now_ns += self.pace.tick_ms * 1_000_000
            await self.mirror.step()

    def rows(self) -> dict[str, Any]:
        return {row.position: row for row in self.store.positions(EVERYTHING)}


async def hours(stage: Stage, monkeypatch: pytest.MonkeyPatch, **pace: Any) -> Hours:
    keeper = stage.keeper()
    await keeper.start()
    return Hours(keeper, monkeypatch, **pace)


async def test_after_a_round_every_position_has_a_row_that_says_what_the_engine_says(
    stage, monkeypatch
):
    at = await hours(stage, monkeypatch)
    await at.tick(45)

    engine, rows = at.keeper.engine, at.rows()
    assert set(rows) == set(engine.addresses())
    for address, row in rows.items():
        position = engine.position(address)
        assert position is not None
        verdict = engine.assess(position)
        assert (row.liquidatable, row.reason) == (verdict.liquidatable, "")
        assert (row.health, row.equity) == (verdict.health, verdict.equity)
        assert (row.maintenance_margin, row.slot) == (verdict.maintenance_margin, verdict.slot)
        assert (row.size, row.collateral) == (position.size, position.collateral)
        assert (row.owner, row.venue, row.symbol) == (position.owner, "reference", verdict.symbol)
        assert row.mark_price == verdict.price_e6
        assert row.liquidation_price == at.keeper._context.venue.bound_price_e6(
            position, engine.view
        )
    assert sum(row.liquidatable for row in rows.values()) == 4


async def test_prices_have_what_was_published(stage, monkeypatch):
    at = await hours(stage, monkeypatch)
    await at.tick()

    rows, markets = at.store.prices(), at.keeper.status().markets
    assert [row.symbol for row in rows] == ["BTC", "ETH", "SOL"]
    assert (rows[2].price, rows[2].refusal) == (140_000_000, None)
    for row, market in zip(rows, markets, strict=True):
        assert (row.confidence, row.publish_time) == (market.confidence_e6, market.publish_time_s)
        assert (row.max_age_s, row.source, row.slot) == (60, market.source, market.slot)


async def test_a_position_without_a_verdict_says_why_and_has_no_figures(stage, monkeypatch):
    at = await hours(stage, monkeypatch)
    price = account_of(at.keeper, "SOL")
    at.keeper.engine.view[price] = Seen(address=price, slot=1_000, value=Gone())
    await at.tick(45)

    rows = [row for row in at.rows().values() if row.symbol == "SOL"]
    assert len(rows) == 20
    for row in rows:
        assert (row.liquidatable, row.reason, row.mark_price) == (None, "price_missing", None)
        assert math.isnan(row.health)
        assert (row.equity, row.maintenance_margin) == (None, None)
    *_, sol = at.store.prices()
    assert (sol.price, sol.refusal) == (None, "price_missing")


async def test_the_nearest_come_first_and_again_each_second_the_others_by_and_by(
    stage, monkeypatch
):
    at = await hours(stage, monkeypatch, near=6, round_ms=60_000)
    engine = at.keeper.engine
    await at.tick()
    assert set(at.rows()) == set(engine.addresses())

    at.written.clear()
    await at.tick(4)
    urgent = [*dict.fromkeys([*engine.queue.positions(), *engine.nearest(6)])]
    # One of sixty each second beside the urgent ones, which come first.
    assert at.written == [*urgent, engine.addresses()[0]]
    at.written.clear()
    await at.tick(4 * 10)
    assert set(at.written) == {*urgent, *engine.addresses()[1:11]}
    assert len(at.slices) == 12


async def test_no_slice_is_larger_than_it_may_be_and_none_comes_before_its_time(stage, monkeypatch):
    at = await hours(stage, monkeypatch, near=60, slice_rows=7)
    await at.tick(3)

    assert at.slices == [(7, 0)] * 3


async def test_what_changed_is_written_with_the_next_plan(stage, monkeypatch):
    at = await hours(stage, monkeypatch, near=0, round_ms=10**9)
    await at.tick(5)
    at.written.clear()
    address = at.keeper.engine.addresses()[50]
    seen = at.keeper.engine.view[address]
    at.mirror.note(AccountsSeen(seen=(seen,)))
    await at.tick(4)

    assert at.written[0] == address


async def test_a_position_that_closed_goes_at_once(stage, monkeypatch):
    at = await hours(stage, monkeypatch)
    await at.tick(45)
    address = at.keeper.engine.addresses()[50]
    event = AccountsSeen(seen=(Seen(address=address, slot=1_000, value=Gone()),))
    at.keeper.mailbox.put(event)
    at.mirror.note(event)
    at.keeper.absorb()
    await at.tick(5)

    assert len(at.rows()) == 59
    assert address not in at.rows()


async def test_at_the_end_a_position_that_closed_just_before_goes_too(stage, monkeypatch):
    at = await hours(stage, monkeypatch)
    await at.tick(45)
    address = at.keeper.engine.addresses()[50]
    event = AccountsSeen(seen=(Seen(address=address, slot=1_000, value=Gone()),))
    at.keeper.mailbox.put(event)
    at.mirror.note(event)
    at.keeper.absorb()

    await at.mirror.end(10.0)

    assert len(at.rows()) == 59
    assert address not in at.rows()


async def test_rows_of_an_earlier_run_go_after_a_round_and_those_of_other_venues_stay(
    stage, monkeypatch
):
    earlier = await hours(stage, monkeypatch)
    await earlier.tick(45)
    [row, *_] = earlier.rows().values()
    ghost = {**as_dict(row), "position": "ghost", "at_ms": 1}
    theirs = {**as_dict(row), "position": "theirs", "at_ms": 1, "venue": "perpetuals"}
    earlier.store.put_positions([type(row)(**ghost), type(row)(**theirs)], [])

    at = await hours(stage, monkeypatch)
    await at.tick()
    assert {"ghost", "theirs"} <= set(at.rows())
    await at.tick(5)

    assert at.mirror.rounds == 1
    assert set(at.rows()) == {*at.keeper.engine.addresses(), "theirs"}


async def test_a_decision_under_way_goes_first_but_not_for_ever(stage, monkeypatch):
    at = await hours(stage, monkeypatch, patience_ms=1_000)
    at.busy = True
    await at.tick(4)
    assert at.slices == []

    await at.tick()
    assert len(at.slices) == 1


async def test_what_a_failing_store_did_not_take_is_written_later(stage, monkeypatch):
    at = await hours(stage, monkeypatch, near=60)
    with monkeypatch.context() as patch:

        def locked(*_: Any) -> None:
            raise StoreBusy

        patch.setattr(at.store, "put_positions", locked)
        await at.tick(2)
    assert at.mirror.counts["store_errors"] == 2

    await at.tick()
    assert len(at.rows()) == 60


async def test_what_is_urgent_is_written_before_what_has_waited_longer(stage, monkeypatch):
    at = await hours(stage, monkeypatch)
    at.busy = True
    await at.tick(4)
    last = at.keeper.engine.addresses()[-1]
    at.mirror.note(AccountsSeen(seen=(at.keeper.engine.view[last],)))
    at.busy = False
    await at.tick()

    assert at.written[0] == last
    assert len(at.written) == 60


async def test_slices_shrink_until_the_store_takes_them_in_time_and_grow_again(stage, monkeypatch):
    at = await hours(stage, monkeypatch, near=60, slice_rows=40, slice_rows_min=10)
    put, a_row_ns = at.store.put_positions, [1_000_000]

    def slow(rows: Any, removed: Any) -> None:
        put(rows, removed)
        at.now_ns += len(rows) * a_row_ns[0]

    monkeypatch.setattr(at.store, "put_positions", slow)
    await at.tick(7)
    assert [rows for rows, _ in at.slices[:3]] == [40, 20, 10]
    a_row_ns[0] = 1_000
    await at.tick(8)
    assert max(rows for rows, _ in at.slices[3:]) > 10


@pytest.mark.parametrize(
    ("rows", "took_ms", "then"),
    [(250, 9, 125), (90, 9, 50), (50, 900, 50), (100, 8, 126), (249, 1, 250), (250, 1, 250)],
)
def test_the_next_slice_by_what_the_last_one_took(rows, took_ms, then):
    assert Pace().after(rows, took_ms * 1_000_000) == then


async def test_a_clock_that_is_set_back_takes_no_row_away(stage, monkeypatch):
    at = await hours(stage, monkeypatch, near=0, slice_rows=20)
    clock = at.keeper._context.clock
    back_ms = clock.unix_ms() - 3_600_000
    await at.tick()
    monkeypatch.setattr(clock, "unix_ms", lambda: back_ms)
    await at.tick(8)

    assert at.mirror.rounds == 1
    assert len(at.rows()) == 60


def account_of(keeper: Keeper, symbol: str) -> str:
    [account] = [m.price_account for m, _ in keeper.engine.markets() if m.symbol == symbol]
    return account


def as_dict(row: Any) -> dict[str, Any]:
    return {name: getattr(row, name) for name in row.__dataclass_fields__}
