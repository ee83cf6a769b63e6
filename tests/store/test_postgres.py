"""The store on a real PostgreSQL keeps every promise of the contract, and some of its own."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import replace
from types import SimpleNamespace

import psycopg
import pytest

from liqctl.core.record import QueueOrder
from liqctl.errors import StoreError
from liqctl.ports import Store
from liqctl.store.open import open_store
from liqctl.store.postgres import PostgresStore
from liqctl.store.postgres_link import Link
from tests.store.contract import StoreContract
from tests.store.postgres_server import fresh_url, server, told_store
from tests.store.records import ERR, attempt, failure, position_row, queue_row, request
from tests.store.steps import end

HOUR_MS = 3_600_000


class TestPostgresStore(StoreContract):
    @pytest.fixture
    def store(self) -> Store:
        return told_store()


@pytest.fixture(scope="module")
def url() -> str:
    """A schema that is made once and has the real clock; each test takes positions of its own."""
    url = fresh_url("real")
    open_store(url).close()
    return url


@pytest.fixture
def stores(url: str) -> Iterator[tuple[Store, Store]]:
    one, other = open_store(url), open_store(url, create=False)
    yield one, other
    one.close()
    other.close()


def link_of(store: Store) -> Link:
    assert isinstance(store, PostgresStore)
    return store._link


@pytest.mark.parametrize("off_ms", [-HOUR_MS, HOUR_MS, -(10**12)])
def test_a_lease_is_compared_with_the_databases_clock_not_with_the_callers(stores, off_ms):
    one, other = stores
    position = f"clock{off_ms}"
    now_ms = 1_800_000_000_000
    claim = one.claim(request(position), "one", now_ms, 60_000)
    assert claim is not None

    assert other.claim(request(position), "other", now_ms + off_ms, 60_000) is None
    assert other.adopt(claim.intent_id, "other", now_ms + off_ms, 60_000) is None
    assert one.renew(claim, now_ms + off_ms, 60_000)
    signed = attempt(claim, f"s{off_ms}", position=position)
    assert one.record_attempt(claim, signed, now_ms + off_ms)


def test_a_lease_that_has_ended_by_the_databases_clock_is_nobodys(stores):
    one, other = stores
    claim = one.claim(request("ended"), "one", 0, 0)
    assert claim is not None

    assert not one.renew(claim, 0, 60_000)
    assert not one.record_attempt(claim, attempt(claim, "ended", position="ended"), 0)
    taken = other.claim(request("ended"), "other", 0, 60_000)
    assert taken == replace(claim, owner="other", fence=2)


def test_of_two_that_record_the_same_step_at_once_one_gets_the_claim(url, stores):
    one, other = stores
    with psycopg.connect(url) as held:
        held.execute("SET lock_timeout = 0")
        held.execute(
            "INSERT INTO intent (key, state, owner, fence, lease_until, decision_slot,"
            " snapshot_json, created, updated, venue, program, position, generation, step)"
            " VALUES ('prog:race:7:1', 'NEW', 'third', 1, db_now_ms() + 60000, 1, '{}', 0, 0,"
            " 'v', 'prog', 'race', 7, 1)"
        )
        claims: list[object] = []
        waiting = threading.Thread(
            target=lambda: claims.append(one.claim(request("race"), "one", 0, 60_000))
        )
        waiting.start()
        waiting.join(0.1)
        assert claims == []
        held.commit()
        waiting.join()

    assert claims == [None]
    assert other.claim(request("race"), "other", 0, 60_000) is None


def test_a_claim_does_not_wait_for_whoever_holds_the_row(url, stores):
    one, _ = stores
    claim = one.claim(request("held"), "one", 0, 60_000)
    assert claim is not None
    with psycopg.connect(url) as held:
        held.execute("SELECT 1 FROM intent WHERE id = %s FOR UPDATE", [claim.intent_id])

        assert one.adopt(claim.intent_id, "one", 0, 60_000) is None
    assert one.adopt(claim.intent_id, "one", 0, 60_000) is not None


def test_an_intent_ends_after_an_attempt_is_recorded_or_before_never_meanwhile(url, stores):
    one, other = stores
    claim = one.claim(request("meanwhile"), "one", 0, 60_000)
    assert claim is not None
    with psycopg.connect(url) as held:
        held.execute("UPDATE intent SET state = 'GONE' WHERE id = %s", [claim.intent_id])
        recorded: list[bool] = []
        signed = attempt(claim, "meanwhile", position="meanwhile")
        waiting = threading.Thread(
            target=lambda: recorded.append(one.record_attempt(claim, signed, 0))
        )
        waiting.start()
        waiting.join(0.1)
        assert recorded == []
        held.commit()
        waiting.join()

    assert recorded == [False]
    assert other.intent_of("meanwhile") is None


def test_a_lease_that_ends_while_the_row_is_waited_for_has_ended(url, stores):
    one, _ = stores
    claim = one.claim(request("waited"), "one", 0, 300)
    assert claim is not None
    recorded: list[bool] = []
    signed = attempt(claim, "waited", position="waited")
    with psycopg.connect(url) as held:
        held.execute("SELECT 1 FROM intent WHERE id = %s FOR UPDATE", [claim.intent_id])
        waiting = threading.Thread(
            target=lambda: recorded.append(one.record_attempt(claim, signed, 0))
        )
        waiting.start()
        ended = "SELECT lease_until < db_now_ms() FROM intent WHERE id = %s"
        while held.execute(ended, [claim.intent_id]).fetchone() == (False,):
            waiting.join(0.02)
        held.commit()
        waiting.join()

    assert recorded == [False]


def test_of_two_that_end_one_attempt_at_once_one_writes_what_follows(stores):
    one, other = stores
    assert isinstance(one, PostgresStore)
    claim = one.claim(request("ended twice"), "one", 0, 60_000)
    assert claim is not None
    assert one.record_attempt(claim, attempt(claim, "twice", position="ended twice"), 0)
    failed = failure(position_pubkey="ended twice", signature="twice")
    read = one._sql.attempt_state

    def finish(store: Store) -> None:
        end(store, ERR, "twice", failed=failed)

    theirs = threading.Thread(target=lambda: finish(other))

    def attempt_state(db: object, **only: object) -> object:
        found = read(db, **only)
        theirs.start()
        theirs.join(0.1)
        return found

    one._sql = SimpleNamespace(**{**vars(one._sql), "attempt_state": attempt_state})
    finish(one)
    theirs.join()

    assert len(one.recent_failures(position="ended twice")) == 1


def test_numbers_of_events_become_visible_in_order_without_a_gap(url):
    writers = [open_store(url) for _ in range(3)]
    with closing(open_store(url, read_only=True)) as reader:
        start = last = reader.last_seq()

        def write(store: Store) -> None:
            for n in range(40):
                store.append_event("queue", "{}", n)
                if n % 10 == 0:
                    with pytest.raises(StoreError):
                        store.append_event("queue", "not json", n)

        threads = [threading.Thread(target=write, args=(store,)) for store in writers]
        for thread in threads:
            thread.start()
        while last < start + 120:
            seen = [row.seq for row in reader.events_since(last, 1_000)]
            assert seen == [*range(last + 1, last + 1 + len(seen))]
            last += len(seen)
        for thread in threads:
            thread.join()
        assert reader.last_seq() == last
    for store in writers:
        store.close()


def test_two_keepers_that_write_the_same_rows_in_different_order_do_not_block_each_other(stores):
    rows = [queue_row(f"same{n}") for n in range(60)]
    gone = [f"gone{n}" for n in range(10)]

    def write(store: Store, order: int) -> None:
        for _ in range(15):
            store.put_queue(rows[::order], gone[::order])
            store.put_positions([position_row(row.position) for row in rows[::order]], [])

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(write, stores[0], 1), pool.submit(write, stores[1], -1)]:
            done.result()


@pytest.mark.parametrize("position", ["late", "taken"])
def test_an_order_given_while_others_are_taken_is_taken_next(stores, position):
    one, other = stores
    assert isinstance(one, PostgresStore)
    one.put_queue([queue_row("late"), queue_row("taken")], [])
    one.set_order("taken", QueueOrder.RETRY)
    read, interfere = one._sql.rows_with_orders, iter([None, other.set_order])

    def rows_with_orders(db: object, **only: object) -> list[object]:
        found = [*read(db, **only)]
        if set_order := next(interfere, None):
            set_order(position, QueueOrder.DROP)
        return found

    one._sql = SimpleNamespace(**{**vars(one._sql), "rows_with_orders": rows_with_orders})

    first, second = one.take_orders(1), one.take_orders(2)

    assert [(row.position, row.order) for row in first + second] == [
        *([("taken", "retry")] if position == "late" else []),
        (position, "drop"),
    ]
    assert position not in {row.position for row in one.queue()}
    assert position in {excluded.position for excluded in one.exclusions()}


def test_the_version_is_another_one_after_a_commit_of_somebody_else(stores):
    one, other = stores
    before = one.version()
    assert one.version() == before

    other.put_state("x", "2", 2)

    assert one.version() != before


def test_a_transaction_that_began_first_and_ended_last_changes_the_version_too(url, stores):
    one, other = stores
    with psycopg.connect(url) as slow:
        slow.execute("UPDATE state SET at_ms = 1 WHERE name = 'nothing'")
        slow.execute("INSERT INTO state VALUES ('slow', '1', 1)")
        other.put_state("fast", "1", 1)
        before = one.version()
        slow.commit()

    assert one.version() != before


def test_a_reader_writes_nothing(url):
    with closing(open_store(url, create=False, read_only=True)) as reader:
        with pytest.raises(StoreError, match="read-only"):
            reader.append_event("queue", "{}", 1)
        assert reader.firing() == []


def test_a_transaction_in_which_a_statement_failed_is_not_taken_for_committed(stores):
    one, _ = stores
    assert isinstance(one, PostgresStore)

    def write() -> None:
        with one._writing() as db:
            one._sql.put_state(db, name="half", value_json="1", now_ms=1)
            with suppress(psycopg.DataError):
                db.execute("SELECT 1 / 0")

    with pytest.raises(StoreError, match="rolled back"):
        write()
    assert one.state("half") is None


def test_text_of_any_origin_is_kept_as_far_as_a_database_can(stores):
    one, _ = stores
    one.record_failure(failure(detail="zero \0, half \ud800, é", position_pubkey="odd"))

    [row] = one.recent_failures(position="odd")
    assert row.detail == "zero \N{REPLACEMENT CHARACTER}, half ?, é"


def test_a_closed_store_says_so_and_leaves_no_row_behind(url):
    store = open_store(url)
    store.put_state("x", "1", 1)
    with psycopg.connect(url) as db:
        [rows] = db.execute("SELECT COUNT(*) FROM writer").fetchall()
        assert rows != (0,)
    store.close()
    store.close()

    with pytest.raises(StoreError, match="closed"):
        store.queue()
    with psycopg.connect(url) as db:
        assert db.execute("SELECT COUNT(*) FROM writer").fetchall() == [(0,)]


def test_every_session_waits_a_bounded_time_and_commits_to_disk(url, stores):
    one, _ = stores
    db = link_of(one).connected()
    settings = "statement_timeout", "lock_timeout", "synchronous_commit"
    rows = db.execute("SELECT name, current_setting(name) AS value FROM pg_settings").fetchall()
    said = [row["value"] for name in settings for row in rows if row["name"] == name]

    assert said == ["5s", "2s", "on"]
    with server().admin() as admin:
        admin.execute("ALTER ROLE postgres SET synchronous_commit = off")
    try:
        with closing(open_store(url)) as store:
            again = link_of(store).connected().execute("SHOW synchronous_commit").fetchone()
        assert again == {"synchronous_commit": "on"}
    finally:
        with server().admin() as admin:
            admin.execute("ALTER ROLE postgres RESET synchronous_commit")
