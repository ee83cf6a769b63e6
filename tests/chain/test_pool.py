"""Several endpoints as one, on virtual time; at the end over real sockets."""

import asyncio
import base64
import itertools
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from liqctl.chain.base58 import encode
from liqctl.chain.breaker import EndpointBreaker
from liqctl.chain.budget import Budget
from liqctl.chain.client import Chain
from liqctl.chain.lies import entries_in, lie_in
from liqctl.chain.pool import Pool, PoolLimits
from liqctl.chain.rpc import HttpRpc, RpcLimits
from liqctl.errors import RpcError, RpcMalformed, RpcRefused, RpcUnreachable, SettingsError
from tests.chain.scripted import (
    ADDRESSES,
    EvenRng,
    StillClock,
    error,
    http,
    http_node,
    in_context,
    result,
)
from tests.chain.virtual import VirtualClock, VirtualLoop, run_virtually

GENESIS, OTHER_GENESIS = ADDRESSES[0], ADDRESSES[1]
CONFIRMED: dict[str, object] = {"commitment": "confirmed"}
SILENCE_S = 10_000.0
DOWN = RpcUnreachable("no connection to it; is it running?")
BUSY = RpcRefused("slow down", code=429, retry_after_s=3.0)
LIMITS = PoolLimits(requests_per_s=10)
Answer = object | RpcError | Callable[[str, Sequence[object]], object]


@dataclass(kw_only=True, eq=False)
class End:
    """An endpoint that gives its answers in order; the last one is repeated."""

    name: str
    answers: list[Answer]
    took_s: float = 0.01
    calls: list[tuple[float, str, Sequence[object]]] = field(default_factory=list)
    closed: bool = False

    @property
    def shown_url(self) -> str:
        return f"https://{self.name}/…"

    @property
    def times(self) -> list[float]:
        return [round(at, 3) for at, _, _ in self.calls]

    async def once(self, method: str, params: Sequence[object]) -> object:
        loop = asyncio.get_running_loop()
        self.calls.append((loop.time(), method, params))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if callable(answer):
            answer = answer(method, params)
        await asyncio.sleep(SILENCE_S if answer is Ellipsis else self.took_s)
        if isinstance(answer, RpcError):
            raise answer
        return answer

    async def aclose(self) -> None:
        self.closed = True


def end(name: str, *answers: Answer, took_s: float = 0.01) -> End:
    return End(name=name, answers=list(answers), took_s=took_s)


def virtually(
    work: Callable[[Pool], Awaitable[Any]],
    reading: Sequence[End],
    sending: Sequence[End] = (),
    limits: PoolLimits = LIMITS,
) -> Any:
    """Return what the work returns, done with a pool that is closed afterwards."""
    loop = VirtualLoop()

    async def whole() -> Any:
        pool = Pool(reading, sending, VirtualClock(loop), EvenRng(), limits=limits)
        try:
            return await work(pool)
        finally:
            await pool.aclose()

    return run_virtually(loop, whole())


def now_s() -> float:
    return round(asyncio.get_running_loop().time(), 3)


async def failing(call: Awaitable[object]) -> RpcError:
    """Return the error that a call ends with."""
    with pytest.raises(RpcError) as caught:
        await call
    return caught.value


async def read(pool: Pool) -> object:
    return await pool.call("getBalance", ["x"])


def test_a_read_goes_to_the_first_endpoint_and_to_no_other():
    first, second = end("a", 7), end("b", 8)

    assert virtually(read, [first, second]) == 7
    assert (len(first.calls), second.calls) == (1, [])
    assert first.closed
    assert second.closed


@pytest.mark.parametrize(
    "trouble",
    [
        DOWN,
        RpcMalformed("garbage"),
        *(RpcRefused("no", code=code) for code in (429, 503, 401, -32005, -32016)),
        *(RpcRefused("cannot", code=code) for code in (-32010, -32011, -32012, -32601, -32603)),
        ...,
    ],
)
def test_what_another_endpoint_need_not_have_sends_a_read_on(trouble):
    first, second = end("a", trouble), end("b", 8)

    assert virtually(read, [first, second]) == 8
    assert (len(first.calls), len(second.calls)) == (1, 1)


def test_what_is_wrong_with_the_call_itself_is_not_asked_of_everybody():
    first, second = end("a", RpcRefused("bad parameters", code=-32602)), end("b", 8)

    assert virtually(lambda pool: failing(read(pool)), [first, second]).code == -32602
    assert second.calls == []


def test_a_method_that_an_endpoint_lacks_is_asked_elsewhere_from_then_on():
    def answer(method: str, params: Sequence[object]) -> object:
        return RpcRefused("no history", code=-32011) if method == "getTransaction" else 1

    first, second = end("a", answer), end("b", 8)

    async def work(pool: Pool) -> None:
        for _ in range(3):
            assert await pool.call("getTransaction", ["s"]) == 8
        assert await read(pool) == 1

    virtually(work, [first, second])
    assert [method for _, method, _ in first.calls] == ["getTransaction", "getBalance"]


@pytest.mark.parametrize(
    "passing", [DOWN, *(RpcRefused("not now", code=code) for code in (503, -32005, -32016))]
)
def test_without_another_endpoint_a_read_is_tried_again_after_growing_pauses(passing):
    only = end("a", passing, took_s=0)

    assert virtually(lambda pool: failing(read(pool)), [only]) is passing
    assert only.times == [0, 0.1, 0.3]


def test_only_who_may_answer_yet_is_asked_again():
    first, second = end("a", RpcMalformed("garbage")), end("b", DOWN)

    assert virtually(lambda pool: failing(read(pool)), [first, second]) is DOWN
    assert (len(first.calls), len(second.calls)) == (1, 3)


@pytest.mark.parametrize(
    "lasting",
    [RpcMalformed("garbage"), *(RpcRefused("no", code=code) for code in (403, -32011, -32603))],
)
def test_an_error_that_will_not_pass_is_not_asked_for_again(lasting):
    async def work(pool: Pool) -> float:
        assert await failing(read(pool)) is lasting
        return now_s()

    only = end("a", lasting, took_s=0)
    assert virtually(work, [only]) == 0
    assert len(only.calls) == 1


def test_of_several_errors_the_one_that_leaves_hope_is_raised():
    lacking = RpcRefused("no history", code=-32011)

    error = virtually(lambda pool: failing(read(pool)), [end("a", lacking), end("b", DOWN)])

    assert error is DOWN


def test_a_call_ends_in_time_although_nobody_answers():
    async def work(pool: Pool) -> float:
        said = await failing(read(pool))
        assert isinstance(said, RpcUnreachable)
        assert "within 15 s; before: no answer to getBalance from https://" in str(said)
        return now_s()

    ends = [end(name, ...) for name in "abcd"]
    assert virtually(work, ends) == LIMITS.call_s


def test_an_answer_below_the_asked_slot_is_a_lie_that_opens_the_breaker_at_once():
    first, second = end("a", in_context(1, slot=99)), end("b", in_context(2, slot=100))
    params: list[object] = ["x", {"minContextSlot": 100}]

    async def work(pool: Pool) -> None:
        for _ in range(2):
            assert await pool.call("getBalance", params) == in_context(2, slot=100)
        assert pool.counts()["https://a/…"]["lies"] == 1
        assert pool.counts()["https://a/…"]["openings"] == 1

    with capture_logs() as logs:
        virtually(work, [first, second])
    assert len(first.calls) == 1
    assert [line["event"] for line in logs] == ["endpoint_lied"]


RAW = bytes([1, *([7] * 64), 0])
SENT = [base64.b64encode(RAW).decode(), {"encoding": "base64"}]
SIGNATURE = encode(RAW[1:65])


def told(slot: int) -> Answer:
    return {"context": {"slot": slot}, "value": slot}


def test_a_slot_that_the_cluster_cannot_have_come_to_is_refused():
    first, second = end("a", told(100), told(2**62)), end("b", told(101))

    async def work(pool: Pool) -> None:
        assert [await read(pool) for _ in range(2)] == [told(100), told(101)]
        assert pool.counts()["https://a/…"]["ahead"] == 1

    virtually(work, [first, second])


def test_an_only_endpoint_is_believed_when_another_answer_follows_from_the_leap():
    only = end("a", told(100), told(5_000_000), told(5_000_003))

    async def work(pool: Pool) -> None:
        assert await read(pool) == told(100)
        assert "slot 100 was the newest seen" in str(await failing(read(pool)))
        assert await read(pool) == told(5_000_003)

    virtually(work, [only])


def test_an_endpoint_far_behind_makes_nobody_else_rest_or_doubtful_for_long():
    honest = itertools.count(10_000)
    behind, first, second = end("a", told(100)), end("b"), end("c")
    first.answers = second.answers = [lambda *_: told(next(honest) // 2)]

    async def work(pool: Pool) -> None:
        lagging, *others = pool.endpoints()
        assert await lagging.call("getBalance", ["x"]) == told(100)
        for other in others:
            assert "slot 100 was the newest seen" in str(
                await failing(other.call("getBalance", ["x"]))
            )
        for _ in range(3):
            assert await lagging.call("getBalance", ["x"]) == told(100)
            assert all(other.closed for other in others)
            for other in others:
                await other.call("getBalance", ["x"])

    virtually(work, [behind, first, second])


def test_an_absurd_first_slot_makes_no_other_answer_doubtful():
    answers = [told(2**62), told(100), told(101), told(2**62)]

    async def work(pool: Pool) -> None:
        assert [await read(pool) for _ in range(3)] == answers[:3]
        assert "slot 101 was the newest seen" in str(await failing(read(pool)))

    virtually(work, [end("a", *answers)])


@pytest.mark.parametrize(
    ("method", "params", "answer", "lie"),
    [
        ("getMultipleAccounts", [["a", "b"], {}], in_context([None]), True),
        ("getMultipleAccounts", [["a", "b"], {}], in_context([None, None]), False),
        ("getSignatureStatuses", [["a"], {}], in_context([None, None]), True),
        ("getEpochInfo", [{"minContextSlot": 9}], {"absoluteSlot": 8}, True),
        ("getEpochInfo", [{"minContextSlot": 9}], {"absoluteSlot": 9}, False),
        ("getSlot", [{"minContextSlot": 9}], 8, True),
        ("getBalance", ["x", {"minContextSlot": 9}], in_context(1, slot=9), False),
        ("getBalance", ["x", {"minContextSlot": 9}], "nonsense", False),
        ("getBalance", [], in_context(1, slot=9), False),
        ("sendTransaction", SENT, SIGNATURE, False),
        ("sendTransaction", SENT, "1" * 64, True),
        ("sendTransaction", SENT, None, True),
    ],
)
def test_what_an_answer_proves(method, params, answer, lie):
    assert (lie_in(method, params, answer) is not None) == lie


def test_a_breaker_opens_after_three_failures_in_a_row_and_tries_out_one_call():
    first, second = end("a", DOWN, DOWN, 1, DOWN, DOWN, DOWN, 5), end("b", 8)

    async def work(pool: Pool) -> list[object]:
        found = [await read(pool) for _ in range(8)]
        await asyncio.sleep(0.9)
        found.append(await read(pool))
        await asyncio.sleep(0.1)
        return [*found, await read(pool)]

    assert virtually(work, [first, second]) == [8, 8, 1, 8, 8, 8, 8, 8, 8, 5]
    assert len(first.calls) == 7


def test_only_one_call_tries_a_resting_endpoint_out_and_the_pause_doubles():
    first, second = end("a", DOWN), end("b", 8)

    async def work(pool: Pool) -> None:
        for _ in range(400):
            async with asyncio.TaskGroup() as group:
                for _ in range(3):
                    group.create_task(read(pool))
            await asyncio.sleep(0.1)

    virtually(work, [first, second], limits=PoolLimits(requests_per_s=1_000))
    gaps = [later - earlier for earlier, later in itertools.pairwise(first.times)]
    assert [round(gap) for gap in gaps] == [0, 0, 1, 2, 4, 8, 15]


def test_a_cancelled_trial_says_nothing_and_another_may_follow():
    only = end("a", DOWN, DOWN, DOWN, ..., 5)

    async def work(pool: Pool) -> object:
        await failing(read(pool))
        await asyncio.sleep(1)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await read(pool)
        return await read(pool)

    assert virtually(work, [only]) == 5


def test_while_everybody_rests_a_call_fails_at_once_with_the_reason():
    async def work(pool: Pool) -> str:
        await failing(read(pool))
        before = now_s()
        said = await failing(read(pool))
        assert now_s() == before
        return str(said)

    said = virtually(work, [end("a", DOWN)])
    assert said.startswith(f"{DOWN} (it is left alone for ")


def test_what_a_call_of_earlier_finds_out_does_not_close_a_breaker():
    breaker = EndpointBreaker(1, 1.0, 4.0)
    early = breaker.begin()
    breaker.failed(0, trial=breaker.begin())

    breaker.succeeded(trial=early)

    assert not breaker.admits(0)
    trial = breaker.begin()
    breaker.lied(10)
    breaker.succeeded(trial=trial)
    assert not breaker.closed


def test_the_pause_that_an_endpoint_asks_for_is_kept_while_another_one_answers():
    first, second = end("a", BUSY, 1, took_s=0), end("b", 8)

    async def work(pool: Pool) -> list[object]:
        found = []
        for _ in range(7):
            found.append(await read(pool))
            await asyncio.sleep(0.5)
        return found

    assert virtually(work, [first, second]) == [8, 8, 8, 8, 8, 8, 1]
    assert first.times[1] >= 3.0


def test_an_only_endpoint_is_waited_for_as_long_as_it_asks():
    only = end("a", BUSY, 1, took_s=0)

    assert virtually(read, [only]) == 1
    assert only.times == [0, 3.0]


def test_a_pause_that_is_too_long_is_not_waited_for():
    busy = RpcRefused("slow down", code=429, retry_after_s=3600.0)
    only = end("a", busy, 1, took_s=0)

    async def work(pool: Pool) -> None:
        assert await failing(read(pool)) is busy
        await asyncio.sleep(3594)
        assert "asked not to be asked for 6.0 s more" in str(await failing(read(pool)))
        assert now_s() == 3594
        await asyncio.sleep(1)
        assert await read(pool) == 1

    virtually(work, [only])
    assert len(only.calls) == 2


def test_without_a_stated_pause_a_busy_endpoint_gets_an_ever_longer_one():
    first, second = end("a", RpcRefused("slow down", code=429)), end("b", 8)

    async def work(pool: Pool) -> None:
        for _ in range(300):
            await read(pool)
            await asyncio.sleep(0.1)

    virtually(work, [first, second], limits=PoolLimits(requests_per_s=1_000))
    gaps = [later - earlier for earlier, later in itertools.pairwise(first.times)]
    assert gaps == sorted(gaps)
    assert gaps[0] < 1
    assert gaps[-1] > 8


def test_a_burst_beyond_the_budget_goes_to_the_next_endpoint_when_waiting_would_take_long():
    first, second = end("a", 1), end("b", 2)

    async def work(pool: Pool) -> list[object]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(read(pool)) for _ in range(30)]
        return [task.result() for task in tasks]

    found = virtually(work, [first, second])

    assert found == [1] * 20 + [2] * 10
    assert first.times == [0.0] * 10 + [round(0.1 * n, 3) for n in range(1, 11)]


@given(
    st.integers(1, 1_000),
    st.integers(1, 50),
    st.lists(st.integers(0, 10**9), min_size=1, max_size=200),
)
def test_a_budget_holds_in_every_span_of_time(per_s, burst, gaps_ns):
    budget, starts, now = Budget(per_s, burst), [], 0
    for gap_ns in gaps_ns:
        now += gap_ns
        wait_s = budget.turn(now, 5.0)
        if wait_s is not None:
            assert 0 <= wait_s <= 5.0
            starts.append(now + wait_s * 1e9)
    check_budget(starts, per_s, burst)


def check_budget(starts_ns: Sequence[float], per_s: int, burst: int) -> None:
    """Between any two starts no more have begun than the budget allows."""
    for first, last in itertools.combinations(range(len(starts_ns)), 2):
        span_s = (starts_ns[last] - starts_ns[first]) / 1e9
        assert last - first + 1 <= burst + per_s * span_s + 1e-3


def at_slot(slot_of: Callable[[], int]) -> Answer:
    return lambda method, _: slot_of() if method == "getSlot" else in_context(0, slot_of())


def test_an_endpoint_that_has_fallen_far_behind_is_passed_over_until_it_has_caught_up():
    slots = {"a": 1_000, "b": 1_026}
    first, second = end("a", at_slot(lambda: slots["a"])), end("b", at_slot(lambda: slots["b"]))

    async def work(pool: Pool) -> None:
        params: list[object] = ["x", CONFIRMED]
        assert await pool.call("getBalance", params) == in_context(0, 1_000)
        await pool.compare()
        await pool.compare()
        assert await pool.call("getBalance", params) == in_context(0, 1_026)
        assert pool.counts()["https://a/…"]["behind"] >= 1
        slots["a"] = 1_001
        await pool.compare()
        assert await pool.call("getBalance", params) == in_context(0, 1_001)

    virtually(work, [first, second])


def test_an_answer_from_far_behind_is_better_than_none():
    first, second = end("a", in_context(0, 100)), end("b", in_context(0, 900), DOWN)

    async def work(pool: Pool) -> object:
        for one in pool.endpoints():
            await one.call("getBalance", ["x", CONFIRMED])
        found = [await pool.call("getBalance", ["x", CONFIRMED]) for _ in range(2)]
        assert found[0] == found[1]
        return found[0]

    assert virtually(work, [first, second]) == in_context(0, 100)
    assert len(second.calls) >= 3


def test_one_endpoint_alone_cannot_make_all_others_look_slow():
    honest = [end(name, at_slot(lambda: 500)) for name in "ab"]
    boasting = end("c", at_slot(lambda: 10**12))

    async def work(pool: Pool) -> object:
        for _ in range(3):
            await pool.compare()
        return await pool.call("getBalance", ["x", CONFIRMED])

    assert virtually(work, [*honest, boasting]) == in_context(0, 500)


def test_in_its_block_a_pool_compares_its_endpoints_by_itself():
    first, second = end("a", at_slot(lambda: 100)), end("b", at_slot(lambda: 900))

    async def work(pool: Pool) -> object:
        async with pool:
            await asyncio.sleep(LIMITS.compare_s * 2)
            return await pool.call("getBalance", ["x", CONFIRMED])

    assert virtually(work, [first, second]) == in_context(0, 900)
    assert [method for _, method, _ in first.calls] == ["getSlot"] * 2


@pytest.mark.parametrize(
    ("entries", "others", "taken", "truncated"),
    [(99, 100, 99, None), (98, 100, 100, "a"), (100, 98, 100, "b"), (100, DOWN, 100, None)],
)
def test_a_snapshot_that_lacks_accounts_is_given_up_for_a_longer_one(
    entries, others, taken, truncated
):
    def snapshot(count: object) -> Answer:
        return in_context([{}] * count) if isinstance(count, int) else count

    first, second = end("a", snapshot(entries)), end("b", snapshot(others))
    limits = PoolLimits(snapshots_alone=4)

    async def work(pool: Pool) -> list[int]:
        found = [await pool.call("getProgramAccounts", ["p"]) for _ in range(5)]
        cut = [name for name, counts in pool.counts().items() if "truncated" in counts]
        assert cut == ([f"https://{truncated}/…"] if truncated else [])
        return [entries_in(each) for each in found]

    with capture_logs():
        found = virtually(work, [first, second], limits=limits)
    assert found == [taken, entries, entries, entries, taken]
    assert len(second.calls) == 2


def test_a_snapshot_of_an_endpoint_that_is_behind_says_nothing_about_another_one():
    first, second = end("a", in_context([{}] * 98, 900)), end("b", in_context([{}] * 100, 100))

    async def work(pool: Pool) -> int:
        return entries_in(await pool.call("getProgramAccounts", ["p", CONFIRMED]))

    assert virtually(work, [first, second]) == 98
    assert len(second.calls) == 1


async def send(pool: Pool) -> object:
    return await pool.call("sendTransaction", SENT)


def test_a_send_goes_to_every_sending_endpoint_at_once_and_the_first_acceptance_answers():
    slow, quick = end("a", SIGNATURE, took_s=3), end("b", SIGNATURE, took_s=0.2)
    reading = end("r", 1)

    async def work(pool: Pool) -> None:
        assert await send(pool) == SIGNATURE
        assert now_s() == 0.2
        await asyncio.sleep(5)
        assert pool.counts()["https://a/…"] == {"calls": 1, "openings": 0}

    virtually(work, [reading], [slow, quick])
    assert slow.times == quick.times == [0]
    assert slow.calls[0][2] == quick.calls[0][2] == SENT
    assert reading.calls == []


def test_without_sending_endpoints_of_their_own_the_reading_ones_send():
    first, second = end("a", DOWN), end("b", SIGNATURE)

    assert virtually(send, [first, second]) == SIGNATURE
    assert len(first.calls) == len(second.calls) == 1


def test_a_write_is_put_to_each_endpoint_once_whatever_comes():
    ends = [end("a", DOWN), end("b", BUSY), end("c", RpcMalformed("garbage")), end("d", ...)]

    async def work(pool: Pool) -> float:
        await failing(send(pool))
        return now_s()

    assert virtually(work, ends) == LIMITS.try_s
    assert [len(one.calls) for one in ends] == [1, 1, 1, 1]


def test_an_airdrop_is_asked_for_once():
    first, second = end("a", DOWN), end("b", 1)

    virtually(lambda pool: failing(pool.call("requestAirdrop", ["x", 1])), [first, second])

    assert (len(first.calls), len(second.calls)) == (1, 0)


def test_a_send_leaves_out_who_rests():
    first, second = end("a", DOWN), end("b", DOWN, DOWN, DOWN, SIGNATURE)

    async def work(pool: Pool) -> None:
        for _ in range(3):
            await failing(send(pool))
        assert "left alone" in str(await failing(send(pool)))
        await asyncio.sleep(1)
        assert await send(pool) == SIGNATURE

    virtually(work, [first, second])
    assert [len(first.calls), len(second.calls)] == [4, 4]


def preflight(err: object) -> RpcRefused:
    return RpcRefused("preflight", code=-32002, detail={"err": err, "logs": []})


HOPELESS = preflight({"InstructionError": [2, {"Custom": 6001}]})
KNOWN = preflight("AlreadyProcessed")
STALE_HASH = preflight("BlockhashNotFound")
BAD = RpcRefused("bad parameters", code=-32602)
BAD_TOO = RpcRefused("bad signature", code=-32003)


@pytest.mark.parametrize(
    ("errors", "raised"),
    [
        ([DOWN, HOPELESS, BUSY], HOPELESS),
        ([HOPELESS, KNOWN], KNOWN),
        ([DOWN, STALE_HASH], STALE_HASH),
        ([STALE_HASH, HOPELESS], HOPELESS),
        ([BAD, DOWN], DOWN),
        ([BAD, RpcMalformed("garbage")], BAD),
        ([BAD], BAD),
        ([BAD, BAD_TOO, HOPELESS], BAD),
    ],
)
def test_of_the_errors_of_a_send_the_one_that_tells_most_is_raised(errors, raised):
    ends = [end(name, one) for name, one in zip("abc", errors, strict=False)]

    assert virtually(lambda pool: failing(send(pool)), ends) is raised


def test_a_wrong_signature_opens_the_breaker_and_the_honest_endpoint_answers():
    liar, honest = end("a", "1" * 64), end("b", SIGNATURE, took_s=1)

    with capture_logs() as logs:
        assert virtually(send, [liar, honest]) == SIGNATURE
    assert [line["event"] for line in logs] == ["endpoint_lied"]


def test_endpoints_of_two_clusters_are_refused_and_both_are_named():
    with pytest.raises(SettingsError, match=r"^https://a/… and https://c/… belong to different"):
        virtually(
            lambda pool: pool.one_genesis(),
            [end("a", GENESIS), end("b", GENESIS)],
            [end("c", OTHER_GENESIS)],
        )


def test_an_endpoint_that_is_down_at_the_start_takes_part_once_it_has_shown_its_cluster():
    first, second = end("a", DOWN, GENESIS, 1), end("b", GENESIS, 2)

    async def work(pool: Pool) -> None:
        assert await pool.one_genesis() == GENESIS
        assert await read(pool) == 2
        assert not pool.endpoints()[0].closed
        await pool.compare()
        assert await read(pool) == 1

    virtually(work, [first, second])


def test_an_endpoint_that_comes_up_with_another_cluster_is_never_used():
    first, second = end("a", DOWN, OTHER_GENESIS), end("b", GENESIS, 2)

    async def work(pool: Pool) -> None:
        await pool.one_genesis()
        for _ in range(3):
            await pool.compare()
            assert await read(pool) == 2

    with capture_logs() as logs:
        virtually(work, [first, second])
    assert len(first.calls) == 2
    assert [line["event"] for line in logs] == [
        "endpoint_not_checked",
        "endpoint_of_another_cluster",
    ]


def test_an_endpoint_that_does_nothing_but_send_need_not_show_its_cluster():
    lacking = RpcRefused("no such method", code=-32601)
    sending = end("b", lacking, SIGNATURE)

    async def work(pool: Pool) -> None:
        await pool.one_genesis()
        assert await send(pool) == SIGNATURE

    virtually(work, [end("a", GENESIS)], [sending])


def test_when_no_endpoint_answers_at_the_start_the_first_one_s_error_is_told():
    wants_key = RpcRefused("who are you", code=401)
    ends = [end("a", wants_key), end("b", DOWN)]

    assert virtually(lambda pool: failing(pool.one_genesis()), ends) is wants_key


def test_a_pool_needs_somebody_to_ask():
    with pytest.raises(SettingsError):
        Pool([], [], StillClock(), EvenRng())


def test_endpoints_of_one_host_are_told_apart_and_no_key_is_shown():
    url = "http://127.0.0.1:1/key/SECRETKEY"
    ends = [HttpRpc(f"{url}{n}", StillClock(), EvenRng()) for n in range(2)]

    pool = Pool(ends, [ends[1]], StillClock(), EvenRng())

    assert list(pool.counts()) == ["http://127.0.0.1:1/…", "http://127.0.0.1:1/… (2)"]
    assert "SECRET" not in f"{pool!r}{pool.counts()}{pool.shown_url}"


def test_each_endpoint_can_be_asked_by_itself_and_shares_its_breaker():
    first, second = end("a", DOWN), end("b", 8)

    async def work(pool: Pool) -> None:
        alone, other = pool.endpoints()
        for _ in range(4):
            assert isinstance(await failing(alone.call("getBalance", [])), RpcUnreachable)
        assert (alone.closed, other.closed) == (False, True)
        assert [one.trusted for one in Chain(pool).endpoints()] == [False, True]
        assert [one.shown_url for one in Chain(pool).endpoints()] == ["https://a/…", "https://b/…"]
        assert await read(pool) == 8

    virtually(work, [first, second])
    assert len(first.calls) == 3


FAULTS = st.sampled_from(["ok", "down", "silent", "slow", "busy", "fail", "lie", "old", "garbage"])
OPERATIONS = st.lists(
    st.tuples(st.sampled_from(["read", "send", "both"]), st.sampled_from([0.0, 0.05, 0.7, 4.0])),
    min_size=1,
    max_size=25,
)
PROPERTY_LIMITS = PoolLimits(requests_per_s=4, failures_max=2)
SPEAK_AGAINST = frozenset({"down", "silent", "fail", "garbage"})


@dataclass(kw_only=True, eq=False)
class Faulty:
    """An endpoint with a fault for each call; it keeps what happened when."""

    name: str
    faults: list[str]
    events: list[tuple[int, float, str]] = field(default_factory=list)
    payloads: list[str] = field(default_factory=list)

    @property
    def shown_url(self) -> str:
        return f"https://{self.name}/…"

    async def aclose(self) -> None: ...

    async def once(self, method: str, params: Sequence[Any]) -> object:
        loop = asyncio.get_running_loop()
        fault = self.faults.pop(0) if self.faults else "ok"
        call, began = len(self.payloads), loop.time()
        self.payloads.append(params[0])
        self.events.append((call, began, "begins"))
        try:
            await asyncio.sleep({"silent": SILENCE_S, "slow": 2.0}.get(fault, 0.01))
        except asyncio.CancelledError:
            waited_s = loop.time() - began
            fault = "silent" if waited_s >= PROPERTY_LIMITS.try_s else "cancelled"
            raise
        finally:
            self.events.append((call, loop.time(), fault))
        return self.answer(fault, method, params)

    def answer(self, fault: str, method: str, params: Sequence[Any]) -> object:
        match fault:
            case "down":
                raise DOWN
            case "busy":
                raise BUSY
            case "fail":
                raise RpcRefused("unhealthy", code=-32005)
            case "garbage":
                raise RpcMalformed("garbage")
            case "lie":
                return "1" * 64 if method == "sendTransaction" else in_context(0, slot=1)
            case _ if method == "sendTransaction":
                return encode(base64.b64decode(params[0])[1:65])
            case _:
                return in_context(0, slot=100 if fault == "old" else 1_000)


def check_rests(one: Faulty) -> None:
    """No call begins within the shortest pause after what opens a breaker, or asks for silence."""
    in_a_row, rests_until, opened_by, latest, closed = 0, 0.0, -1, -1, True
    for call, at, event in one.events:
        if event == "begins":
            assert at >= rests_until - 1e-6, one.events
            latest = call
            continue
        if event == "busy":
            rests_until = max(rests_until, at + 3.0)
        # A call from before the opening counts again once a later one has closed the breaker.
        if event != "lie" and (event == "cancelled" or (call <= opened_by and not closed)):
            continue
        closed = closed or (call > opened_by and event not in SPEAK_AGAINST)
        in_a_row = in_a_row + 1 if event in SPEAK_AGAINST else 0
        if event == "lie" or in_a_row >= PROPERTY_LIMITS.failures_max:
            opened_by, in_a_row, closed = latest, 0, False
            rests_until = max(rests_until, at + PROPERTY_LIMITS.pause_s)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.lists(FAULTS, max_size=30), min_size=1, max_size=3),
    st.integers(0, 2),
    OPERATIONS,
)
def test_under_any_faults_budgets_hold_breakers_hold_and_every_call_ends(
    scripts, sending, operations
):
    ends = [Faulty(name=name, faults=faults) for name, faults in zip("abc", scripts, strict=False)]
    limit_s = PROPERTY_LIMITS.call_s
    numbers = itertools.count(1)

    async def one(pool: Pool, kind: str) -> None:
        began, number = asyncio.get_running_loop().time(), next(numbers)
        raw = bytes([1]) + number.to_bytes(64, "big")
        try:
            if kind == "send":
                params = [base64.b64encode(raw).decode(), {}]
                assert await pool.call("sendTransaction", params) == encode(raw[1:65])
            else:
                params = ["x", {"minContextSlot": 50, "commitment": "confirmed"}]
                assert await pool.call("getBalance", params) != in_context(0, slot=1)
        except RpcError:
            pass
        assert asyncio.get_running_loop().time() - began <= limit_s + 1e-6

    async def work(pool: Pool) -> None:
        async with asyncio.TaskGroup() as group:
            for kind, pause_s in operations:
                for each in ("read", "send") if kind == "both" else (kind,):
                    group.create_task(one(pool, each))
                await asyncio.sleep(pause_s)

    with capture_logs():
        virtually(work, ends, ends[:sending], PROPERTY_LIMITS)  # type: ignore[arg-type]

    for member in ends:
        check_budget([at * 1e9 for _, at, event in member.events if event == "begins"], 4, 4)
        check_rests(member)
        sent = [payload for payload in member.payloads if payload != "x"]
        assert len(sent) == len(set(sent))


async def test_a_real_endpoint_that_is_busy_is_left_alone_and_asked_once_on_the_wire():
    asked = []

    async def busy(request, _):
        asked.append(request["method"])
        return http(b"slow down", "429 Too Many", "retry-after: 60\r\n")

    async def fine(request, _):
        return result(request, 7)

    clock = StillClock()
    async with http_node(busy) as first, http_node(fine) as second:
        ends = [HttpRpc(url, clock, EvenRng(), limits=RpcLimits()) for url in (first, second)]
        async with Pool(ends, [], clock, EvenRng()) as pool:
            pool._comparing.cancel()  # type: ignore[union-attr]
            assert [await pool.call("getBalance", []) for _ in range(3)] == [7, 7, 7]
            assert [ends[0].counts.tries, ends[0].counts.rate_limited] == [1, 1]

    assert asked == ["getBalance"]


async def test_a_real_node_that_is_gone_hands_over_to_one_that_refuses_nothing():
    async def unhealthy(request, _):
        return error(request, -32005, "node is behind by 400 slots")

    async def fine(request, _):
        return result(request, in_context(5))

    clock = StillClock()
    async with http_node(fine) as url:
        gone = url
    async with http_node(unhealthy) as first, http_node(fine) as second:
        ends = [HttpRpc(url, clock, EvenRng()) for url in (gone, first, second)]
        pool = Pool(ends, [], clock, EvenRng())
        assert await Chain(pool).balance(ADDRESSES[0]) == 5
        assert [one.counts.tries for one in ends] == [1, 1, 1]
        await pool.aclose()
