"""Server-sent events: however the bytes are cut, the same events; nothing without bounds."""

from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liqctl.errors import HermesMalformed
from liqctl.oracle.sse import SseEvent, SseParser


def events(*chunks, most=1_000):
    parser = SseParser(event_bytes_max=most)
    return [(each.kind, each.data) for chunk in chunks for each in parser.feed(chunk)]


@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r"])
def test_every_kind_of_line_break_ends_lines(newline):
    text = newline.join([b"data: one", b"data:two", b"", b"event: error", b"data: 3", b"", b"x"])

    assert events(text) == [("message", b"one\ntwo"), ("error", b"3")]


def test_comments_unknown_fields_and_events_without_data_say_nothing():
    assert events(b": keep-alive\n\n:\n\nid: 7\nretry: 9\nevent: x\n\ndata\n\n") == [
        ("message", b"")
    ]


def test_a_byte_order_mark_is_dropped_once():
    assert events(b"\xef", b"\xbb\xbfdata: 1\n\n") == [("message", b"1")]


def test_an_unfinished_event_is_no_event():
    assert events(b'data: {"parsed"', b":[]}\n") == []


@given(st.lists(st.integers(0, 60), max_size=6), st.sampled_from([b"\n", b"\r\n", b"\r"]))
def test_the_cuts_between_chunks_do_not_matter(cuts, newline):
    text = newline.join([b"data: one", b"", b": c", b"event: e", b"data: 2", b"data: 3", b"", b""])
    text += b"data: x" + newline + newline + b"data: y" + newline  # a lone CR is held back
    places = [0, *sorted(min(each, len(text)) for each in cuts), len(text)]
    pieces = [text[a:b] for a, b in pairwise(places)]

    assert events(*pieces) == [("message", b"one"), ("e", b"2\n3"), ("message", b"x")]


@pytest.mark.parametrize(
    "chunks",
    [
        [b"data: " + b"x" * 60],
        [b"data: " + b"x" * 60 + b"\n"],
        [b"data: 0123456789\n"] * 5,
        [b":" + b"c" * 60],
        [b"event:" + b"c" * 60],
    ],
)
def test_what_does_not_end_is_too_large(chunks):
    with pytest.raises(HermesMalformed, match="more than 50 bytes"):
        events(*chunks, most=50)


@given(st.lists(st.binary(max_size=40), max_size=10))
def test_any_bytes_give_events_or_the_one_error(chunks):
    parser = SseParser(event_bytes_max=100)

    with suppress(HermesMalformed):
        for chunk in chunks:
            assert all(isinstance(each, SseEvent) for each in parser.feed(chunk))
