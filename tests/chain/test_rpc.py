"""The HTTP endpoint against a real socket that behaves as badly as asked."""

import asyncio
import contextlib
import gzip
import json
import logging
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liqctl.chain.rpc import HttpRpc, RpcLimits
from liqctl.chain.text import one_line
from liqctl.errors import RpcError, RpcMalformed, RpcRefused, RpcUnreachable, SettingsError
from tests.chain.scripted import EvenRng, Reply, StillClock, error, http, http_node, result


def endpoint(url: str, clock: StillClock | None = None, **limits: Any) -> HttpRpc:
    return HttpRpc(url, clock or StillClock(), EvenRng(), limits=RpcLimits(**limits))


UNUSED = endpoint("http://127.0.0.1:1/")


async def answered(reply: Reply, method: str = "getSlot", **limits: Any) -> object:
    async with http_node(reply) as url, endpoint(url, **limits) as rpc:
        return await rpc.call(method, [])


async def test_the_result_of_a_call_comes_back():
    seen = []

    async def reply(request, _):
        seen.append(request)
        return result(request, {"a": [1, None]})

    async with http_node(reply) as url, endpoint(url) as rpc:
        found = await rpc.call("getSlot", [{"commitment": "confirmed"}])

    assert found == {"a": [1, None]}
    assert seen[0]["jsonrpc"] == "2.0"
    assert seen[0]["params"] == [{"commitment": "confirmed"}]


async def test_null_is_a_result():
    async def reply(request, _):
        return result(request, None)

    assert await answered(reply) is None


async def test_one_connection_serves_many_calls():
    peers = set()

    async def reply(request, writer):
        peers.add(writer.get_extra_info("peername"))
        return result(request, 1)

    async with http_node(reply) as url, endpoint(url) as rpc:
        for _ in range(5):
            await rpc.call("getSlot", [])

    assert len(peers) == 1


async def test_a_port_without_a_node_is_unreachable():
    async def reply(request, _):
        return None

    async with http_node(reply) as url:
        gone = url
    rpc = endpoint(gone, retries=1)

    with pytest.raises(RpcUnreachable, match="no connection to http://127"):
        await rpc.call("getSlot", [])

    assert rpc.counts.unreachable == 2
    await rpc.aclose()


async def test_a_silent_node_is_unreachable_after_the_time_limit():
    async def reply(request, _):
        await asyncio.sleep(5)

    with pytest.raises(RpcUnreachable, match=r"within 0\.05 s"):
        await answered(reply, timeout_s=0.05, retries=0)


async def test_a_snapshot_that_falls_silent_is_given_up_before_its_long_limit():
    async def reply(request, writer):
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{")
        await asyncio.sleep(5)

    async with http_node(reply) as url, endpoint(url, silence_s=0.05, retries=0) as rpc:
        with pytest.raises(RpcUnreachable, match=r"within 0\.05 s"):
            await rpc.call("getProgramAccounts", [])


async def test_a_node_that_dribbles_is_cut_off_by_the_same_limit():
    async def reply(request, writer):
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
        for _ in range(100):
            writer.write(b" ")
            await asyncio.sleep(0.02)

    with pytest.raises(RpcUnreachable, match="within"):
        await answered(reply, timeout_s=0.1, retries=0)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{",
        b"\x00\x01garbage garbage\r\n\r\n",
    ],
)
async def test_a_broken_off_or_foreign_answer_is_unreachable(raw):
    async def reply(request, writer):
        writer.write(raw)

    with pytest.raises(RpcUnreachable):
        await answered(reply, retries=0)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"jsonrpc": "2.0", "id": 1, "result": ',
        b"<html>busy</html>",
        b"[]",
        b"7",
        b"\xff\xfe",
        b'{"id": 1}',
        b'{"id": 77, "result": 1}',
        b'{"id": null, "result": 1}',
        b'{"id": 1, "error": "no"}',
        b'{"id": 1, "error": {"message": "no code"}}',
        b"[" * 100_000,
        b'{"id": 1, "result": ' + b"[" * 100_000,
        b'{"id": 1, "result": ' + b"9" * 5000 + b"}",
    ],
)
async def test_what_is_no_answer_is_malformed_and_not_asked_again(body):
    async def reply(request, _):
        return http(body)

    async with http_node(reply) as url, endpoint(url) as rpc:
        with pytest.raises(RpcMalformed):
            await rpc.call("getSlot", [])
        assert (rpc.counts.tries, rpc.counts.malformed, rpc.counts.errors) == (1, 1, 1)


async def test_a_huge_answer_is_refused_before_it_is_read_whole():
    async def reply(request, _):
        return http(b" " * 300_000)

    with pytest.raises(RpcMalformed, match="more than 100000 bytes"):
        await answered(reply, response_bytes_max=100_000)


async def test_the_size_limit_counts_what_compression_unfolds():
    packed = gzip.compress(b" " * 5_000_000)

    async def reply(request, _):
        return http(packed, headers="content-encoding: gzip\r\n")

    assert len(packed) < 10_000
    with pytest.raises(RpcMalformed, match="more than 100000 bytes"):
        await answered(reply, response_bytes_max=100_000)


async def test_wrong_compression_is_malformed():
    async def reply(request, _):
        return http(b"not gzip", headers="content-encoding: gzip\r\n")

    with pytest.raises(RpcMalformed, match="compressed"):
        await answered(reply)


async def test_an_error_object_keeps_code_and_data():
    async def reply(request, _):
        return error(request, -32002, "preflight", data={"err": "AlreadyProcessed"})

    with pytest.raises(RpcRefused, match="preflight") as caught:
        await answered(reply)

    assert caught.value.code == -32002
    assert caught.value.detail == {"err": "AlreadyProcessed"}


async def test_an_error_object_without_data_is_an_ordinary_refusal():
    async def reply(request, _):
        return error(request, -32016, "behind")

    with pytest.raises(RpcRefused) as caught:
        await answered(reply, retries=0)

    assert caught.value.code == -32016


@pytest.mark.parametrize("status", ["301 Moved", "403 Forbidden", "404 Not Found"])
async def test_a_lasting_http_status_is_refused_at_once(status):
    tries = []

    async def reply(request, _):
        tries.append(request)
        return http(b"", status, "location: http://127.0.0.1:1/\r\n")

    with pytest.raises(RpcRefused) as caught:
        await answered(reply)

    assert caught.value.code == int(status[:3])
    assert len(tries) == 1


async def test_a_json_rpc_error_inside_an_http_error_says_more():
    async def reply(request, _):
        body = json.dumps({"id": request["id"], "error": {"code": -32602, "message": "bad"}})
        return http(body.encode(), "400 Bad Request")

    with pytest.raises(RpcRefused) as caught:
        await answered(reply)

    assert caught.value.code == -32602


async def test_retry_after_is_honoured_for_reads():
    clock, replies = StillClock(), []

    async def reply(request, _):
        replies.append(request)
        if len(replies) == 1:
            return http(b"slow down", "429 Too Many", "retry-after: 3\r\n")
        return result(request, 7)

    async with http_node(reply) as url, endpoint(url, clock) as rpc:
        assert await rpc.call("getSlot", []) == 7
        assert rpc.counts.rate_limited == 1

    assert clock.slept == [3.0]


async def test_retry_after_may_be_a_date():
    clock = StillClock(now_ns=1_000_000_000 * 1_000_000_000)
    header = "retry-after: Sun, 09 Sep 2001 01:46:42 GMT\r\n"

    async def reply(request, _):
        return http(b"", "503 Busy", header)

    async with http_node(reply) as url, endpoint(url, clock, retries=0) as rpc:
        with pytest.raises(RpcRefused) as caught:
            await rpc.call("getSlot", [])

    assert caught.value.retry_after_s == 2.0


@pytest.mark.parametrize("header", ["soon", "-1", "1e9", "Sun, 99 Foo", "9" * 400])
async def test_a_retry_after_that_means_nothing_is_ignored(header):
    async def reply(request, _):
        return http(b"", "429 Too Many", f"retry-after: {header}\r\n")

    with pytest.raises(RpcRefused) as caught:
        await answered(reply, retries=1)

    assert caught.value.retry_after_s is None


async def test_a_long_retry_after_is_not_waited_for():
    clock = StillClock()

    async def reply(request, _):
        return http(b"", "429 Too Many", "retry-after: 3600\r\n")

    async with http_node(reply) as url, endpoint(url, clock) as rpc:
        with pytest.raises(RpcRefused) as caught:
            await rpc.call("getSlot", [])

    assert caught.value.retry_after_s == 3600
    assert clock.slept == []


async def test_reads_are_tried_a_stated_number_of_times_with_growing_pauses():
    clock = StillClock()

    async def reply(request, _):
        return http(b"", "503 Busy")

    async with http_node(reply) as url, endpoint(url, clock, retries=3) as rpc:
        with pytest.raises(RpcRefused):
            await rpc.call("getSlot", [])
        assert rpc.counts.tries == 4

    assert clock.slept == [0.1, 0.2, 0.4]


@pytest.mark.parametrize("raw", [b"", http(b"", "503 Busy"), http(b"", "429 Too Many")])
async def test_a_send_is_never_repeated_by_the_transport(raw):
    tries = []

    async def reply(request, writer):
        tries.append(request)
        writer.write(raw)

    with pytest.raises(RpcError):
        await answered(reply, "sendTransaction", retries=5)

    assert len(tries) == 1


async def test_no_message_and_no_repr_shows_the_key_in_the_url():
    async def reply(request, _):
        return error(request, -32000, "key SECRETKEY or TOPSECRET is \x1b[31mnot known")

    async with http_node(reply) as url, endpoint(url) as rpc:
        with pytest.raises(RpcRefused) as caught:
            await rpc.call("getSlot", [])
        shown = f"{caught.value} {rpc!r} {rpc.shown_url}"

    assert "SECRET" not in shown
    assert "\x1b" not in shown


async def test_transport_loggers_do_not_log_urls(caplog):
    logging.getLogger("httpx").setLevel(logging.DEBUG)
    caplog.set_level(logging.DEBUG)

    async def reply(request, _):
        return result(request, 1)

    await answered(reply)

    assert "SECRET" not in caplog.text


@pytest.mark.parametrize(
    "url", ["", "ftp://x", "http://", "nonsense", "http://a b", "http://x:99999"]
)
def test_what_is_no_url_is_a_settings_error(url):
    with pytest.raises(SettingsError):
        endpoint(url)


async def test_plain_http_leaves_this_host_only_when_allowed():
    with pytest.raises(SettingsError, match="not encrypted"):
        HttpRpc("http://rpc.example/", StillClock(), EvenRng())

    rpc = HttpRpc("http://rpc.example/", StillClock(), EvenRng(), allow_plain=True)
    await rpc.aclose()


@settings(max_examples=60, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=60),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(["id", "result", "error", "code"]), inner, max_size=4
                )
            ),
        ).map(lambda value: json.dumps(value).encode()),
    ),
)
def test_any_body_is_a_result_or_an_rpc_error(body):
    with contextlib.suppress(RpcError):
        UNUSED._result("getSlot", 1, body)


def test_foreign_text_is_one_short_printable_line():
    assert one_line("a\nb\x1b\u202ec") == "a?b??c"
    assert len(one_line("x" * 10_000)) == 301
