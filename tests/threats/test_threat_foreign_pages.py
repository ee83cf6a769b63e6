"""A browser on the operator's machine is made to ask: rebound names, forged requests, foreign sockets.

A page from anywhere can send requests to 127.0.0.1. It must neither read an answer, nor make
anything happen, nor open a socket, by whatever name it reaches the server.
"""

import shutil

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.server.guarded import free_port
from tests.server.program import Program, serving
from tests.server.world import filled

EVIL = "https://evil.example"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a database and, once the server has run in it, the token."""
    folder = tmp_path_factory.mktemp("pages")
    shutil.copy(filled(tmp_path_factory.mktemp("api")), folder / "api.db")
    return folder


@pytest.fixture(scope="module")
def program(place):
    with serving(place, "--port", str(free_port())) as running:
        yield running


@pytest.fixture(scope="module")
def token(program, place):
    return (place / ".local/state/liqctl/token").read_text().strip()


def ask(program: Program, method: str, path: str, **headers: str) -> httpx.Response:
    return httpx.request(method, program.url + path, headers=headers, trust_env=False, timeout=20)


@pytest.mark.parametrize("path", ["/", "/health", "/liquidations/recent", "/openapi.json", "/none"])
@pytest.mark.parametrize("name", ["evil.example", "127.0.0.1.evil.example:8080", "localhost.evil"])
def test_a_name_that_is_turned_to_this_machine_gets_nothing(program, path, name):
    answer = ask(program, "GET", path, Host=name)

    assert answer.status_code == 421
    assert set(answer.json()) == {"error"}


@pytest.mark.parametrize("origin", [EVIL, "null", "http://localhost:1", "file://"])
@pytest.mark.parametrize("path", ["/control/stop", "/control/resume"])
def test_a_foreign_page_orders_nothing_even_with_the_token(program, token, origin, path):
    asked = {"Authorization": f"Bearer {token}", "Origin": origin}

    with_token = ask(program, "POST", path, **asked)
    form = ask(program, "POST", path, Origin=origin, **FORM)
    preflight = ask(
        program, "OPTIONS", path, Origin=origin, **{"Access-Control-Request-Method": "POST"}
    )

    for answer in (with_token, form, preflight):
        assert answer.status_code == 403
        assert "access-control-allow-origin" not in answer.headers


def test_a_form_without_an_origin_has_no_token_either(program):
    assert ask(program, "POST", "/control/stop", **FORM).status_code == 401


def test_a_foreign_page_cannot_read_what_it_asks_for(program):
    answer = ask(program, "GET", "/liquidations/recent", Origin=EVIL)

    assert "access-control-allow-origin" not in answer.headers
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("origin", [EVIL, "null", "http://localhost:1"])
def test_a_foreign_page_opens_no_socket(program, origin):
    url = program.url.replace("http", "ws") + "/ws"

    with pytest.raises(InvalidStatus) as refused, connect(url, origin=origin, proxy=None):
        pass

    assert refused.value.response.status_code == 403


def test_no_page_can_be_framed_or_load_anything_foreign(program):
    for path in ("/", "/docs", "/health"):
        policy = ask(program, "GET", path).headers["content-security-policy"]

        assert policy.startswith("default-src 'none'")
        assert "frame-ancestors 'none'" in policy
        assert "http" not in policy
        assert "unsafe" not in policy
