"""The latest reading of every source: newest wins, lies stay where they are told, jumps wait."""

from dataclasses import replace

from liqctl.core.price import PriceReading, PriceSource
from liqctl.core.price_board import PriceBoard, SourceKey

NOW = 1_700_000_000
FIRST = PriceReading(
    address="a",
    owner="o",
    feed_id="f",
    mantissa=100,
    exponent=0,
    confidence=1,
    publish_time=NOW,
    fully_verified=True,
    posted_slot=5,
    source=PriceSource.PUSH_FEED,
)
KEY = SourceKey(source=PriceSource.PUSH_FEED, address="a")


def board_with(*readings):
    board = PriceBoard()
    for each in readings:
        take(board, each)
    return board


def take(board, reading):
    return board.take(reading, NOW, jump_bps_max=1_000)


def test_the_newest_reading_of_a_source_stays():
    newer = replace(FIRST, mantissa=101, publish_time=NOW + 1)
    board = board_with(FIRST, newer)

    assert not take(board, FIRST)
    assert board.get(KEY).reading == newer


def test_of_one_second_the_later_slot_stays():
    later = replace(FIRST, mantissa=101, posted_slot=6)

    assert board_with(later, FIRST).get(KEY).reading == later


def test_an_account_that_lies_about_its_feed_displaces_nobody():
    lie = replace(FIRST, address="b", mantissa=1, publish_time=NOW + 1)

    assert board_with(FIRST, lie).get(KEY).reading == FIRST


def test_the_same_feed_of_another_source_is_held_beside_it():
    other = replace(FIRST, source=PriceSource.HERMES)
    board = board_with(FIRST, other)

    assert board.get(KEY).reading == FIRST
    assert board.get(SourceKey(source=PriceSource.HERMES, address="a")).reading == other


def test_a_price_from_the_future_blocks_no_later_one():
    board = board_with(FIRST, replace(FIRST, publish_time=2**63 - 1, mantissa=1))
    good = replace(FIRST, publish_time=NOW + 1)

    assert take(board, good)
    assert board.get(KEY).reading == good
    assert not board.get(KEY).jumped


def test_a_jump_waits_for_a_later_price_that_agrees():
    jump = replace(FIRST, mantissa=50, publish_time=NOW + 1)
    board = board_with(FIRST, jump)
    jumped = board.get(KEY).jumped

    take(board, replace(jump, publish_time=NOW + 2))

    assert jumped
    assert not board.get(KEY).jumped


def test_what_was_handed_out_does_not_change():
    board = board_with(FIRST)
    seen = board.get(KEY)

    board.forget(KEY)

    assert seen.reading == FIRST
    assert board.get(KEY) is None
