"""The database goes away at every moment: nothing acknowledged is lost, no restart is needed."""

import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress

import psycopg
import pytest

from liqctl.core.intent import AttemptState, Ending, IntentState
from liqctl.errors import StoreBusy, StoreError
from liqctl.ports import Store
from liqctl.store import postgres_link
from liqctl.store.open import open_store
from tests.store.cutting_proxy import Cut, CuttingProxy
from tests.store.postgres_server import fresh_url, server
from tests.store.records import attempt, liquidation, request

LEASE_MS = 60_000
CRASHES = 3
DEADLINE_S = 40


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lost connection is made again without a pause."""
    monkeypatch.setattr(postgres_link, "PAUSE_MS", 0)


@pytest.fixture(scope="module")
def url() -> str:
    url = fresh_url("outage")
    open_store(url).close()
    return url


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    with closing(open_store(url)) as store:
        yield store


@pytest.fixture
def proxy() -> Iterator[CuttingProxy]:
    with CuttingProxy(server().folder, server().port) as proxy:
        yield proxy


def liquidate(store: Store, position: str, said: list[tuple[str, str]]) -> None:
    """Go the way of one liquidation; what has been acknowledged is said."""
    claim = store.claim(request(position), "me", 0, LEASE_MS)
    if claim is None:
        return
    signature = f"{claim.key}/{claim.attempts + 1}"
    row = attempt(claim, signature, claim.attempts + 1, position=position)
    if not store.record_attempt(claim, row, 0):
        return
    said.append(("recorded", signature))
    store.mark_sent(signature, 0)
    finish(store, signature, position)
    said.append(("ended", signature))


def finish(store: Store, signature: str, position: str) -> None:
    store.end_attempt(
        signature,
        Ending(state=AttemptState.FINALIZED_OK, final_slot=9, fee_lamports=5_000),
        liquidation=liquidation(signature, position_pubkey=position),
        failure=None,
        intent_state=IntentState.DONE,
        now_ms=1,
    )


def test_crashes_in_the_middle_of_everything_lose_nothing_that_was_acknowledged(url, store):
    said: list[tuple[str, str]] = []
    failures: list[StoreError] = []
    end = threading.Event()

    def work() -> None:
        n = 0
        while not end.is_set():
            n += 1
            try:
                for known in store.live_attempts():
                    finish(store, known.signature, known.position)
                liquidate(store, f"crash{n}", said)
            except StoreError as error:
                failures.append(error)
                time.sleep(0.01)

    worker = threading.Thread(target=work)
    worker.start()
    deadline = time.monotonic() + DEADLINE_S
    for _ in range(CRASHES):
        before = len(said)
        while len(said) < before + 20:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        server().restart()
    before = len(said)
    while len(said) < before + 20:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    end.set()
    worker.join()

    assert failures
    assert all(isinstance(error, StoreBusy) for error in failures)
    with psycopg.connect(url) as db:
        states: dict[str, str] = dict(db.execute("SELECT sig, state FROM attempt").fetchall())
        rows = {sig for (sig,) in db.execute("SELECT signature FROM liquidations")}
        events = db.execute(
            "SELECT COUNT(*), MAX(seq), (SELECT seq FROM event_counter) FROM events"
        ).fetchone()
    assert len(set(said)) == len(said)
    assert {signature for _, signature in said} <= states.keys()
    assert {signature for word, signature in said if word == "ended"} <= rows
    assert {sig for sig, state in states.items() if state == "FINALIZED_OK"} == rows
    assert events == (len(rows),) * 3


def test_while_the_database_is_away_nothing_can_be_recorded_and_then_it_can(store):
    claim = store.claim(request("away"), "me", 0, LEASE_MS)
    assert claim is not None
    server().crash()
    try:
        for _ in range(2):
            with pytest.raises(StoreBusy, match="cannot be reached"):
                store.record_attempt(claim, attempt(claim, "away", position="away"), 0)
        with pytest.raises(StoreBusy):
            store.live_attempts()
    finally:
        server().start()

    assert store.record_attempt(claim, attempt(claim, "away", position="away"), 0)


def test_right_after_a_failure_nothing_is_tried_so_that_a_row_of_calls_does_not_wait_each(
    store, monkeypatch
):
    monkeypatch.setattr(postgres_link, "PAUSE_MS", 3_600_000)
    server().crash()
    try:
        with pytest.raises(StoreBusy) as first:
            store.queue()
    finally:
        server().start()

    with pytest.raises(StoreBusy) as second:
        store.queue()
    assert str(second.value) == str(first.value)


def test_a_restart_between_two_calls_is_not_even_noticed(store):
    store.put_state("x", "1", 1)
    server().restart()

    assert store.state("x") == ("1", 1)


@pytest.mark.parametrize("cut", Cut)
def test_of_a_commit_without_an_answer_it_is_read_what_became_of_it(url, store, proxy, cut):
    position = f"cut-{cut.name}"
    through = open_store(url.replace(str(server().folder), proxy.host))
    claim = through.claim(request(position), "me", 0, LEASE_MS)
    assert claim is not None
    proxy.cut = cut

    try:
        answer: object = through.record_attempt(
            claim, attempt(claim, cut.name, position=position), 0
        )
    except StoreError:
        answer = StoreError
    proxy.deliver()

    assert proxy.cuts == 1
    committed = cut is Cut.AFTER
    assert answer is (True if committed else StoreError)
    assert (store.intent_of(cut.name) is not None) == committed
    if not committed:
        assert through.record_attempt(claim, attempt(claim, cut.name, position=position), 0)
    through.close()


def test_a_transaction_that_may_still_commit_is_waited_for_not_called_lost(
    url, store, proxy, monkeypatch
):
    monkeypatch.setattr(postgres_link, "END_FORMER_SELF", "SELECT %(name)s")
    monkeypatch.setattr(postgres_link, "SESSION", postgres_link.SESSION.replace("2s", "100ms"))
    through = open_store(url.replace(str(server().folder), proxy.host))
    through.put_state("x", "1", 1)
    proxy.cut = Cut.DELAYED

    with pytest.raises(StoreBusy, match="whether the last write was kept is not known"):
        through.put_state("late", "1", 1)
    proxy.deliver()

    deadline = time.monotonic() + DEADLINE_S
    while store.state("late") is None:
        assert time.monotonic() < deadline
    through.close()


@pytest.mark.parametrize("cut", [Cut.BEFORE, Cut.AFTER])
def test_what_cannot_be_written_twice_is_written_once(url, store, proxy, cut):
    through = open_store(url.replace(str(server().folder), proxy.host))
    through.put_state("x", "1", 1)
    last = store.last_seq()
    proxy.cut = cut

    with suppress(StoreError):
        assert through.append_event("queue", "{}", 1) == last + 1

    assert store.last_seq() == last + (cut is Cut.AFTER)
    through.close()


def test_if_the_database_stays_away_the_error_says_that_the_outcome_is_unknown(url, store):
    with CuttingProxy(server().folder, server().port) as proxy:
        through = open_store(url.replace(str(server().folder), proxy.host))
        through.put_state("x", "1", 1)
        proxy.cut = Cut.AFTER
        proxy.refuses_from_then_on = True

        with pytest.raises(StoreBusy, match="whether the last write was kept is not known"):
            through.put_state("unknown", "1", 1)
        proxy.refuses_from_then_on = False

        assert through.state("unknown") == ("1", 1)
        through.close()


def test_a_server_that_falls_silent_is_not_waited_for(url, monkeypatch):
    monkeypatch.setattr(postgres_link.Connection, "answer_s", 0.3)
    with CuttingProxy(server().folder, server().port) as proxy:
        through = open_store(url.replace(str(server().folder), proxy.host))
        proxy.silent = True

        with pytest.raises(StoreBusy, match=r"cannot be reached .the server has fallen silent"):
            through.queue()
        proxy.silent = False

        assert through.queue() == []
        through.close()


def test_a_wait_that_is_under_way_is_cut_short_when_the_program_ends(url, monkeypatch):
    monkeypatch.setattr(postgres_link, "HURRIED_S", 0.2)
    monkeypatch.setattr(postgres_link.Connection, "answer_s", 3_600)
    with CuttingProxy(server().folder, server().port) as proxy:
        through = open_store(url.replace(str(server().folder), proxy.host))
        proxy.silent = True
        hurrying = threading.Timer(0.3, through.hurry)
        hurrying.start()

        with pytest.raises(StoreBusy, match="the server has fallen silent"):
            through.queue()
        hurrying.join()
        proxy.silent = False
        through.queue()
        proxy.silent = True
        with pytest.raises(StoreBusy, match="the server has fallen silent"):
            through.queue()
        proxy.silent = False
        through.close()


def test_a_lock_of_another_session_is_waited_for_and_then_busy(url, store):
    store.put_state("locked", "1", 1)
    store._link.connected().execute("SET lock_timeout = '50ms'")
    with psycopg.connect(url) as other:
        other.execute("UPDATE state SET at_ms = 2 WHERE name = 'locked'")

        with pytest.raises(StoreBusy, match="is locked by another process"):
            store.put_state("locked", "2", 3)
    store.put_state("locked", "2", 3)
    assert store.state("locked") == ("2", 3)
