"""Wallets whose RPC port was open to the whole network lost 38,642 ETH.

The server listened on every address, asked nobody who he was, and could spend. Source: 2018, press.

Here the API listens to this machine alone unless told otherwise, does not start on another address
without a token, asks strangers for it before it tells anything of the record, and can spend
nothing with it: it has no key, and all that it changes is the switch that stops keepers.
"""

import shutil
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from liqctl.cli import app as command_line
from liqctl.server.token import TokenFile
from liqctl.testing import ManualClock
from tests.server.guarded import free_port, written
from tests.server.program import serving
from tests.server.world import BEARER, NOW_MS, TOKEN, application, asking, filled

EVERYWHERE = ["0.0.0.0", "::", "[::]", "192.168.1.5", "liq.example.com"]  # noqa: S104
TOLD_TO_ALL = {"/", "/favicon.ico", "/healthz", "/readyz", "/health"}


@pytest.fixture(scope="module")
def full_file(tmp_path_factory):
    return filled(tmp_path_factory.mktemp("api"))


def listening_on(port: int) -> set[str]:
    """Return the addresses on which somebody listens to a port, as the kernel writes them."""
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            _, local, _, state, *_ = line.split()
            address, _, number = local.rpartition(":")
            if state == "0A" and int(number, 16) == port:
                found.add(address)
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="it asks /proc")
def test_unless_told_otherwise_it_listens_to_this_machine_alone(full_file, tmp_path):
    shutil.copy(full_file, tmp_path / "api.db")
    with serving(tmp_path, "--port", str(free_port())) as program:
        found = listening_on(int(program.url.rpartition(":")[2]))

    assert found == {"0100007F"}  # 127.0.0.1


@pytest.mark.parametrize("command", [("serve",), ("watch", "--localnet", "--serve")])
@pytest.mark.parametrize("host", EVERYWHERE)
def test_an_address_that_others_can_reach_is_refused_without_a_token(
    tmp_path, monkeypatch, command, host
):
    monkeypatch.chdir(tmp_path)
    variables = {"HOME": str(tmp_path), "XDG_STATE_HOME": "", "LIQCTL_SERVER_HOST": host}

    done = CliRunner().invoke(command_line, [*command], env=variables, prog_name="liqctl")

    assert (done.exit_code, done.stdout) == (2, "")
    assert f"--host {host} lets other machines in" in done.stderr
    assert "--token-file FILE" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("host", EVERYWHERE)
async def test_a_stranger_learns_nothing_of_the_record_and_orders_nothing(
    full_file, tmp_path, host
):
    tokens = TokenFile(written(tmp_path / "token", TOKEN), ManualClock(NOW_MS))
    app = application(full_file, tokens=tokens, host=host)
    let_in, let_order = set(), set()

    async with asking(app) as stranger:
        for path in [*app.openapi()["paths"], "/", "/docs", "/openapi.json", "/ws", "/none"]:
            if (await stranger.get(path)).status_code != 401:
                let_in.add(path)
            if (await stranger.post(path)).status_code != 401:
                let_order.add(path)
        health = (await stranger.get("/health")).json()
        recent = await stranger.get("/liquidations/recent", headers=BEARER)

    assert let_in <= TOLD_TO_ALL
    assert let_order == set()
    assert {name for name, value in health.items() if value is not None} == {"status"}
    assert recent.status_code == 200


def test_all_that_a_token_can_change_is_the_switch():
    paths = application(Path("none.db")).openapi()["paths"]

    changing = {path for path, methods in paths.items() if methods.keys() - {"get"}}

    assert changing == {"/control/stop", "/control/resume"}
