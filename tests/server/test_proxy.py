"""examples/nginx.conf: what it forwards is what makes the API ask strangers for the token."""

import re
from pathlib import Path

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from liqctl.server.options import ServeOptions
from tests.server.guarded import BEARER, client, guarded, written

CONF = Path(__file__).parents[2] / "examples" / "nginx.conf"
NAME = "liqctl.example.com"
VARIABLES = {"$host": NAME, "$remote_addr": "203.0.113.9"}
BEHIND = ServeOptions(database_url="sqlite:none.db", allowed_hosts=(NAME,))


def forwarded() -> dict[str, str]:
    """Return the headers that the example sets, those of an upgrade left out."""
    found = re.findall(r"proxy_set_header\s+(\S+)\s+(\S+);", CONF.read_text(encoding="utf-8"))
    return {name: VARIABLES[value] for name, value in found if value in VARIABLES}


@pytest.fixture
def token_file(tmp_path):
    return written(tmp_path / "token")


async def test_who_comes_through_the_proxy_needs_the_token_and_a_program_of_this_machine_does_not(
    token_file,
):
    async with guarded(BEHIND, token_file) as there, client(there) as http:
        near = await http.get("/prices")
        strange = await http.get("/prices", headers=forwarded())
        known = await http.get("/prices", headers=forwarded() | BEARER)
        page = await http.get("/", headers=forwarded())

    statuses = [each.status_code for each in (near, strange, known, page)]
    assert statuses == [200, 401, 200, 200]


async def test_each_of_the_two_headers_is_enough(token_file):
    async with guarded(BEHIND, token_file) as there, client(there) as http:
        answers = [await http.get("/prices", headers={n: v}) for n, v in forwarded().items()]

    assert [each.status_code for each in answers] == [401, 401]


async def test_a_page_of_the_proxy_opens_a_socket_with_the_token(token_file):
    origin = f"https://{NAME}"
    async with guarded(BEHIND, token_file) as there:
        where = {"host": "127.0.0.1", "port": there.port, "proxy": None, "origin": origin}
        with pytest.raises(InvalidStatus, match="401"):
            await connect(f"ws://{NAME}/ws", **where)  # type: ignore[arg-type]
        async with connect(f"ws://{NAME}/ws", additional_headers=BEARER, **where) as websocket:  # type: ignore[arg-type]
            await websocket.send("a")
            assert await websocket.recv() == "a"
