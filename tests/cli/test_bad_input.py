"""What is wrong with key, node, program, database and options: one line that says what to do."""

import json
import os
import shutil
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.cli.chain_fixture import PROGRAM, Chain, Desk, Run, chain, environment_of, inside, run

MAINNET_GENESIS = "5eykt4UsFv8P8NJdTREpY1vzqKqZKvdpKuc147dw2N9d"
TOKENS = "TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA"
CLOCK = "SysvarC1ock11111111111111111111111111111111"
NOWHERE = "11111111111111111111111111111112"
WATCH = ("watch", "--duration", "5", "--json")
SCAN = ("scan", "--dry-run", "--json")


@pytest.fixture(scope="module")
def calm() -> Iterator[Chain]:
    with chain() as running:
        yield running


@pytest.fixture
def desk(calm: Chain, tmp_path: Path) -> Desk:
    return Desk(place=tmp_path, chain=calm)


def refused(done: Run, code: int, *said: str) -> None:
    """The command printed nothing but one line on stderr that says all of this."""
    assert (done.code, done.out, done.err.count("\n")) == (code, "", 1), done
    assert done.err.startswith("liqctl: ")
    for text in said:
        assert text in done.err


@pytest.mark.parametrize("command", [WATCH, ("scan", "--liquidate"), ("liquidate", NOWHERE, "-y")])
def test_a_key_that_is_not_there(desk, command):
    refused(desk.run(*command, "-k", "none.json"), 2, "no key file at none.json", "solana-keygen")
    assert list(desk.place.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "mode", "said"),
    [
        ("[1, 2]", 0o600, "holds no key: expected a JSON array of 64 numbers"),
        ("[" + "0," * 63 + "0]", 0o600, "is damaged: its public half does not match"),
        ("{}", 0o600, "holds no key"),
        ("\x00\xff", 0o600, "holds no key"),
        ("", 0o600, "holds no key"),
        (None, 0o640, "is open to others (mode 0640); run: chmod 600 "),
        (None, 0o604, "is open to others (mode 0604); run: chmod 600 "),
    ],
)
def test_a_key_file_that_cannot_be_trusted(desk, content, mode, said):
    if content is not None:
        desk.key.write_text(content)
    desk.key.chmod(mode)

    done = desk.run(*WATCH, "-k", desk.key)

    refused(done, 2, "key.json", said)
    assert not desk.database.exists()


def run_without_privilege(desk: Desk, *arguments: object) -> Run:
    """Run a command as a user to whom file modes apply; root gives its privileges up."""
    prefix = []
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("root reads and writes everything")
        gone = "-dac_override,-dac_read_search"
        prefix = ["setpriv", f"--bounding-set={gone}", f"--inh-caps={gone}"]
    return run(desk.place, *arguments, *desk.chain.where, prefix=prefix)


def test_a_key_file_that_must_not_be_read(desk):
    desk.key.chmod(0o000)

    refused(run_without_privilege(desk, *WATCH, "-k", desk.key), 2, "key.json cannot be read")
    assert not desk.database.exists()


def test_a_directory_and_an_address_are_no_keys(desk):
    refused(desk.run(*WATCH, "-k", "."), 2, "the key file . is no regular file")
    refused(desk.run(*WATCH, "-k", NOWHERE), 2, "is a public key and cannot sign", "--keypair")


@pytest.mark.parametrize(
    ("url", "code", "said"),
    [
        ("nonsense", 2, "--url must be a URL that starts with http:// or https://, or one of m,"),
        ("ftp://127.0.0.1", 2, "--url must be a URL"),
        ("http://127.0.0.1:99999", 2, "--url must be a URL"),
        ("http://rpc.example", 2, "http://rpc.example/... is not encrypted; use https://"),
        ("http://127.0.0.1:1", 4, "no connection to http://127.0.0.1:1/"),
    ],
)
def test_a_node_that_cannot_be_asked(tmp_path, url, code, said):
    for command in (SCAN, ("watch", "--json"), ("liquidate", NOWHERE, "--json")):
        refused(inside(tmp_path, *command, "-u", url), code, said)
    assert list(tmp_path.iterdir()) == []


class Node(BaseHTTPRequestHandler):
    """Answers every call with the same bytes; the id of the request is filled in."""

    protocol_version = "HTTP/1.1"
    status = 200
    body = b""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        body = self.answer(asked)
        self.send_response(self.status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def answer(self, asked: dict[str, Any]) -> bytes:
        return self.body.replace(b"ID", str(asked["id"]).encode())

    def log_message(self, *words: object) -> None:
        """Keep quiet."""


class Mainnet(Node):
    """Says that it is mainnet-beta, and that every account is a program."""

    def answer(self, asked: dict[str, Any]) -> bytes:
        program = {
            "lamports": 1,
            "owner": TOKENS,
            "data": ["", "base64"],
            "executable": True,
        }
        accounts = {"context": {"slot": 1}, "value": [{**program, "rentEpoch": 0}]}
        known = {"getGenesisHash": MAINNET_GENESIS, "getMultipleAccounts": accounts}
        answer = {"jsonrpc": "2.0", "id": asked["id"], "result": known[asked["method"]]}
        return json.dumps(answer).encode()


@pytest.fixture
def node(request: pytest.FixtureRequest) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), request.param)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def saying(status: int, body: bytes) -> type[Node]:
    return type("Saying", (Node,), {"status": status, "body": body})


ELSEWHERE = "is it a Solana RPC node; name another one with --url"


@pytest.mark.parametrize(
    ("node", "said"),
    [
        (saying(200, b"<html><body>hello</body></html>"), ELSEWHERE),
        (saying(200, b'{"jsonrpc":"2.0","id":ID,"resu'), ELSEWHERE),
        (saying(200, bytes(range(256))), ELSEWHERE),
        (saying(200, b""), ELSEWHERE),
        (saying(200, b'{"jsonrpc":"2.0","id":ID,"result":null}'), ELSEWHERE),
        (saying(200, b'{"jsonrpc":"2.0","id":ID,"result":{"a":1}}'), ELSEWHERE),
        (saying(500, b"oh"), ELSEWHERE),
        (saying(403, b"no"), "is its key in the URL of --url"),
        (saying(429, b"slow down"), "it allows no more calls now; wait, or name another node"),
        (
            saying(429, b'{"jsonrpc":"2.0","id":ID,"error":{"code":429,"message":"slow"}}'),
            "it allows no more calls now; wait, or name another node",
        ),
    ],
    indirect=["node"],
)
def test_a_node_that_answers_with_something_else(desk, node, said):
    done = inside(desk.place, *SCAN, "-u", node)

    refused(done, 4, said)


@pytest.mark.parametrize("node", [Mainnet], indirect=True)
@pytest.mark.parametrize(
    "command", [WATCH, ("scan", "--liquidate", "--json"), (*WATCH, "--no-input")]
)
def test_real_money_needs_a_yes(desk, node, command):
    done = inside(desk.place, *command, "-u", node, "-k", desk.key)

    refused(done, 7, "Send transactions on mainnet-beta with ", "? Not without --yes.")
    assert not desk.database.exists()


@pytest.mark.parametrize(
    ("program", "said"),
    [
        (NOWHERE, f"no program at {NOWHERE} on http://127.0.0.1:"),
        (CLOCK, f"{CLOCK} on http://127.0.0.1:"),
        (TOKENS, f"the program {TOKENS} has no market of the reference venue"),
        ("0OIl", "--program-id must be a public key in base58"),
    ],
)
def test_another_program_is_never_an_empty_success(desk, program, said):
    refused(desk.run(*SCAN, "--program-id", program), 2, said, "program-id")


def test_a_database_that_cannot_be_used(desk):
    (desk.place / "text.db").write_text("no database" * 500)
    desk.run("scan", "--database", "sqlite:newer.db")
    with closing(sqlite3.connect(desk.place / "newer.db")) as newer:
        newer.execute("PRAGMA user_version = 99")
    for url, said in {
        "sqlite:text.db": "text.db is not a SQLite database; name another file",
        "sqlite:.": "is a directory; name a file in it as the database",
        "sqlite:newer.db": "has schema 99, this liqctl knows ",
        "postgresql://host/name?nonsense=1": "the PostgreSQL URL cannot be read",
        "file.db": "--database must be sqlite:FILE",
    }.items():
        for command in (("scan", "--json"), (*WATCH, "-k", desk.key)):
            refused(desk.run(*command, "--database", url), 2, said)


def test_a_locked_database_is_not_waited_for_without_end(desk):
    desk.run("scan")
    desk.chain.price("SOL", 990_000)
    with closing(sqlite3.connect(desk.database, isolation_level=None)) as lock:
        lock.execute("BEGIN EXCLUSIVE")
        done = desk.run("scan", "--json")
        audit = desk.run(*SCAN)
        lock.execute("ROLLBACK")
        waiting = lock.execute("SELECT COUNT(*) FROM queue").fetchone()
    desk.chain.price("SOL", 1_000_000)

    assert (done.code, len(done.json["liquidatable"])) == (1, 3)
    assert "is locked by another process; try again" in done.err
    assert waiting == (0,)
    assert (audit.code, len(audit.json["liquidatable"]), audit.err) == (0, 3, "")


def test_a_database_that_must_not_be_written(desk):
    desk.run("scan")
    desk.database.chmod(0o400)

    refused(
        run_without_privilege(desk, "scan", "--json"),
        *(2, "liquidation_engine.db is read-only for this user; change its owner or mode"),
    )
    assert run_without_privilege(desk, "queue", "--json").json["rows"] == []


def test_a_directory_in_which_no_database_can_be_made(desk):
    desk.place.chmod(0o555)

    refused(run_without_privilege(desk, "scan", "--json"), 2, "the permissions of its directory")
    assert run_without_privilege(desk, *SCAN).code == 0


def test_a_database_of_another_cluster_is_left_alone(desk):
    desk.run("scan")
    with chain(seed=2) as other:
        elsewhere = Desk(place=desk.place, chain=other)
        for command in (("scan", "--json"), (*WATCH, "-k", desk.key)):
            refused(elsewhere.run(*command), 2, "belongs to the cluster with genesis", "--database")
        assert elsewhere.run(*SCAN).code == 0


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("watch", "--localnet", "--positions", "-1"), "--positions"),
        (("watch", "--localnet", "--markets", "99"), "--markets"),
        (("watch", "--localnet", "--path", "none.csv"), "none.csv"),
        (("watch", "--localnet", "-k", "key.json"), "leave out --keypair"),
        (("watch", "--localnet", "-u", "devnet"), "leave out --url"),
        (("watch", "--positions", "5"), "describe the chain of --localnet"),
        (("watch", "--duration", "-1"), "--duration"),
        (("watch", "--duration", "-0.5"), "--duration"),
        (("watch", "--duration", "nan"), "--duration"),
        (("watch", "--duration", "inf"), "--duration"),
        (("watch", "--duration", "soon"), "--duration"),
        (("watch", "--stop", "--resume"), "--stop and --resume exclude each other"),
        (("watch", "--stop"), "there is no database at "),
        (("scan", "--limit", "-1"), "--limit"),
        (("scan", "--min-notional", "-1"), "--min-notional"),
        (("scan", "--liquidate", "--dry-run"), "exclude each other"),
        (("liquidate",), "Missing argument 'PUBKEY'"),
        (("liquidate", "a", "b"), "unexpected extra argument"),
        (("liquidate", NOWHERE, "--max-size", "0"), "--max-size"),
        (("scan", "--commitment", "soonish"), "--commitment"),
        (("dev", "sim", "--seeds", "9" * 5_000), "seeds are given as A..B"),
        (("dev", "sim", "--seeds", "1.." + "9" * 30), "seeds are given as A..B"),
    ],
)
def test_an_option_that_makes_no_sense(tmp_path, command, said):
    quick = "none.csv" not in command  # a child process says that
    done = (inside if quick else run)(tmp_path, *command)

    refused(done, 2, said)
    assert list(tmp_path.iterdir()) == []


def test_text_that_this_terminal_cannot_show_is_no_reason_to_crash(desk):
    done = run(
        *(desk.place, "scan", "-n", *desk.chain.where, "--market", "SØL"),
        LC_ALL="C",
        PYTHONUTF8="0",
        PYTHONCOERCECLOCALE="0",
    )

    refused(done, 2, "no market is called", "BTC, ETH, SOL")


def in_shell(desk: Desk, command: str) -> subprocess.CompletedProcess[str]:
    """Run a line of bash in which `liqctl` is the program and $URL the chain."""
    return subprocess.run(
        ["/bin/bash", "-c", f"liqctl() {{ '{PROGRAM}' \"$@\"; }}; {command}"],
        cwd=desk.place,
        env=environment_of(desk.place, URL=desk.chain.ready["rpc_url"]),
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


@pytest.mark.parametrize("options", ["-n", "-n --json"])
def test_an_output_without_room_is_one_line(desk, options):
    done = in_shell(desk, f"liqctl scan {options} -u $URL > /dev/full")

    assert done.returncode == 1
    assert done.stderr == (
        "liqctl: cannot write the output: no space is left; make room and try again\n"
    )


def test_streams_that_are_closed_take_nothing_and_lose_nothing(desk):
    done = in_shell(desk, "liqctl scan -u $URL <&- >&- 2>&-")
    failed = in_shell(desk, "liqctl scan --json -u http://127.0.0.1:1 2>&-")
    full = in_shell(desk, "liqctl scan --json -u http://127.0.0.1:1 2>/dev/full")

    assert done.returncode == 0
    assert desk.database.read_bytes().startswith(b"SQLite format 3\0")
    assert desk.run("queue", "--json").json["rows"] == []
    assert (failed.returncode, failed.stdout) == (4, "")
    assert (full.returncode, full.stdout) == (4, "")


def test_a_reader_that_leaves_early_ends_a_scan_quietly(desk):
    done = in_shell(desk, "set -o pipefail; liqctl scan -n -u $URL | true")

    assert (done.returncode in {0, 1}, done.stdout, done.stderr) == (True, "", "")
    assert list(Path(desk.place).iterdir()) == []
