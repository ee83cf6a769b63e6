"""Files that are missing, foreign, damaged, locked or full: one clear error each."""

import os
import shutil
import sqlite3
import stat
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from liqctl.errors import SettingsError, StoreBusy, StoreError, StoreUnusable
from liqctl.store.open import open_store, sqlite_path
from liqctl.store.sqlite import SqliteStore
from liqctl.store.version import SCHEMA_VERSION
from tests.store.records import attempt, request

NOBODY = 65_534


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "liqctl.db"
    open_store(f"sqlite:{path}").close()
    return path


def impatient(path: Path, *, read_only: bool = False) -> SqliteStore:
    return SqliteStore.open(str(path), create=False, read_only=read_only, busy_timeout_ms=50)


@contextmanager
def ordinary_user() -> Iterator[Path]:
    """Give a directory of an ordinary user and be that user: root is refused nothing."""
    folder = Path(tempfile.mkdtemp(prefix="liqctl-store-"))
    was_root = os.geteuid() == 0
    if was_root:
        os.chown(folder, NOBODY, NOBODY)
        os.seteuid(NOBODY)
    try:
        yield folder
    finally:
        folder.chmod(0o700)
        for inner in folder.glob("*/"):
            inner.chmod(0o700)
        if was_root:
            os.seteuid(0)
        shutil.rmtree(folder)


@pytest.mark.parametrize(
    "url, path",
    [
        ("sqlite:liquidation_engine.db", "liquidation_engine.db"),
        ("sqlite:/var/lib/l.db", "/var/lib/l.db"),
        ("sqlite:///l.db", "l.db"),
        ("sqlite:////var/lib/l.db", "/var/lib/l.db"),
        ("sqlite::memory:", ":memory:"),
        ("sqlite+aiosqlite:///l.db", "l.db"),
        ("sqlite+pysqlite:////var/lib/l.db", "/var/lib/l.db"),
        ("sqlite:~/l.db", str(Path("~/l.db").expanduser())),
    ],
)
def test_a_url_names_a_file(url, path):
    assert sqlite_path(url) == path


@pytest.mark.parametrize(
    "url, text",
    [
        ("postgres://u:secret@h/db", "sqlite:FILE"),
        ("mysql://u:secret@h/db", "sqlite:FILE"),
        ("liqctl.db", "sqlite:FILE"),
        ("", "sqlite:FILE"),
        ("sqlite:", "names no file"),
        ("sqlite:///", "names no file"),
        ("sqlite://l.db", "two slashes"),
        ("sqlite:l.db?mode=rwc", "options are not understood"),
    ],
)
def test_a_url_that_is_not_understood_is_a_setting_to_correct(url, text):
    with pytest.raises(SettingsError, match=text) as caught:
        sqlite_path(url)
    assert "secret" not in str(caught.value)


def test_three_slashes_are_not_guessed_to_be_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    with pytest.raises(SettingsError, match="relative path"):
        sqlite_path(f"sqlite://{tmp_path}/l.db")


def test_a_place_that_cannot_be_looked_at_is_not_taken_for_a_new_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    with pytest.raises(SettingsError, match="relative path"):
        sqlite_path(f"sqlite:///{'a' * 300}/l.db")


def test_file_and_directory_are_for_their_owner_only(tmp_path):
    path = tmp_path / "state" / "liqctl.db"
    store = open_store(f"sqlite:{path}")
    store.put_state("keeper", "{}", 1)

    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    modes = {f.name: stat.S_IMODE(f.stat().st_mode) for f in path.parent.iterdir()}
    assert modes == {"liqctl.db": 0o600, "liqctl.db-wal": 0o600, "liqctl.db-shm": 0o600}
    store.close()


def test_the_connection_is_durable(path):
    store = impatient(path)

    def pragma(name):
        return store._connection.execute(f"PRAGMA {name}").fetchone()[0]

    assert pragma("journal_mode") == "wal"
    assert pragma("synchronous") == 2
    assert pragma("foreign_keys") == 1
    assert pragma("busy_timeout") == 50
    store.close()
    store = SqliteStore.open(str(path), create=True, read_only=False, busy_timeout_ms=5_000)
    assert pragma("busy_timeout") == 5_000
    store.close()


@pytest.mark.parametrize("read_only", [True, False])
def test_a_missing_database_names_the_command_that_creates_it(tmp_path, read_only):
    missing = tmp_path / "sub" / "none.db"

    with pytest.raises(SettingsError, match=r"none\.db: `liqctl watch` creates it") as caught:
        open_store(f"sqlite:{missing}", create=False, read_only=read_only)
    assert caught.value.exit_code == 2
    assert not missing.parent.exists()


def test_reading_never_creates(tmp_path):
    with pytest.raises(SettingsError):
        open_store(f"sqlite:{tmp_path / 'none.db'}", create=True, read_only=True)


def refuses(
    path: Path,
    text: str,
    *,
    read_only: bool = False,
    kind: type[StoreError] = StoreUnusable,
) -> None:
    with pytest.raises(kind, match=text) as caught:
        impatient(path, read_only=read_only)
    assert caught.value.exit_code == kind.exit_code
    assert path.name in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("read_only", [True, False])
def test_a_directory_is_not_a_database(tmp_path, read_only):
    refuses(tmp_path, "is a directory", read_only=read_only)


def test_a_device_is_not_a_database():
    refuses(Path("/dev/null"), "not a regular file")


def test_a_path_through_a_file_is_refused(path):
    with pytest.raises(StoreUnusable, match="cannot be reached"):
        open_store(f"sqlite:{path}/x/y.db")


@pytest.mark.parametrize("read_only", [True, False])
def test_a_text_file_is_not_a_database(tmp_path, read_only):
    path = tmp_path / "notes.db"
    path.write_text("these are notes, and there are enough of them to look like a header\n" * 20)

    refuses(path, "not a SQLite database", read_only=read_only)
    assert path.read_text().startswith("these are notes")


@pytest.mark.parametrize("read_only", [True, False])
def test_the_database_of_another_program_is_left_alone(tmp_path, read_only):
    path = tmp_path / "other.db"
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE songs (name)")
    other.close()
    before = path.read_bytes()

    refuses(path, "another program", read_only=read_only)
    with sqlite3.connect(path) as after:
        assert after.execute("SELECT name FROM sqlite_schema").fetchall() == [("songs",)]
    after.close()
    assert len(path.read_bytes()) == len(before)


@pytest.mark.parametrize("read_only", [True, False])
def test_a_newer_schema_is_refused(path, read_only):
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 99")
    db.close()

    knows = f"this liqctl knows {SCHEMA_VERSION}"
    refuses(path, f"has schema 99, {knows}: update liqctl", read_only=read_only)


def test_an_empty_file_becomes_a_database_but_not_by_reading(tmp_path):
    path = tmp_path / "empty.db"
    path.touch()

    refuses(path, "empty or older", read_only=True)
    store = impatient(path)
    assert store.queue() == []
    store.close()


def test_a_damaged_file_is_noticed_at_the_start(path):
    db = sqlite3.connect(path)
    rows = [("queue", 1, f'{{"n":{i}}}') for i in range(2_000)]
    db.executemany("INSERT INTO events (kind, at_ms, body_json) VALUES (?, ?, ?)", rows)
    db.commit()
    db.close()
    content = bytearray(path.read_bytes())
    content[-40_000:-20_000] = b"\xff" * 20_000
    path.write_bytes(content)

    refuses(path, "is damaged")


def test_a_read_only_file_is_refused_for_writing_and_fine_for_reading():
    with ordinary_user() as folder:
        path = folder / "liqctl.db"
        open_store(f"sqlite:{path}").close()
        path.chmod(0o400)

        refuses(path, "is read-only for this user; change")
        store = impatient(path, read_only=True)
        assert store.queue() == []
        store.close()


def test_a_read_only_directory_is_refused_for_writing():
    with ordinary_user() as folder:
        path = folder / "liqctl.db"
        open_store(f"sqlite:{path}").close()
        folder.chmod(0o500)

        refuses(path, f"the directory {folder} is read-only")


def test_a_database_at_rest_in_a_read_only_directory_can_be_read():
    with ordinary_user() as folder:
        path = folder / "liqctl.db"
        store = open_store(f"sqlite:{path}")
        store.append_event("queue", "{}", 1)
        store.close()
        folder.chmod(0o500)

        reader = impatient(path, read_only=True)

        assert reader.last_seq() == 1
        reader.close()


def test_a_log_in_a_read_only_directory_is_not_passed_over():
    with ordinary_user() as folder:
        path = folder / "liqctl.db"
        store = open_store(f"sqlite:{path}")
        store.append_event("queue", "{}", 1)
        copy = folder / "copies" / "liqctl.db"
        copy.parent.mkdir()
        for suffix in ("", "-wal"):
            Path(f"{copy}{suffix}").write_bytes(Path(f"{path}{suffix}").read_bytes())
        store.close()
        copy.parent.chmod(0o500)

        refuses(copy, "cannot be opened; look at the permissions", read_only=True)


def test_a_directory_that_must_not_be_written_cannot_get_a_database():
    with ordinary_user() as folder:
        folder.chmod(0o500)

        with pytest.raises(StoreUnusable, match=r"x\.db cannot be reached or created: Permission"):
            open_store(f"sqlite:{folder}/sub/x.db")
        with pytest.raises(StoreUnusable, match=r"x\.db cannot be reached or created: Permission"):
            open_store(f"sqlite:{folder}/x.db")


def test_an_unreadable_file_is_refused():
    with ordinary_user() as folder:
        path = folder / "liqctl.db"
        open_store(f"sqlite:{path}").close()
        path.chmod(0o000)

        refuses(path, "must not be read by this user", read_only=True)


def test_a_lock_of_another_writer_is_waited_for_and_then_busy(path):
    store, other = impatient(path), sqlite3.connect(path, isolation_level=None)
    claim = store.claim(request(), "me", 0, 20_000)
    assert claim is not None
    other.execute("BEGIN IMMEDIATE")

    with pytest.raises(StoreBusy, match=r"liqctl\.db is locked by another process"):
        store.record_attempt(claim, attempt(claim), 1)
    assert store.live_attempts() == []
    other.execute("ROLLBACK")
    assert store.record_attempt(claim, attempt(claim), 1)
    other.close()
    store.close()


def test_opening_an_up_to_date_database_does_not_wait_for_its_writer(path):
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    impatient(path).close()
    impatient(path, read_only=True).close()
    other.close()


def test_creating_a_database_waits_for_the_lock(tmp_path):
    path = tmp_path / "x.db"
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")

    refuses(path, "locked", kind=StoreBusy)
    other.close()


@pytest.mark.parametrize("lock", ["BEGIN; SELECT * FROM sqlite_schema", "BEGIN IMMEDIATE"])
def test_the_first_switch_to_a_log_waits_for_whoever_uses_the_file(tmp_path, lock):
    path = tmp_path / "x.db"
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("PRAGMA application_id = 0")
    for statement in lock.split(";"):
        other.execute(statement).fetchall()
    release = threading.Timer(0.2, other.execute, ["ROLLBACK"])
    release.start()

    store = open_store(f"sqlite:{path}")

    assert store.last_seq() == 0
    release.join()
    other.close()
    store.close()


def test_a_write_takes_the_lock_before_it_reads(path):
    store = impatient(path)
    statements: list[str] = []
    store._connection.set_trace_callback(statements.append)

    claim = store.claim(request(), "me", 0, 20_000)
    assert claim is not None
    store.record_attempt(claim, attempt(claim), 1)

    begun = [s for s in statements if s.startswith(("BEGIN", "COMMIT"))]
    assert begun == ["BEGIN IMMEDIATE", "COMMIT"] * 2
    assert statements[0] == "BEGIN IMMEDIATE"
    assert statements[-1] == "COMMIT"
    store.close()


def test_a_full_disk_writes_nothing_and_needs_no_restart(path):
    store = impatient(path)
    claim = store.claim(request(), "me", 0, 20_000)
    assert claim is not None
    pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
    store._connection.execute(f"PRAGMA max_page_count = {pages}")

    with pytest.raises(StoreError, match=r"disk of the database .*liqctl\.db is full"):
        store.record_attempt(claim, attempt(claim, raw=b"x" * 100_000), 1)
    assert store.live_attempts() == []
    store._connection.execute("PRAGMA max_page_count = 100000")
    assert store.record_attempt(claim, attempt(claim, raw=b"x" * 100_000), 1)
    store.close()


def test_an_integer_that_does_not_fit_is_refused(path):
    store = impatient(path)
    claim = store.claim(request(), "me", 0, 20_000)
    assert claim is not None

    with pytest.raises(StoreError, match="too large"):
        store.record_attempt(claim, attempt(claim, last_valid_block_height=2**64), 1)
    assert store.live_attempts() == []
    store.close()


def test_a_closed_store_says_so(path):
    store = impatient(path)
    store.close()
    store.close()

    with pytest.raises(StoreError, match="closed"):
        store.queue()


def test_a_reader_sees_every_commit_and_writes_nothing(path):
    keeper = impatient(path)
    reader = impatient(path, read_only=True)

    for n in range(3):
        keeper.append_event("queue", "{}", n)
        assert reader.last_seq() == n + 1
    for write in (
        lambda: reader.append_event("queue", "{}", 1),
        lambda: reader.claim(request(), "me", 0, 1),
    ):
        with pytest.raises(StoreUnusable, match="read-only"):
            write()
    keeper.append_event("queue", "{}", 9)
    keeper.close()
    assert reader.last_seq() == 4
    reader.close()


def test_a_reader_finds_what_a_killed_keeper_left_in_the_log(path):
    keeper = impatient(path)
    keeper.append_event("queue", "{}", 1)
    copy = path.with_name("copy.db")
    for suffix in ("", "-wal"):
        Path(f"{copy}{suffix}").write_bytes(Path(f"{path}{suffix}").read_bytes())
    keeper.close()

    reader = impatient(copy, read_only=True)

    assert reader.last_seq() == 1
    reader.close()


@pytest.mark.parametrize(
    "value", ["null", "[]", '{"reason": 1, "until_ms": null}', "[" * 900 + "]" * 900]
)
def test_an_exclusion_that_somebody_wrote_wrongly_is_an_error_of_the_store(tmp_path, value):
    with closing(open_store(f"sqlite:{tmp_path / 'l.db'}")) as store:
        store.put_state("excluded:p", value, 1)

        with pytest.raises(StoreError, match="the row excluded:p of the table state"):
            store.exclusions()
