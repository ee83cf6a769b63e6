"""The chain and the program through JavaScript clients that others wrote."""

import asyncio
import base64
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from solders.signature import Signature

from liqctl.chain.base58 import encode
from liqctl.localnet.genesis import Genesis
from liqctl.localnet.paths import Quote
from liqctl.localnet.scenario import Scenario, ScenarioConfig, liquidator_key
from liqctl.localnet.server import LocalnetServer, ServerConfig
from liqctl.localnet.world import World
from liqctl.oracle.price_update import RECEIVER_CLASSIC
from liqctl.ports import SystemClock
from liqctl.venues.tokens import associated_token_account
from tests.localnet.program_model import Case
from tests.localnet.program_world import DISCRIMINATORS, MAX, decode_struct

HERE = Path(__file__).parent
LOCK = HERE / "package-lock.json"
LOCK_FAULTS = ("EUSAGE", "EINTEGRITY", "EJSONPARSE")
NPM_CI = ("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
ONE_QUICK_RETRY = ("--fetch-retries=1", "--fetch-retry-mintimeout=500")
NPM_SECONDS = 150
SIZE, COLLATERAL, LEVERAGE = 100 * 10**9, 1_600_000_000, 10
pytestmark = pytest.mark.timeout(240)

Told = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def packages() -> Path:
    """Return the folder of the locked packages, installed once per lock outside the checkout."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node and npm are not on the PATH")
    lock = hashlib.sha256(LOCK.read_bytes()).hexdigest()[:16]
    place = Path(tempfile.gettempdir()) / f"liqctl-clients-{os.getuid()}-{lock}"
    if not (place / "node_modules").exists():
        # Elsewhere first: another worker may install at the same time, and only a whole one counts.
        fresh = Path(tempfile.mkdtemp(prefix="liqctl-clients-"))
        try:
            install(fresh)
            if not place.exists():
                fresh.rename(place)
        except OSError:
            assert (place / "node_modules").exists()
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    return place


@pytest.fixture
def folder(packages: Path, tmp_path: Path) -> Path:
    """Return a folder with the scripts and, behind a link, the packages they import."""
    for script in HERE.glob("*.mjs"):
        shutil.copy(script, tmp_path)
    (tmp_path / "node_modules").symlink_to(packages / "node_modules")
    return tmp_path


def install(place: Path) -> None:
    """Install into an empty folder; without a registry the test is skipped, but not in CI."""
    for source in (HERE / "package.json", LOCK):
        shutil.copy(source, place)
    command = (*NPM_CI, *ONE_QUICK_RETRY)
    try:
        made = subprocess.run(
            command, cwd=place, capture_output=True, text=True, timeout=NPM_SECONDS, check=False
        )
        failure = made.stderr if made.returncode else ""
    except subprocess.TimeoutExpired:
        failure = f"npm ci did not end within {NPM_SECONDS} seconds"
    if failure and (os.environ.get("CI") == "true" or any(one in failure for one in LOCK_FAULTS)):
        pytest.fail(f"npm cannot install the clients: {failure}")
    if failure:
        code = failure.partition("npm error code ")[2].partition("\n")[0]
        pytest.skip(f"npm cannot install the clients here: {code or failure}")


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
    folder: Path, script: str, arguments: Sequence[str], act: Callable[[str, Told], bool]
) -> Told:
    """Run a script and return what it told by step; `act` says whether a step wants an answer."""
    child = await asyncio.create_subprocess_exec(
        "node",
        script,
        *arguments,
        cwd=folder,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    assert child.stderr is not None
    told: Told = {}
    try:
        async with asyncio.timeout(60):
            async for line in child.stdout:
                seen = json.loads(line)
                step = seen.pop("step")
                told[step] = seen
                if act(step, told):
                    # web3.js does not say when a subscription stands; the next slot has the price.
                    await asyncio.sleep(0.5)
                    child.stdin.write(b"go\n")
            errors = await child.stderr.read()
            assert await child.wait() == 0, errors.decode()
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    return told


def shown(value: Any) -> Any:
    """Return a decoded value as the script prints it: Anchor's names, numbers as text."""
    if isinstance(value, Mapping):
        return {camel_case(name): shown(part) for name, part in value.items()}
    if isinstance(value, list):
        return [shown(part) for part in value]
    return value if isinstance(value, bool) else str(value)


def camel_case(name: str) -> str:
    head, *tail = name.split("_")
    return head + "".join(part.title() for part in tail)


def read(world: World, name: str, key: str) -> dict[str, Any]:
    state = world.account(Pubkey.from_string(key))
    assert state is not None
    return decode_struct(name, state.data)


def logged_event(world: World, signature: str) -> tuple[int, dict[str, Any]]:
    """Return the slot and the one event of a transaction that landed."""
    landed = world.history.find(Signature.from_string(signature))
    assert landed is not None
    (line,) = [log for log in landed.execution.logs if log.startswith("Program data: ")]
    body = base64.b64decode(line.removeprefix("Program data: "))
    return landed.slot, decode_struct("LiquidationEvent", body)


class Stage:
    """A scenario with one rich owner, whose price falls when the script is ready for it."""

    def __init__(self, key: Keypair) -> None:
        self.scenario = new_scenario()
        self.scenario.hold()
        self.world = self.scenario.world
        self.market = self.scenario.addresses.markets["SOL"]
        self.token = associated_token_account(str(key.pubkey()), self.scenario.addresses.mint)
        genesis = Genesis(self.world, 3, self.scenario.specs)
        genesis.give(key.pubkey(), lamports=10 * 10**9, tokens=2 * COLLATERAL)
        self.before: dict[str, dict[str, dict[str, Any]]] = {}

    def fall(self, step: str, told: Told) -> bool:
        """Keep what the accounts are, then publish the lower price."""
        if step not in ("ready to be shrunk", "ready to be gone"):
            return False
        self.before[step.removeprefix("ready to be ")] = {
            "InsuranceFund": self.read("InsuranceFund", self.scenario.addresses.insurance_fund),
            "Market": self.read("Market", self.market),
            "Position": self.read("Position", told["opened"]["position"]),
        }
        quote = Quote(price_e8=(135 if step.endswith("shrunk") else 100) * 10**8, confidence_e8=0)
        self.scenario.quotes = {**self.scenario.quotes, "SOL": quote}
        return True

    def read(self, name: str, key: str) -> dict[str, Any]:
        return read(self.world, name, key)


async def test_the_anchor_client_reads_opens_is_refused_and_liquidates(folder: Path) -> None:
    key = liquidator_key(9)
    stage = Stage(key)
    key_file = folder / "key.json"
    key_file.write_text(json.dumps(list(bytes(key))))

    async with LocalnetServer(stage.world, SystemClock(), ServerConfig(port=0)) as server:
        arguments = (server.url, server.ws_url, str(stage.scenario.idl_path), str(key_file))
        told = await run_script(
            folder, "anchor.mjs", [*arguments, stage.market, stage.token], stage.fall
        )

    check_opened(stage, told["opened"], str(key.pubkey()))
    check_refused(stage, told["refused"])
    for step in ("shrunk", "gone"):
        check_liquidated(stage, step, told[step])
    assert told["shrunk"]["Position"] == shown(stage.before["gone"]["Position"])
    assert told["gone"]["Position"] is None
    assert stage.world.account(Pubkey.from_string(told["opened"]["position"])) is None
    shrunk, gone = told["changes"]["changes"]
    assert (shrunk["length"], gone) == (144, {"lamports": 0, "length": 0})
    assert told["changes"]["events"] == 2


def check_opened(stage: Stage, opened: dict[str, Any], owner: str) -> None:
    """Every field of the accounts is as their bytes say, and the position is what was asked for."""
    before = stage.before["shrunk"]
    for name in ("InsuranceFund", "Market", "Position"):
        assert opened[name] == shown(before[name])
    landed = stage.world.history.find(Signature.from_string(opened["signature"]))
    assert landed is not None
    assert landed.failure is None
    asked = {
        "owner": owner,
        "market": stage.market,
        "id": "7",
        "size": str(SIZE),
        "entryPrice": "150000000",
        "collateral": str(COLLATERAL),
        "openedSlot": str(landed.slot),
        "leverage": str(LEVERAGE),
    }
    assert asked.items() <= opened["Position"].items()
    assert opened["ofOwner"] == [opened["position"]]


def check_refused(stage: Stage, refused: dict[str, Any]) -> None:
    """The preflight and the block refuse by the same name."""
    healthy = {
        "name": "PositionHealthy",
        "number": 6000,
        "message": "Equity is not below the maintenance margin",
    }
    status = {"InstructionError": [0, {"Custom": 6000}]}
    assert refused["beforeSending"] == healthy
    by_code = {"number": healthy["number"], "message": healthy["message"]}
    assert refused["inItsBlock"] == {"status": status, "byLog": healthy, "byCode": by_code}
    assert refused["assessed"]["liquidatable"] is False
    assert refused["assessed"]["equity"] == str(COLLATERAL)


def check_liquidated(stage: Stage, step: str, seen: dict[str, Any]) -> None:
    """Listener, parser and log tell one event, with the numbers of the plain model."""
    before = stage.before[step]
    slot, event = logged_event(stage.world, seen["signature"])
    case = Case(before["Market"], before["Position"], event["price"])
    expected = case.outcome(
        case.bounded_rest(),
        MAX,
        before["InsuranceFund"]["balance"],
        before["Market"]["profit_pool"],
    )

    assert seen["heard"] == shown(event)
    assert seen["parsed"] == [["liquidationEvent", shown(event)]]
    assert seen["slot"] == event["slot"] == slot
    assert event["is_full"] is expected.is_full is (step == "gone")
    for name in ("equity", "maintenance_margin", "reward", "fund_delta"):
        assert event[name] == getattr(expected, name)
        assert seen["assessed"][camel_case(name)] == str(event[name])
    assert event["closed_size"] == expected.allowed_size
    assert event["closed_size"] + event["remaining_size"] == before["Position"]["size"]
    assert event["bad_debt_covered"] + event["bad_debt_uncovered"] == expected.bad_debt


async def test_web3_js_sends_confirms_subscribes_and_filters(folder: Path) -> None:
    scenario = new_scenario()
    market = scenario.addresses.markets["SOL"]
    program = Pubkey.from_string(scenario.addresses.program)
    spec = scenario.specs[1]
    type_text = encode(DISCRIMINATORS["Position"])

    async with LocalnetServer(scenario.world, SystemClock(), ServerConfig(port=0)) as server:
        arguments = [server.url, server.ws_url, str(program), RECEIVER_CLASSIC, encode(spec.feed)]
        told = await run_script(
            folder, "web3.mjs", [*arguments, type_text, market], lambda *_: False
        )

    assert told["airdrop"]["error"] is None
    assert told["airdrop"]["balance"] == 3 * 10**9
    transfer = told["transfer"]
    assert transfer["account"] == transfer["balance"] == 10**9
    assert transfer["logs"]["signature"] == transfer["signature"]
    assert transfer["logs"]["err"] is None
    assert transfer["logs"]["logs"][-1] == f"Program {Pubkey.default()} success"
    assert transfer["slot"]["slot"] > told["airdrop"]["slot"] > 0
    assert told["signature"] == {"error": None, "status": "finalized", "late": None}
    check_found(scenario, program, market, told["program accounts"])
    assert "insufficient lamports" in "".join(told["refused"]["logs"])
    assert "Simulation failed" in told["refused"]["text"]
    assert told["failed"]["logs"]["err"] == {"InstructionError": [0, {"Custom": 1}]}
    heard = told["heard"]
    assert {tuple(price) for price in heard["prices"]} == {(str(spec.price_account), 134)}
    assert heard["signatures"] == heard["sent"]
    assert heard["logsOfNobody"] == []


def check_found(scenario: Scenario, program: Pubkey, market: str, found: dict[str, Any]) -> None:
    """The filters find what a walk over the bytes finds."""
    owned = list(scenario.world.accounts_at(program, scenario.world.ledger.open_block))
    positions = {
        str(key): decode_struct("Position", state.data)
        for key, state in owned
        if state.data.startswith(DISCRIMINATORS["Position"])
    }
    of_market = [key for key, one in positions.items() if str(one["market"]) == market]
    assert len(positions) == 5
    assert 0 < len(of_market) < 5
    assert found["positions"] == sorted(positions)
    assert found["ofMarket"] == sorted(of_market)
    assert found["ofNobody"] == []
    assert found["byLength"] == sorted(scenario.addresses.markets.values())
