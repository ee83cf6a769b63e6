"""The chain and the program through JavaScript clients that others wrote."""

import asyncio
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from solders.pubkey import Pubkey

from liqctl.chain.base58 import encode
from liqctl.localnet.genesis import Genesis
from liqctl.localnet.paths import Quote
from liqctl.localnet.scenario import Scenario, ScenarioConfig, liquidator_key
from liqctl.localnet.server import LocalnetServer, ServerConfig
from liqctl.ports import SystemClock
from liqctl.venues.reference_layout import REFERENCE_IDL

HERE = Path(__file__).parent
FILES = ("package.json", "package-lock.json")
pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def packages() -> Path:
    """Return a folder with the locked packages, installed once per lock outside the checkout."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("node and npm are not here")
    lock = hashlib.sha256((HERE / FILES[1]).read_bytes()).hexdigest()[:16]
    place = Path(tempfile.gettempdir()) / f"liqctl-clients-{os.getuid()}-{lock}"
    if not (place / "done").exists():
        place.mkdir(mode=0o700, exist_ok=True)
        for name in FILES:
            shutil.copy(HERE / name, place / name)
        made = subprocess.run(
            [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
            cwd=place,
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        if made.returncode != 0 and os.environ.get("CI") != "true":
            pytest.skip(f"npm cannot install the clients here: {made.stderr[-200:]}")
        assert made.returncode == 0, made.stderr
        (place / "done").touch()
    for script in HERE.glob("*.mjs"):
        shutil.copy(script, place / script.name)
    return place


def new_scenario() -> Scenario:
    return Scenario(
        ScenarioConfig(
            positions=5,
            seed=3,
            path="calm",
            slot_ms=100,
            start_unix_s=SystemClock().unix_ms() // 1_000,
            start_delay_slots=10**6,
        )
    )


async def run_script(
    packages: Path, script: str, arguments: list[str], act: Callable[[str], bool]
) -> dict[str, dict[str, object]]:
    """Run a script and return what it told by step; `act` says whether a step wants an answer."""
    child = await asyncio.create_subprocess_exec(
        "node",
        script,
        *arguments,
        cwd=packages,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    assert child.stderr is not None
    told: dict[str, dict[str, object]] = {}
    async with asyncio.timeout(60):
        async for line in child.stdout:
            seen = json.loads(line)
            told[seen.pop("step")] = seen
            if act(list(told)[-1]):
                await asyncio.sleep(0.5)
                child.stdin.write(b"go\n")
        errors = await child.stderr.read()
        assert await child.wait() == 0, errors.decode()
    return told


async def test_the_anchor_client_reads_opens_is_refused_and_liquidates(packages, tmp_path):
    scenario = new_scenario()
    scenario.hold()
    key = liquidator_key(9)
    Genesis(scenario.world, 3, scenario.specs).give(
        key.pubkey(), lamports=10 * 10**9, tokens=1_000_000_000
    )
    key_file = tmp_path / "key.json"
    key_file.write_text(json.dumps(list(bytes(key))))
    market = scenario.addresses.markets["SOL"]

    def fall(step: str) -> bool:
        if step != "ready for the fall":
            return False
        now = scenario.quotes["SOL"]
        lower = Quote(price_e8=now.price_e8 * 90 // 100, confidence_e8=now.confidence_e8)
        scenario.quotes = {**scenario.quotes, "SOL": lower}
        return True

    async with LocalnetServer(scenario.world, SystemClock(), ServerConfig(port=0)) as server:
        told = await run_script(
            packages,
            "anchor.mjs",
            [
                *(server.url, server.ws_url, str(scenario.idl_path), str(key_file)),
                *(market, scenario.addresses.mint),
            ],
            fall,
        )

    spec = scenario.specs[0]
    fund = scenario.world.account(Pubkey.from_string(scenario.addresses.insurance_fund))
    assert fund is not None
    assert told["accounts"]["symbol"] == "SOL"
    assert told["accounts"]["priceAccount"] == str(spec.price_account)
    assert int(str(told["accounts"]["balance"])) > 0
    assert told["opened"] == {
        "size": "1000000000",
        "entryPrice": "150000000",
        "collateral": "16000000",
        "leverage": 10,
    }
    assert told["refused"]["name"] == "PositionHealthy"
    assert told["refused"]["number"] == 6000
    liquidated = told["liquidated"]
    assert liquidated["position"] is True
    assert liquidated["sameEvent"] is True
    assert liquidated["slotKnown"] is True
    assert int(str(liquidated["reward"])) > 0
    assert liquidated["isFull"] is (liquidated["leftSize"] is None)
    left = int(str(liquidated["leftSize"] or 0))
    assert int(str(liquidated["closedSize"])) + left == 10**9


async def test_web3_js_sends_confirms_subscribes_and_filters(packages):
    scenario = new_scenario()
    async with LocalnetServer(scenario.world, SystemClock(), ServerConfig(port=0)) as server:
        told = await run_script(
            packages,
            "web3.mjs",
            [
                *(server.url, server.ws_url, scenario.addresses.program),
                encode(REFERENCE_IDL.account_discriminator("Market")),
            ],
            lambda _: False,
        )

    assert told["airdrop"]["balance"] == 2 * 10**9
    assert told["transfer"] == {"account": 10**9, "logs": True, "slot": True, "priceLength": 134}
    assert told["program accounts"] == {"count": 3, "owner": True}
    assert told["refused"]["logs"] != 0
    assert "Simulation failed" in str(told["refused"]["text"])
