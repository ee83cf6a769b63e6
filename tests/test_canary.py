"""No secret is found in anything that the program leaves behind, and the search would find one."""

import base64
import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from hashlib import sha256
from pathlib import Path

import pytest
from solders.keypair import Keypair

from liqctl.chain.base58 import encode
from tests.canary import SCENES, searched
from tests.canary_search import (
    Evidence,
    Secrets,
    Stage,
    canary_of_key,
    canary_of_text,
    every_command_line,
)
from tests.cli.chain_fixture import Chain, chain

KEY = Keypair.from_seed(sha256(b"canary").digest())  # all workers have to name the tests alike
UNGUARDED = """
import liqctl.cli.exits, liqctl.cli.redact
liqctl.cli.exits.redact = liqctl.cli.redact.redact = lambda text: text
"""
FAILING = """
import liqctl.config
def load(*_): raise ValueError(open({!r}).read())
liqctl.config.load = load
"""


@pytest.fixture(scope="module")
def running() -> Iterator[Chain]:
    with chain() as started:
        yield started


@pytest.mark.parametrize("scene", SCENES)
def test_no_secret_is_left_behind(running, tmp_path, scene):
    evidence, hits = searched(running, tmp_path, scene)

    assert hits == []
    assert all(evidence.artefacts.values())


@pytest.mark.parametrize(
    "text",
    [
        encode(bytes(KEY)),
        encode(bytes(KEY)[:32]),
        str(list(bytes(KEY))),
        json.dumps(list(bytes(KEY)[:32]), separators=(",", ":")),
        json.dumps(list(bytes(KEY)), indent=0).replace(",\n", "\n"),
        bytes(KEY).hex(),
        bytes(KEY)[:32].hex().upper(),
        bytes(KEY).hex(" "),
        base64.b64encode(bytes(KEY)).decode(),
        base64.urlsafe_b64encode(bytes(KEY)[:32]).decode(),
        repr(bytes(KEY)),
        bytes(KEY).decode("latin-1"),
    ],
)
def test_the_search_finds_a_key_in_every_spelling_even_cut_off(text):
    canary = canary_of_key("key", KEY)

    for shown in (text, text[:40]):
        evidence = Evidence()
        evidence.add("log", f"before {shown} after".encode("latin-1"))
        assert evidence.hits([canary]) == ["key in log"]


def test_a_public_key_is_no_secret():
    public = KEY.pubkey()
    evidence = Evidence()
    evidence.add("log", f"{public} {list(bytes(public))} {bytes(public).hex()}".encode())

    assert evidence.hits([canary_of_key("key", KEY)]) == []


@pytest.mark.parametrize("lead", ["", "u:", "user:"])
def test_the_search_finds_a_password_in_a_header(lead):
    canary = canary_of_text("password", "Pwd123456789")
    evidence = Evidence()
    evidence.add("log", b"Basic " + base64.b64encode(f"{lead}Pwd123456789".encode()))

    assert evidence.hits([canary]) == ["password in log"]


def test_nothing_is_searched_in_an_empty_artefact():
    with pytest.raises(AssertionError, match="log is empty"):
        Evidence().add("log", b"")


def test_the_search_finds_a_secret_in_the_arguments_of_another_process():
    secret = f"Arg{KEY.pubkey()}"
    with every_command_line() as seen:
        child = subprocess.Popen([sys.executable, "-c", "input()", secret], stdin=subprocess.PIPE)
        end = time.monotonic() + 10
        while secret.encode() not in b"".join(list(seen)) and time.monotonic() < end:
            time.sleep(0.05)
        child.communicate(b"\n")

    evidence = Evidence()
    evidence.add("command lines", b"\n".join(seen))
    assert evidence.hits([canary_of_text("token", secret)]) == ["token in command lines"]


def test_the_search_finds_a_secret_in_a_write_ahead_log(tmp_path, running):
    stage = stage_of(running, tmp_path)
    with closing(sqlite3.connect(tmp_path / "books.db")) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("CREATE TABLE row (body)")
        db.execute("INSERT INTO row VALUES (?)", [bytes(stage.secrets.key)])
        db.commit()

        stage.keep_files("keeper", least=("books.db-wal",))

    assert "key in keeper: books.db-wal" in stage.evidence.hits(stage.secrets.canaries())


def test_without_redaction_the_same_runs_give_secrets_away(tmp_path, running):
    stage = stage_of(running, tmp_path)
    dsn = f"postgresql://me:{stage.secrets.database}@db.example/books"

    stage.run("settings", "config show", code=UNGUARDED, LIQCTL_DATABASE_URL=dsn)
    code = UNGUARDED + FAILING.format(str(stage.keys["good"]))
    stage.run("bug", "config show", code=code)

    hits = stage.evidence.hits(stage.secrets.canaries())
    assert {"path in settings: output", "query in settings: output"} <= set(hits)
    assert {"password in settings: output", "database in settings: output"} <= set(hits)
    assert "key in bug: output" in hits


def stage_of(running: Chain, place: Path) -> Stage:
    secrets = Secrets()
    return Stage(
        place=place,
        chain=running,
        secrets=secrets,
        evidence=Evidence(),
        keys=secrets.paths(place),
    )
