"""`liqctl doctor`: a sound set-up, and every way of spoiling one of its parts."""

import json
import re
import sqlite3
import stat
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
from solders.keypair import Keypair
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

from liqctl.keeper import checkup_endpoints
from liqctl.keeper.checkup_host import disk_check, file_system_of, place_check
from liqctl.localnet.scenario import liquidator_key
from liqctl.ports import SystemClock
from liqctl.store.open import open_store
from tests.cli.chain_fixture import Chain, Desk, Run, chain, inside
from tests.cli.twisted_node import refusing, twisted
from tests.store.records import attempt, request

NOWHERE = "11111111111111111111111111111112"
CLOCK = "SysvarC1ock11111111111111111111111111111111"
TOKENS = "TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA"
MAINNET_GENESIS = "5eykt4UsFv8P8NJdTREpY1vzqKqZKvdpKuc147dw2N9d"
CLOSED_PORT = "127.0.0.1:1"
OF_CLUSTER = ["health", "history_search", "history_depth", "clock", "cluster", "program"]
OF_PROGRAM = ["markets", "market:BTC", "market:ETH", "market:SOL", "insurance_fund"]
OF_DATABASE = ["database_durability", "database_cluster", "live_attempts", "kill_switch"]
ALL = [
    *("rpc", *OF_CLUSTER, *OF_PROGRAM, "websocket", "key", "balance", "database"),
    *(*OF_DATABASE, "disk_space", "database_place", "limits"),
]


@pytest.fixture(scope="module")
def calm() -> Iterator[Chain]:
    with chain() as running:
        yield running


@pytest.fixture
def desk(calm: Chain, tmp_path: Path) -> Desk:
    return Desk(place=tmp_path, chain=calm)


def checked(done: Run) -> dict[str, dict[str, str]]:
    """Return the checks of a run by name; the exit code agrees with them."""
    answer = done.json
    assert set(answer) == {"type", "venue", "ok", "checks"}
    assert (answer["type"], answer["venue"]) == ("doctor", "reference")
    found = {one["name"]: one for one in answer["checks"]}
    assert len(found) == len(answer["checks"])
    assert all(set(one) == {"name", "state", "found", "hint"} for one in found.values())
    assert answer["ok"] == all(one["state"] != "fail" for one in found.values())
    assert (done.code == 0) == answer["ok"]
    return found


def doctor(desk: Desk, *options: object, **environment: str) -> dict[str, dict[str, str]]:
    signer = () if "-k" in options else ("-k", desk.key)
    return checked(desk.run("doctor", "--json", *signer, *options, **environment))


def failing(found: dict[str, dict[str, str]]) -> list[str]:
    return [name for name, one in found.items() if one["state"] == "fail"]


def test_a_sound_set_up_passes_every_check(desk):
    done = desk.run("doctor", "--json", "-k", desk.key)

    found = checked(done)
    assert done.code == 0
    assert list(found) == ALL
    assert {name for name, one in found.items() if one["state"] == "skipped"} == set(OF_DATABASE)
    assert all(one["state"] in {"ok", "skipped"} for one in found.values()), found
    assert "none yet" in found["database"]["found"]
    assert "price 150, published " in found["market:SOL"]["found"]
    assert "100,000,000,000 lamports (100 SOL)" in found["balance"]["found"]
    assert (
        "(0.000205 SOL); 50,000,000 lamports (0.05 SOL) an hour are 243"
        in (found["limits"]["found"])
    )
    assert [path.name for path in desk.place.iterdir()] == ["key.json"]


def test_people_see_a_line_for_each_check_with_its_hint(desk):
    desk.key.chmod(0o640)

    done = desk.run("doctor", "-k", desk.key)

    lines = done.out.splitlines()
    assert [line.split()[1] for line in lines] == ALL
    (key,) = [line for line in lines if line.split()[1] == "key"]
    assert key.startswith("fail ")
    assert key.endswith(f"(mode 0640); run: chmod 600 {desk.key}")
    assert (done.code, done.err) == (1, f"liqctl: 1 of {len(ALL)} checks failed\n")


def test_without_a_key_the_rest_is_still_checked(desk):
    found = doctor(desk, "-k", "none.json")

    assert failing(found) == ["key"]
    assert "solana-keygen" in found["key"]["hint"]
    assert found["balance"]["state"] == "skipped"


@pytest.mark.parametrize("source", ["prompt:", "ASK", "stdin:", "-"])
def test_nobody_is_asked_for_a_key(desk, source):
    found = doctor(desk, "-k", source)

    assert failing(found) == []
    assert (found["key"]["state"], found["balance"]["state"]) == ("warn", "skipped")


def test_a_public_key_is_watch_only(desk):
    found = doctor(desk, "-k", liquidator_key(1).pubkey())

    assert failing(found) == []
    assert (found["key"]["state"], found["balance"]["state"]) == ("warn", "skipped")
    assert "watch only" in found["key"]["found"]


@pytest.mark.parametrize("shape", [["--json"], []])
def test_nothing_of_a_secret_is_printed(desk, shape):
    key = liquidator_key(1)
    port = desk.chain.ready["rpc_url"].rpartition(":")[2]
    url = f"http://127.0.0.1:{port}/v2/PATHSECRET?api-key=QUERYSECRET"

    database = "sqlite://me:PASSWORDSECRET@host/file"

    done = inside(
        desk.place, "doctor", "-vv", *shape, "-k", desk.key, "-u", url, "--database", database
    )

    shown = done.out + done.err
    assert "SECRET" not in shown
    assert str(key) not in shown
    assert ", ".join(map(str, bytes(key)[:4])) not in shown
    assert "database" in shown


def test_a_node_that_is_down_skips_what_depends_on_it(desk):
    done = inside(desk.place, "doctor", "--json", "-k", desk.key, "-u", f"http://{CLOSED_PORT}")

    assert done.code == 4
    found = checked(done)
    assert failing(found) == ["rpc", "websocket"]
    states = {name: one["state"] for name, one in found.items()}
    skipped = [*OF_CLUSTER, "markets", "insurance_fund", "balance"]
    assert {states[name] for name in skipped} == {"skipped"}
    assert (states["key"], states["database"], states["limits"]) == ("ok", "ok", "ok")


def test_a_websocket_that_is_down(desk):
    found = doctor(desk, "--ws", f"ws://{CLOSED_PORT}")

    assert failing(found) == ["websocket"]
    assert "--ws" in found["websocket"]["hint"]


def test_a_websocket_that_says_nothing(desk, monkeypatch):
    monkeypatch.setattr(checkup_endpoints, "STREAM_S_MAX", 0.4)

    def mute(connection: ServerConnection) -> None:
        with suppress(ConnectionClosed):
            for _ in connection:
                pass

    with serve(mute, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        port = server.socket.getsockname()[1]
        found = doctor(desk, "--ws", f"ws://127.0.0.1:{port}")
        server.shutdown()
        thread.join(5)

    assert failing(found) == ["websocket"]


@pytest.mark.parametrize(
    ("program", "failed", "said"),
    [
        (NOWHERE, "program", "no program at"),
        (CLOCK, "program", "is an account, not a program"),
        (TOKENS, "markets", "no readable market"),
    ],
)
def test_a_wrong_program(desk, program, failed, said):
    found = doctor(desk, "--program-id", program)

    assert failing(found)[0] == failed
    assert said in found[failed]["found"]
    assert "--program-id" in found[failed]["hint"]
    if failed == "program":
        assert (found["markets"]["state"], found["insurance_fund"]["state"]) == ("skipped",) * 2


def test_prices_that_cannot_be_used(tmp_path):
    with chain() as running:
        desk = Desk(place=tmp_path, chain=running)
        running.raw_price("SOL", age_s=3_600)
        running.raw_price("BTC", confidence=65_000 * 10**8 // 10)
        running.raw_price("ETH")
        running.account(running.ready["prices"]["ETH"], None)

        found = doctor(desk)
        assert failing(found) == ["market:BTC", "market:ETH", "market:SOL"]
        words = [found[name]["found"].partition(",")[0] for name in failing(found)]
        assert words == ["price_too_wide", "price_missing", "price_stale"]
        assert running.ready["prices"]["SOL"] in found["market:SOL"]["hint"]

        denied = doctor(desk, LIQCTL_MARKETS_DENY="BTC,ETH,SOL")
        assert failing(denied) == []
        assert denied["market:SOL"]["state"] == "warn"
        assert denied["market:SOL"]["found"].startswith("price_stale, left out")

        running.raw_price("SOL", age_s=-3_600)
        early = doctor(desk)["market:SOL"]["found"]
        assert re.fullmatch(r"price_from_future, 3,[56]\d\d s ahead of the cluster", early)


@pytest.mark.parametrize(("off_ms", "way"), [(60_000, "ahead of"), (-60_000, "behind")])
def test_a_clock_that_is_off(desk, monkeypatch, off_ms, way):
    right = SystemClock.unix_ms
    monkeypatch.setattr(SystemClock, "unix_ms", lambda clock: right(clock) + off_ms)

    found = doctor(desk)

    assert failing(found) == []
    assert found["clock"]["state"] == "warn"
    assert f" s {way} the cluster" in found["clock"]["found"]


def test_a_market_that_cannot_be_read_hides_no_other(tmp_path):
    with chain() as running:
        desk = Desk(place=tmp_path, chain=running)
        address = next(iter(dict(running.ready["markets"]).values()))
        running.account(address, running.read(address)[:-1])

        found = doctor(desk)

        assert failing(found) == [f"market:{address}"]
        assert found["markets"]["found"] == "2 found"


def test_limits_of_our_own_on_prices(tmp_path):
    with chain() as running:
        desk = Desk(place=tmp_path, chain=running)
        running.raw_price("SOL", age_s=20)

        found = doctor(desk, LIQCTL_PRICE_MAX_AGE_S="10")

        assert failing(found) == ["market:SOL"]
        assert found["market:SOL"]["found"].startswith("price_older_than_own_limit, published ")


def test_a_balance_below_the_floor(desk):
    desk.key.write_text(json.dumps(list(bytes(Keypair.from_seed(bytes([7] * 32))))))

    found = doctor(desk)

    assert failing(found) == ["balance"]
    assert "0 lamports (0 SOL)" in found["balance"]["found"]


@pytest.mark.parametrize(("spare", "state"), [(204_999, "fail"), (205_000, "warn")])
def test_a_balance_that_hardly_carries_a_liquidation(desk, spare, state):
    floor = 100 * 10**9 - spare

    found = doctor(desk, LIQCTL_MIN_BALANCE_LAMPORTS=str(floor))

    assert found["balance"]["state"] == state


@pytest.mark.parametrize(
    ("hour", "state"), [(204_999, "fail"), (205_000, "warn"), (4_283_560, "ok")]
)
def test_limits_that_allow_no_liquidation(desk, hour, state):
    found = doctor(desk, LIQCTL_SPEND_HOUR_LAMPORTS=str(hour))

    assert found["limits"]["state"] == state


def kept(desk: Desk, genesis: str | None) -> None:
    """Leave a database with one live attempt behind."""
    with closing(open_store(f"sqlite:{desk.database}")) as store:
        claim = store.claim(request(), "gone", 1, 1_000)
        assert claim is not None
        assert store.record_attempt(claim, attempt(claim), 2)
        if genesis is not None:
            store.put_state("genesis", f'"{genesis}"', 3)


def test_a_database_with_work_left_in_it_is_read_and_not_changed(desk):
    kept(desk, None)
    before = desk.database.read_bytes()

    found = doctor(desk)

    assert failing(found) == []
    assert found["database"]["state"] == "ok"
    assert found["database_durability"]["found"] == "journal mode WAL, synchronous FULL"
    assert found["live_attempts"]["state"] == "warn"
    assert found["live_attempts"]["found"].startswith("1 not final yet")
    assert desk.database.read_bytes() == before


def test_a_database_of_another_cluster(desk):
    kept(desk, NOWHERE)

    found = doctor(desk)

    assert failing(found) == ["database_cluster"]
    assert NOWHERE in found["database_cluster"]["found"]


def test_a_database_whose_journal_is_not_a_write_ahead_log(desk):
    kept(desk, None)
    with closing(sqlite3.connect(desk.database)) as db:
        db.execute("PRAGMA journal_mode = DELETE")

    found = doctor(desk)

    assert found["database_durability"]["state"] == "warn"
    assert "DELETE" in found["database_durability"]["found"]


def test_a_database_that_others_may_read(desk):
    kept(desk, None)
    desk.database.chmod(0o644)

    found = doctor(desk)

    assert found["database"]["state"] == "warn"
    assert found["database"]["hint"] == f"run: chmod 600 {desk.database}"
    assert stat.S_IMODE(desk.database.stat().st_mode) == 0o644


@pytest.mark.parametrize("url", ["sqlite:key.json", "sqlite::memory:", "postgresql://h/d"])
def test_a_database_that_cannot_be_used(desk, url):
    found = doctor(desk, "--database", url)

    assert failing(found) == ["database"]
    assert found["database"]["hint"]
    assert {found[name]["state"] for name in OF_DATABASE} == {"skipped"}


def test_a_kill_switch_that_is_still_set(desk):
    kept(desk, None)
    assert doctor(desk)["kill_switch"]["state"] == "ok"

    with closing(open_store(f"sqlite:{desk.database}")) as store:
        store.put_state("kill_switch", '"stop"', 4)
    assert doctor(desk)["kill_switch"]["state"] == "warn"

    (desk.place / "STOP").touch()
    assert "STOP" in doctor(desk)["kill_switch"]["found"]


@pytest.mark.parametrize(
    ("method", "answer", "name", "state"),
    [
        ("getSignatureStatuses", refusing(-32011), "history_search", "fail"),
        ("getSignaturesForAddress", refusing(-32011), "history_search", "fail"),
        (
            "getSignatureStatuses",
            {"result": {"context": {"slot": 9}, "value": [None]}},
            "history_search",
            "fail",
        ),
        ("getFirstAvailableBlock", {"result": 2}, "history_depth", "warn"),
        ("getFirstAvailableBlock", refusing(-32011), "history_depth", "fail"),
        ("getHealth", refusing(-32005), "health", "fail"),
        ("getHealth", refusing(-32601), "health", "warn"),
        ("getProgramAccounts", refusing(-32010), "markets", "fail"),
        ("getSlot", {"result": 10**6}, "websocket", "warn"),
        ("getBalance", {"result": "much"}, "balance", "fail"),
    ],
)
def test_a_node_that_lacks_something(desk, method, answer, name, state):
    with twisted(desk.chain, **{method: answer}) as where:
        found = checked(inside(desk.place, "doctor", "--json", "-k", desk.key, *where))

    assert found[name]["state"] == state, found
    assert failing(found) == ([name] if state == "fail" else [])


def test_a_node_that_wants_a_key_cannot_be_used(desk):
    with twisted(desk.chain, getGenesisHash=refusing(401)) as where:
        done = inside(desk.place, "doctor", "--json", "-k", desk.key, *where)

    assert done.code == 4
    assert failing(checked(done)) == ["rpc"]


def test_the_cluster_is_named(desk):
    with twisted(desk.chain, getGenesisHash={"result": MAINNET_GENESIS}) as where:
        found = checked(inside(desk.place, "doctor", "--json", "-k", desk.key, *where))

    assert found["cluster"]["found"].startswith("mainnet-beta, ")


OF_FALLBACK = ["fallback_1", "fallback_1_history", "fallback_1_websocket"]


def test_a_second_endpoint_is_checked_too(desk):
    url = desk.chain.ready["rpc_url"]
    same = url.replace("127.0.0.1", "localhost")

    found = doctor(desk, "--fallback-url", same, "--fallback-url", url, "--send-url", url)

    assert failing(found) == []
    after = list(found)[list(found).index("websocket") + 1 :]
    assert after[:5] == [*OF_FALLBACK, "rpc_lag", "fallback_1_lag"]
    assert after[5] == "key"
    assert all(found[name]["state"] == "ok" for name in after[:5]), found
    assert found["fallback_1"]["found"].startswith("http://localhost:")


def test_a_fallback_that_is_down(desk):
    found = doctor(desk, "--fallback-url", f"http://{CLOSED_PORT}/KEYSECRET")

    assert failing(found) == ["fallback_1", "fallback_1_websocket"]
    assert found["fallback_1_history"]["state"] == "skipped"
    assert "rpc_lag" not in found
    assert "SECRET" not in str(found)


@pytest.mark.parametrize(
    ("method", "answer", "name", "state"),
    [
        ("getGenesisHash", {"result": MAINNET_GENESIS}, "fallback_1", "fail"),
        ("getSignatureStatuses", refusing(-32011), "fallback_1_history", "fail"),
        ("getSlot", {"result": 1}, "fallback_1_lag", "warn"),
        ("getSlot", {"result": 10**6}, "rpc_lag", "warn"),
        ("getSlot", refusing(-32005), "fallback_1_lag", "fail"),
    ],
)
def test_a_fallback_that_lacks_something(desk, method, answer, name, state):
    with twisted(desk.chain, **{method: answer}) as (_, url, *_):
        found = doctor(desk, "--fallback-url", url)

    assert found[name]["state"] == state, found
    assert found["fallback_1_websocket"]["state"] == "fail"


@pytest.mark.parametrize(
    ("answer", "state"),
    [(refusing(-32601), "warn"), ({"result": MAINNET_GENESIS}, "fail"), (refusing(401), "fail")],
)
def test_an_endpoint_that_is_only_sent_to(desk, answer, state):
    with twisted(desk.chain, getGenesisHash=answer) as (_, url, *_):
        found = doctor(desk, "--send-url", url)

    assert found["send_1"]["state"] == state
    assert failing(found) == (["send_1"] if state == "fail" else [])


MOUNTED = """\
22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw
30 22 0:5 / /srv rw - nfs4 box:/srv rw
31 30 0:6 / /srv/fast\\040disk rw - xfs /dev/sdb rw
40 22 0:7 / /run rw shared:1 - tmpfs tmpfs rw
"""


@pytest.mark.parametrize(
    ("file", "kind", "state"),
    [
        ("/var/a.db", "ext4", "ok"),
        ("/srv/a.db", "nfs4", "fail"),
        ("/srvx/a.db", "ext4", "ok"),
        ("/srv/fast disk/a.db", "xfs", "ok"),
        ("/run/a.db", "tmpfs", "warn"),
    ],
)
def test_a_database_belongs_on_a_local_disk(file, kind, state):
    assert file_system_of(Path(file), MOUNTED) == kind
    assert place_check(kind).state == state


def test_a_host_without_a_table_of_mounts_is_not_accused():
    assert file_system_of(Path("/a"), "") is None
    assert place_check(None).state == "ok"


@pytest.mark.parametrize(
    ("mebibytes", "state"), [(0, "fail"), (255, "fail"), (256, "warn"), (2_048, "ok")]
)
def test_a_disk_that_is_nearly_full(mebibytes, state):
    assert disk_check(mebibytes * 2**20).state == state
