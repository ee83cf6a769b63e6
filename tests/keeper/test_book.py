import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from liqctl.core.book import PlainBook
from liqctl.core.position import Side
from liqctl.keeper.book import ColumnBook

PRICES = st.integers(0, 2**64 - 1)
CHANGES = st.lists(
    st.tuples(
        st.integers(0, 30),
        st.sampled_from(["sol", "btc"]),
        st.sampled_from(Side),
        st.one_of(st.none(), PRICES, st.integers(2**53 - 5, 2**53 + 5)),
        st.booleans(),
    ),
    max_size=120,
)


@given(CHANGES, st.sampled_from(["sol", "btc"]), PRICES)
def test_the_column_book_misses_nothing_that_the_plain_book_finds(changes, account, price):
    plain, columns = PlainBook(), ColumnBook()
    for number, home, side, bound, remove in changes:
        for book in (plain, columns):
            if remove:
                book.remove(f"p{number}")
            else:
                book.put(f"p{number}", home, side, bound)
    edges = {price, *(b for *_, b, _ in changes if b is not None)}
    for edge in edges:
        exact, found = plain.crossed(account, edge), columns.crossed(account, edge)
        assert set(exact) <= set(found)
        assert len(found) == len(set(found))


@given(CHANGES)
def test_small_prices_give_exactly_the_same_candidates_but_for_one_unit(changes):
    plain, columns = PlainBook(), ColumnBook()
    for number, home, side, bound, _ in changes:
        small = None if bound is None else bound % 10**12
        for book in (plain, columns):
            book.put(f"p{number}", home, side, small)
    for price in (0, 5 * 10**11, 10**12):
        near = {*plain.crossed("sol", price - 1), *plain.crossed("sol", price + 1)}
        assert set(columns.crossed("sol", price)) <= near | set(plain.crossed("sol", price))


@given(CHANGES, st.integers(1, 10**12))
def test_both_books_count_the_same_positions_near_the_price(changes, price):
    plain, columns = PlainBook(), ColumnBook()
    for number, home, side, bound, remove in changes:
        small = None if bound is None else bound % (2 * price) | 1
        for book in (plain, columns):
            book.remove(f"p{number}") if remove else book.put(f"p{number}", home, side, small)
    distances = (0, 50, 2_000)
    # A key is one step of a float nearer to the price, which below 2^52 is less than a unit.
    assert columns.near("sol", price, distances) == plain.near("sol", price, distances)


def test_near_counts_what_a_move_of_the_price_would_reach():
    for book in (PlainBook(), ColumnBook()):
        for name, side, bound in (
            ("crossed", Side.LONG, 10_200),
            ("long at 1 %", Side.LONG, 9_900),
            ("long below it", Side.LONG, 9_890),
            ("short at 2 %", Side.SHORT, 10_200),
            ("short above it", Side.SHORT, 10_210),
            ("no bound", Side.SHORT, None),
        ):
            book.put(name, "sol", side, bound)
        book.put("other", "btc", Side.LONG, 10_000)
        book.put("gone", "sol", Side.LONG, 10_000)
        book.remove("gone")

        assert book.near("sol", 10_000, (50, 100, 200, 1_000)) == [2, 3, 5, 6]
        assert book.near("eth", 10_000, (50,)) == [0]


def test_closest_is_ordered_by_distance_over_both_sides():
    for book in (PlainBook(), ColumnBook()):
        book.put("far", "sol", Side.LONG, 50)
        book.put("near", "sol", Side.SHORT, 103)
        book.put("nearer", "sol", Side.LONG, 99)
        book.put("crossed", "sol", Side.LONG, 120)
        book.put("other", "btc", Side.LONG, 100)

        assert book.closest("sol", 100, 3) == ["crossed", "nearer", "near"]


def test_rows_are_reused_and_columns_grow():
    book = ColumnBook()
    for number in range(3_000):
        book.put(f"p{number}", "sol", Side.LONG, number)
    for number in range(0, 3_000, 2):
        book.remove(f"p{number}")
    for number in range(1_000):
        book.put(f"q{number}", "sol", Side.LONG, 10_000)

    found = book.crossed("sol", 2_998)

    assert sorted(found) == sorted([f"q{n}" for n in range(1_000)] + ["p2999"])


def test_a_tick_that_crosses_nothing_looks_at_no_row(monkeypatch):
    book = ColumnBook()
    for number in range(1_000):
        book.put(f"p{number}", "sol", Side.LONG, number)
    looks = []

    def look(found):
        looks.append(found)
        return []

    monkeypatch.setattr(np, "flatnonzero", look)

    assert book.crossed("sol", 5_000) == []
    assert looks == []
    book.crossed("sol", 500)
    assert len(looks) == 1
