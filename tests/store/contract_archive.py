"""What every store promises about reading: pages, filters, sums."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from typing import Any, TypeVar

import pytest

from liqctl.core.intent import IntentState
from liqctl.core.record import (
    AttemptRow,
    DaySum,
    LiquidationQuery,
    PositionQuery,
    PositionRow,
)
from liqctl.ports import Store
from tests.store.records import (
    ERR,
    OK,
    attempt,
    failure,
    liquidation,
    position_row,
    price_row,
    unknown_row,
)
from tests.store.steps import claimed, end, liquidated, recorded

Row = TypeVar("Row")
DAY_S = 86_400
U64_MAX = 2**64 - 1


def to_the_end(page: Callable[[Row | None], Sequence[Row]]) -> list[Row]:
    """Return all pages, each continued after the last row of the one before."""
    rows: list[Row] = []
    while part := page(rows[-1] if rows else None):
        rows += part
    return rows


def positions_paged(store: Store, limit: int, **only: Any) -> list[str]:
    def page(last: PositionRow | None) -> list[PositionRow]:
        after = None if last is None else (last.health, last.position)
        return store.positions(PositionQuery(after=after, limit=limit, **only))

    return [row.position for row in to_the_end(page)]


class ArchiveContract:
    """Subclasses give the fixture `store`."""

    def test_a_position_comes_back_whole_and_is_replaced_by_its_address(self, store: Store) -> None:
        row, unknown = position_row("a"), unknown_row("b")
        store.put_positions([row, unknown, position_row("gone")], [])
        moved = position_row(
            "a",
            0.5,
            owner="another",
            venue="other",
            market="market 2",
            symbol="BTC-PERP",
            side="short",
            size=11,
            collateral=21,
            entry_price=31,
            liquidatable=True,
            reason="new",
            equity=41,
            maintenance_margin=51,
            liquidation_price=61,
            mark_price=71,
            slot=901,
            at_ms=2_000,
        )
        store.put_positions([moved], ["gone", "never there"])

        assert store.position("a") == moved
        assert store.position("gone") is None
        found = store.position("b")
        assert found is not None
        assert math.isnan(found.health)
        assert replace(found, health=0) == replace(unknown, health=0)

    @pytest.mark.parametrize("amount", [0, 2**63 - 1, 2**63, U64_MAX, 2**128 - 1, -(2**100)])
    def test_amounts_of_a_position_come_back_exactly(self, store: Store, amount: int) -> None:
        row = position_row(
            size=amount,
            collateral=amount,
            entry_price=amount,
            equity=-amount,
            maintenance_margin=amount,
            liquidation_price=amount,
            mark_price=amount,
        )
        store.put_positions([row], [])

        assert store.positions(PositionQuery()) == [row]

    @pytest.mark.parametrize("limit", [1, 2, 3, 4, 100])
    def test_positions_are_paged_by_health_without_gaps_or_doubles(
        self, store: Store, limit: int
    ) -> None:
        healths = {
            "i": math.inf,
            "e": 0.5,
            "c": -math.inf,
            "b": 0.5,
            "d": 0.5,
            "a": 1.0,
            "f": -0.25,
            "h": 0.0,
        }
        rows = [position_row(name, health) for name, health in healths.items()]
        store.put_positions([*rows, *(unknown_row(name) for name in "zxyw")], [])

        assert positions_paged(store, limit) == [*"cfhbdeaiwxyz"]

    def test_a_page_continues_after_a_row_that_is_gone(self, store: Store) -> None:
        store.put_positions([position_row("a", 0.5), position_row("c", 0.5), unknown_row("u")], [])

        def after(health: float, address: str) -> list[str]:
            query = PositionQuery(after=(health, address))
            return [row.position for row in store.positions(query)]

        assert after(0.5, "b") == ["c", "u"]
        assert after(0.4, "zzz") == ["a", "c", "u"]
        assert after(math.nan, "t") == ["u"]
        assert after(math.nan, "u") == []
        assert after(math.inf, "") == ["u"]
        assert after(-math.inf, "") == ["a", "c", "u"]

    @pytest.mark.parametrize("limit", [1, 3])
    def test_every_combination_of_filters_is_paged(self, store: Store, limit: int) -> None:
        rows = [
            position_row(f"{symbol}{owner}{venue}{n}", n, symbol=symbol, owner=owner, venue=venue)
            for symbol, owner, venue, n in product("SB", "op", "rj", range(3))
        ]
        store.put_positions(rows, [])

        for symbol, owner, venue in product([None, *"SB"], [None, *"op"], [None, *"rj"]):
            expected = sorted(
                (row.health, row.position)
                for row in rows
                if symbol in {None, row.symbol}
                and owner in {None, row.owner}
                and venue in {None, row.venue}
            )
            found = positions_paged(store, limit, symbol=symbol, owner=owner, venue=venue)
            assert found == [position for _, position in expected]

    def test_no_rows_are_asked_for_with_a_limit_of_nothing(self, store: Store) -> None:
        store.put_positions([position_row()], [])

        assert store.positions(PositionQuery(limit=0)) == []
        assert store.positions(PositionQuery(limit=-1)) == []
        assert store.liquidations(LiquidationQuery(limit=-1)) == []
        assert store.attempts(limit=-1) == []
        assert store.latencies_us(-1) == []

    def test_positions_of_a_venue_that_were_not_written_again_are_forgotten(
        self, store: Store
    ) -> None:
        store.put_positions(
            [
                position_row("old", at_ms=1),
                position_row("new", at_ms=2),
                position_row("other", at_ms=1, venue="other"),
            ],
            [],
        )

        assert store.forget_positions("reference", 2) == 1
        assert store.forget_positions("reference", 2) == 0
        assert positions_paged(store, 9) == ["new", "other"]

    def test_the_latest_price_of_each_market_is_kept_by_venue_and_symbol(
        self, store: Store
    ) -> None:
        silent = price_row(
            "m2",
            symbol="BTC-PERP",
            price=None,
            confidence=None,
            publish_time=None,
            source=None,
            refusal="stale",
        )
        store.put_prices([price_row("m1"), silent, price_row("m1", venue="a")])
        huge = price_row(
            "m1",
            symbol="SOL",
            price=U64_MAX,
            confidence=2**63,
            publish_time=None,
            source="hermes",
            refusal="too_wide",
            max_age_s=61,
            slot=901,
            at_ms=2_000,
        )
        store.put_prices([huge])
        store.put_prices([])

        assert store.prices() == [price_row("m1", venue="a"), silent, huge]

    def test_liquidations_are_filtered_by_all_that_is_asked_for(self, store: Store) -> None:
        liquidated(store, "a", timestamp=10, owner_pubkey="o1")
        liquidated(store, "b", timestamp=20, owner_pubkey="o2", is_full_liquidation=False)
        liquidated(store, "c", timestamp=30, owner_pubkey="o1", symbol="BTC-PERP", venue="other")

        def found(**only: Any) -> str:
            return "".join(r.signature for r in store.liquidations(LiquidationQuery(**only)))

        assert found() == found(position="pos") == "cba"
        assert found(owner="o1") == "ca"
        assert found(owner="o1", position="pos", symbol="SOL-PERP") == "a"
        assert found(owner="o1", position="other") == ""
        assert found(venue="other") == found(owner="o1", venue="other") == "c"
        assert found(full=True) == found(owner="o1", full=True) == "ca"
        assert found(full=False) == found(position="pos", full=False) == "b"
        assert found(since_s=20) == found(position="pos", since_s=20) == "cb"
        assert found(until_s=20) == found(owner="o1", until_s=20) == "a"
        assert found(since_s=20, until_s=30, symbol="SOL-PERP") == "b"
        assert [r.signature for r in store.recent_liquidations(venue="reference")] == ["b", "a"]

    @pytest.mark.parametrize("only", [{}, {"position": "pos"}, {"owner": "owner"}])
    def test_liquidations_are_paged_to_the_end(self, store: Store, only: dict[str, Any]) -> None:
        for i in range(5):
            liquidated(store, f"s{i}")

        rows = to_the_end(
            lambda last: store.liquidations(
                LiquidationQuery(before_id=None if last is None else last.id, limit=2, **only)
            )
        )

        assert [row.signature for row in rows] == ["s4", "s3", "s2", "s1", "s0"]

    def test_failures_are_filtered_and_paged_to_the_end(self, store: Store) -> None:
        for i in range(5):
            store.record_failure(
                failure("odd" if i % 2 else "even", symbol=f"s{i}", detail=f"{i}", at_ms=i)
            )

        def found(**only: Any) -> str:
            rows = to_the_end(
                lambda last: store.recent_failures(
                    before_id=None if last is None else last.id, limit=2, **only
                )
            )
            return "".join(row.detail for row in rows)

        assert found() == found(position="pos") == "43210"
        assert found(failure_class="odd") == found(position="pos", failure_class="odd") == "31"
        assert found(symbol="s2") == found(failure_class="even", symbol="s2") == "2"
        assert found(since_ms=1, until_ms=3) == "21"
        assert found(failure_class="odd", since_ms=2) == "3"
        assert found(position="other") == found(failure_class="none") == ""
        assert store.failure_classes() == {"even": 3, "odd": 2}

    def test_an_attempt_is_listed_with_what_became_of_it(self, store: Store) -> None:
        claim = recorded(store)
        store.mark_sent("sig", 1_100)
        store.mark_sent("sig", 1_200)
        store.mark_seen("sig", 890, "processed")
        end(store, ERR)

        assert store.attempts() == [
            AttemptRow(
                signature="sig",
                intent_id=claim.intent_id,
                n=1,
                venue="reference",
                position="pos",
                symbol="SOL-PERP",
                state="FINALIZED_ERR",
                signed_ms=1_000,
                first_sent_ms=1_100,
                ended_ms=2_000,
                sends=2,
                max_cost_lamports=205_000,
                fee_lamports=5_000,
                seen_slot=890,
                final_slot=900,
                error_json='{"code":1}',
            )
        ]

    def test_attempts_are_filtered_and_paged_to_the_end(self, store: Store) -> None:
        for i, signature in enumerate("abcde"):
            venue = "other" if signature == "c" else "reference"
            liquidated(store, signature, signed_ms=i // 2, venue=venue)
        claim = claimed(store)
        assert store.record_attempt(claim, attempt(claim, "live", symbol="BTC-PERP"), 7)

        def found(**only: Any) -> list[str]:
            def page(last: AttemptRow | None) -> list[AttemptRow]:
                if last is None:
                    return store.attempts(limit=2, **only)
                return store.attempts(
                    before_ms=last.signed_ms, before_signature=last.signature, limit=2, **only
                )

            return [row.signature for row in to_the_end(page)]

        done = [*"edcba"]
        assert found() == ["live", *done]
        assert found(state="SIGNED") == found(position="pos") == ["live"]
        assert found(state="FINALIZED_OK") == done
        assert found(position="a", state="FINALIZED_OK") == ["a"]
        assert found(position="a", state="SIGNED") == []
        assert found(venue="other") == found(venue="other", state="FINALIZED_OK") == ["c"]
        assert found(symbol="BTC-PERP") == ["live"]
        assert found(since_ms=1) == ["live", "e", "d", "c"]
        assert [row.signature for row in store.attempts(before_ms=1)] == ["b", "a"]
        assert store.attempt_counts() == {"FINALIZED_OK": 5, "SIGNED": 1}

    def test_days_are_summed_exactly_by_venue_and_symbol(self, store: Store) -> None:
        day = 20_000 * DAY_S
        liquidated(store, "before", timestamp=day - 1)
        for i, amount in enumerate([U64_MAX, U64_MAX, 2**63 - 1, 2**63 - 1, 1]):
            liquidated(
                store,
                f"s{i}",
                timestamp=day + i,
                liquidated_size=amount,
                liquidator_reward=amount - 1,
                bad_debt=amount // 2,
                bad_debt_uncovered=amount // 3,
                is_full_liquidation=i > 0,
            )
        liquidated(store, "btc", timestamp=day + DAY_S - 1, symbol="BTC-PERP", fee_lamports=None)
        liquidated(store, "sized", timestamp=day + 2 * DAY_S, liquidated_size=2**63)
        liquidated(store, "next", timestamp=day + DAY_S, bad_debt_uncovered=U64_MAX, venue="b")
        amounts = [U64_MAX, U64_MAX, 2**63 - 1, 2**63 - 1, 1]

        btc, sol, following, last = store.daily(day)

        assert sol == DaySum(
            day="2024-10-04",
            venue="reference",
            symbol="SOL-PERP",
            full=4,
            partial=1,
            size=sum(amounts),
            rewards=sum(amounts) - 5,
            bad_debt=sum(amount // 2 for amount in amounts),
            bad_debt_uncovered=sum(amount // 3 for amount in amounts),
            fees_lamports=25_000,
        )
        assert (btc.day, btc.symbol, btc.full, btc.fees_lamports) == (sol.day, "BTC-PERP", 1, 5_000)
        assert (following.day, following.venue) == ("2024-10-05", "b")
        assert following.bad_debt_uncovered == U64_MAX
        assert store.daily(0)[0].day == "2024-10-03"
        assert (last.day, last.size) == ("2024-10-06", 2**63)
        assert store.daily(day + 3 * DAY_S) == []

    def test_latencies_are_those_of_the_latest_liquidations_that_have_one(
        self, store: Store
    ) -> None:
        for i, latency in enumerate([5, None, 7, 0]):
            liquidated(store, f"s{i}", decision_latency_us=latency)

        assert store.latencies_us(2) == [0, 7]
        assert store.latencies_us(9) == [0, 7, 5]

    def test_states_are_read_by_the_beginning_of_their_names(self, store: Store) -> None:
        for name in ("keeper:b", "keeper", "keeper:a", "keepers", "Keeper:c", "keeper:\U0001f600"):
            store.put_state(name, f'"{name}"', 3)

        assert store.states("keeper:") == [
            ("keeper:a", '"keeper:a"', 3),
            ("keeper:b", '"keeper:b"', 3),
            ("keeper:\U0001f600", '"keeper:\U0001f600"', 3),
        ]
        assert len(store.states("")) == 6
        assert store.states("x") == store.states("keeper:a!") == []

    def test_an_empty_archive_is_empty(self, store: Store) -> None:
        for rows in (
            store.positions(PositionQuery()),
            store.prices(),
            store.liquidations(LiquidationQuery()),
            store.attempts(),
            store.daily(0),
            store.latencies_us(5),
            store.states(""),
        ):
            assert rows == []
        assert store.attempt_counts() == store.failure_classes() == {}
        assert store.position("x") is None
        store.put_positions([], [])
        assert store.forget_positions("reference", 10**15) == 0

    def test_an_open_attempt_is_listed_without_an_end(self, store: Store) -> None:
        recorded(store)

        (row,) = store.attempts()

        assert (row.state, row.sends) == ("SIGNED", 0)
        told_later = (row.first_sent_ms, row.ended_ms, row.fee_lamports, row.seen_slot)
        assert {*told_later, row.final_slot, row.error_json} == {None}

    def test_a_fee_that_is_told_later_is_counted_on_its_day(self, store: Store) -> None:
        recorded(store)
        untold = replace(OK, fee_lamports=None)
        row = liquidation(fee_lamports=None)
        end(store, untold, row=row, intent=IntentState.DONE)
        assert [each.fees_lamports for each in store.daily(0)] == [0]

        store.price_attempt("sig", 7_000, None, replace(row, fee_lamports=7_000))

        assert [each.fees_lamports for each in store.daily(0)] == [7_000]
        assert [each.fee_lamports for each in store.attempts()] == [7_000]
