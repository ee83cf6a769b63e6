"""Planted secrets, and a search for them in everything that runs of the real program leave behind.

`python -m tests.canary [ROUNDS]` runs every scene and prints what was searched; it ends with 1 on a hit.
"""

import base64
import contextlib
import json
import shlex
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.canary_search import Evidence, Secrets, Stage, every_command_line
from tests.canary_serving import repeating_node, serving_scene
from tests.cli.chain_fixture import PROGRAM, ROOT, Chain, chain, environment_of

SIGNING = ROOT / "tests" / "chain" / "signing_program.py"


def keeper_scene(stage: Stage) -> None:
    """A keeper signs and sends, and is looked at while its write-ahead log is full."""
    database = stage.place / "liquidation_engine.db"
    stage.chain.price("SOL", 990_000)
    with subprocess.Popen(
        [str(PROGRAM), "watch", "--json"],
        cwd=stage.place,
        env=environment_of(stage.place, **stage.environment()),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as child:
        try:
            wait_for_liquidation(database)
            stage.keep_files("keeper", least=(database.name, f"{database.name}-wal"))
        finally:
            child.send_signal(signal.SIGTERM)
            out, err = child.communicate(timeout=30)
    stage.evidence.add("keeper: stdout", out)
    stage.evidence.add("keeper: stderr", err)
    if child.returncode != 0:
        raise AssertionError(f"the keeper ended with {child.returncode}: {err.decode()[-2000:]}")


def wait_for_liquidation(database: Path, within_s: float = 40) -> None:
    """Return when a liquidation is recorded."""
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        time.sleep(0.1)
        with (
            contextlib.suppress(sqlite3.Error),
            contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as db,
        ):
            if db.execute("SELECT count(*) FROM liquidations").fetchone()[0]:
                return
    raise AssertionError("the keeper liquidated nothing")


def hand_scene(stage: Stage) -> None:
    """A person liquidates by hand with a signer that refuses and talks, and then looks around."""
    stage.chain.price("BTC", 980_000)
    position = stage.run_quick("scan", "scan --json").must(0).last_position()
    signing = [sys.executable, str(SIGNING), "refuse_odd", str(stage.keys["good"])]
    signer = "exec:" + shlex.join(signing)
    refused = stage.run("refusal", f"liquidate {position} --yes", LIQCTL_KEYPAIR=signer)
    refused.must(7, say="refuses to sign").must(7, say="signer_said")
    stage.run("doctor", "doctor")
    stage.run_quick("history", "history --json", LIQCTL_LOG_FORMAT="console").must(0)
    stage.run_quick("settings", "config show --origin").must(0)
    stage.keep_files("hand", least=("liquidation_engine.db",))


def key_scene(stage: Stage) -> None:
    """Keys that cannot be used: wrong content, wrong mode, and keys in place of their names."""
    for name in ("damaged", "short", "base58", "hex", "raw", "open"):
        path = str(stage.keys[name])
        done = stage.run_quick(f"{name} key file", "watch --yes", LIQCTL_KEYPAIR=path)
        done.must(2, say="the key file")
    inline = {
        "base58": str(stage.secrets.other_key),
        "list": json.dumps(list(bytes(stage.secrets.other_key))),
        "hex": bytes(stage.secrets.other_key).hex(),
        "base64": base64.b64encode(bytes(stage.secrets.other_key)).decode(),
    }
    for name, text in inline.items():
        done = stage.run_quick(f"{name} for a key", "doctor", LIQCTL_KEYPAIR=text)
        done.must(2, say="holds the key itself")


def address_scene(stage: Stage) -> None:
    """Addresses that lead nowhere, to a node that repeats them, or that are none at all."""
    secrets, nowhere = stage.secrets, "http://127.0.0.1:9"
    with repeating_node() as node:
        stage.run("repeating node", "scan -n", LIQCTL_RPC_URL=secrets.url(node))
        stage.run_quick("repeating node, examined", "doctor", LIQCTL_RPC_URL=secrets.url(node))
    urls = {
        "no node": secrets.url(nowhere),
        "path only": f"{nowhere}/v2/{secrets.path}",
        "plain": secrets.url("http://rpc.example"),
        "no scheme": secrets.url(nowhere).removeprefix("http://"),
        "wrong scheme": secrets.url("ftp://rpc.example"),
        "wrong port": secrets.url("http://rpc.example:99999"),
        "blank": secrets.url("http://rpc. example"),
    }
    for name, url in urls.items():
        stage.run_quick(name, "scan -n", LIQCTL_RPC_URL=url)
    more = {
        "LIQCTL_RPC_FALLBACK_URLS": secrets.url("https://second.example"),
        "LIQCTL_SEND_URLS": secrets.url(nowhere),
    }
    stage.run_quick("several nodes, shown", "config show --json", **more).must(0)
    stage.run_quick("several nodes, wrong", "scan -n", LIQCTL_SEND_URLS=secrets.url("ftp://x"))
    databases = {
        "server": f"postgresql://{secrets.user}:{secrets.database}@db.example/books",
        "wrong database": f"postgres//{secrets.user}:{secrets.database}@db.example/books",
        "foreign database": f"mysql://{secrets.user}:{secrets.database}@db.example/books",
    }
    for name, dsn in databases.items():
        stage.run_quick(name, "history", LIQCTL_DATABASE_URL=dsn)
    stage.run_quick("server, shown", "config show", LIQCTL_DATABASE_URL=databases["server"])
    stage.run_quick("server, examined", "doctor", LIQCTL_DATABASE_URL=databases["server"])


PROVOKED = """
import liqctl.chain.wallet
from pathlib import Path
async def sign(signer, message):
    secret = Path({path!r}).read_text()
    {what}
liqctl.chain.wallet.KeySigner.sign = sign
"""


def crash_scene(stage: Stage) -> None:
    """The program breaks while it holds the key in a variable: by a bug, and by a hard crash."""
    stage.chain.price("ETH", 970_000)
    position = stage.run_quick("scan before", "scan --json").must(0).last_position()
    bugs = {
        "bug": "raise RuntimeError('provoked', secret)",
        "crash": "import os, sys; sys.stderr.write('provoked'); sys.stderr.flush(); os.abort()",
    }
    for name, what in bugs.items():
        code = PROVOKED.format(path=str(stage.keys["good"]), what=what)
        done = stage.run(name, f"liquidate {position} --yes", code=code)
        done.must(1, -signal.SIGABRT, say="provoked")
    left = [path.name for path in stage.place.iterdir() if "core" in path.name]
    if left:
        raise AssertionError(f"a core dump was left: {left}")
    stage.keep_files("crash", least=("liquidation_engine.db",))


def embedded_scene(stage: Stage) -> None:
    """The keeper and its own chain, which hand a key from one to the other."""
    embedded = dict.fromkeys(("LIQCTL_RPC_URL", "LIQCTL_WS_URL", "LIQCTL_KEYPAIR"), "")
    command = "watch --localnet --positions 20 --duration 0 --json"
    stage.run("embedded", command, **embedded).must(0)


SCENES: Mapping[str, Callable[[Stage], None]] = {
    "keeper": keeper_scene,
    "hand": hand_scene,
    "key": key_scene,
    "address": address_scene,
    "crash": crash_scene,
    "embedded": embedded_scene,
    "serving": serving_scene,
}


def searched(
    running: Chain, place: Path, scene: str, *, whole: bool = False
) -> tuple[Evidence, list[str]]:
    """Run one scene in an empty directory; return what it left, and what was found in that."""
    secrets, evidence = Secrets(), Evidence()
    with every_command_line() as seen:
        stage = Stage(
            place=place,
            chain=running,
            secrets=secrets,
            evidence=evidence,
            keys=secrets.paths(place),
            whole=whole,
        )
        SCENES[scene](stage)
    evidence.add("command lines", b"\n".join(sorted(seen)))
    return evidence, evidence.hits(secrets.canaries())


def main(rounds: int) -> int:
    """Run every scene so often; return the exit code."""
    artefacts, size, hits = 0, 0, list[str]()
    for number in range(rounds):
        with chain(seed=1) as running:
            for scene in SCENES:
                with tempfile.TemporaryDirectory(prefix="canary-") as folder:
                    evidence, found = searched(running, Path(folder), scene, whole=True)
                artefacts += len(evidence.artefacts)
                size += sum(map(len, evidence.artefacts.values()))
                hits += [f"round {number}, {scene}: {hit}" for hit in found]
    line = {"type": "canary", "rounds": rounds, "artefacts": artefacts, "bytes": size, "hits": hits}
    sys.stdout.write(json.dumps(line) + "\n")
    return 1 if hits else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if sys.argv[1:] else 1))
