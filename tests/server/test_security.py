"""Host, Origin, token and headers, on a real socket: who is answered and who is not."""

import base64

import pytest
from starlette.applications import Starlette
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from liqctl.server.options import ServeOptions
from liqctl.server.security import Guard, Policy
from liqctl.testing import ManualClock
from tests.server.guarded import BEARER, TOKEN, client, guarded, written

LOCAL = ServeOptions(database_url="sqlite:none.db")
EVERYWHERE = "0.0.0.0"  # noqa: S104 - told to the policy, bound by nobody
PUBLIC = ServeOptions(
    database_url="sqlite:none.db", host=EVERYWHERE, allowed_hosts=("liq.example",)
)
SHARED = ServeOptions(database_url="sqlite:none.db", cors_origins=("https://dash.example",))
ANYBODY = ServeOptions(database_url="sqlite:none.db", cors_origins=("*",))
PROXIED = ServeOptions(database_url="sqlite:none.db", allowed_hosts=("liq.example",))
WRONG = {"Authorization": "Bearer " + "w" * 40}

READ, ORDER = ("GET", "/prices"), ("POST", "/control/stop")
OWN_PAGE = {"Origin": "http://127.0.0.1"}
FOREIGN_PAGE = {"Origin": "https://evil.example"}
LISTED_PAGE = {"Origin": "https://dash.example"}

MATRIX = [
    # bind, request, headers, status
    (LOCAL, READ, {}, 200),
    (LOCAL, READ, WRONG, 200),
    (LOCAL, READ, FOREIGN_PAGE, 200),
    (LOCAL, READ, {"Host": "localhost:9999"}, 200),
    (LOCAL, READ, {"Host": "LOCALHOST"}, 200),
    (LOCAL, READ, {"Host": "[::1]:8080"}, 200),
    (LOCAL, READ, {"Host": "evil.example"}, 421),
    (LOCAL, READ, {"Host": "evil.example:8080"}, 421),
    (LOCAL, READ, {"Host": "127.0.0.1.evil.example"}, 421),
    (LOCAL, READ, {"Host": "localhost:8080@evil.example"}, 421),
    (LOCAL, READ, {"Host": "localhost:evil"}, 421),
    (LOCAL, READ, {"Host": ""}, 421),
    (LOCAL, ORDER, {}, 401),
    (LOCAL, ORDER, WRONG, 401),
    (LOCAL, ORDER, BEARER, 200),
    (LOCAL, ORDER, {"Authorization": f"bearer {TOKEN}"}, 200),
    (LOCAL, ORDER, {"Authorization": f"Basic {TOKEN}"}, 401),
    (LOCAL, ORDER, {"Authorization": TOKEN}, 401),
    (LOCAL, ORDER, BEARER | FOREIGN_PAGE, 403),
    (LOCAL, ORDER, BEARER | {"Origin": "null"}, 403),
    (LOCAL, ORDER, BEARER | {"Origin": "http://localhost", "Host": "127.0.0.1"}, 403),
    (LOCAL, ORDER, BEARER | {"Origin": "http://127.0.0.1:1", "Host": "127.0.0.1"}, 403),
    (LOCAL, ORDER, BEARER | {"Origin": "http://127.0.0.1.evil", "Host": "127.0.0.1"}, 403),
    (LOCAL, ORDER, BEARER | {"Origin": "app://127.0.0.1", "Host": "127.0.0.1"}, 403),
    (LOCAL, ORDER, BEARER | OWN_PAGE | {"Host": "127.0.0.1"}, 200),
    (LOCAL, ORDER, OWN_PAGE | {"Host": "127.0.0.1"}, 401),
    (LOCAL, ORDER, BEARER | {"Host": "evil.example"}, 421),
    (LOCAL, ("PUT", "/prices"), {}, 401),
    (LOCAL, ("DELETE", "/prices"), {}, 401),
    (LOCAL, ("PATCH", "/prices"), {}, 401),
    (SHARED, ORDER, BEARER | LISTED_PAGE, 200),
    (SHARED, ORDER, LISTED_PAGE, 401),
    (SHARED, ORDER, BEARER | FOREIGN_PAGE, 403),
    (ANYBODY, ORDER, BEARER | FOREIGN_PAGE, 403),
    (PROXIED, READ, {}, 200),
    (PROXIED, READ, {"Host": "liq.example"}, 401),
    (PROXIED, READ, {"Host": "liq.example:443"}, 401),
    (PROXIED, READ, {"Host": "liq.example"} | BEARER, 200),
    (PROXIED, READ, {"X-Forwarded-For": "203.0.113.9"}, 401),
    (PROXIED, READ, {"Forwarded": "for=203.0.113.9"}, 401),
    (PROXIED, ("GET", "/"), {"Host": "liq.example"}, 200),
    (PROXIED, ORDER, {"Host": "liq.example", "Origin": "https://liq.example"} | BEARER, 200),
    (PUBLIC, READ, {}, 401),
    (PUBLIC, READ, WRONG, 401),
    (PUBLIC, READ, BEARER, 200),
    (PUBLIC, READ, BEARER | {"Host": "liq.example"}, 200),
    (PUBLIC, READ, BEARER | {"Host": "liq.example:443"}, 200),
    (PUBLIC, READ, BEARER | {"Host": EVERYWHERE}, 421),
    (PUBLIC, READ, BEARER | {"Host": "evil.example"}, 421),
    (PUBLIC, ORDER, {}, 401),
    (PUBLIC, ORDER, BEARER, 200),
    (PUBLIC, ("GET", "/"), {}, 200),
    (PUBLIC, ("GET", "/static/page.js"), {}, 200),
    (PUBLIC, ("GET", "/healthz"), {}, 200),
    (PUBLIC, ("GET", "/static/../prices"), {}, 401),
    (PUBLIC, ("GET", "/missing"), {}, 401),
    (PUBLIC, ("OPTIONS", "/prices"), {}, 401),
    (PUBLIC, ("GET", f"/prices?token={TOKEN}"), {}, 401),
]


@pytest.fixture
def token_file(tmp_path):
    return written(tmp_path / "token")


async def test_who_is_answered_over_hosts_origins_tokens_binds_and_methods(token_file):
    wrong = []

    for options in (LOCAL, SHARED, ANYBODY, PROXIED, PUBLIC):
        async with guarded(options, token_file) as there, client(there) as http:
            for (method, path), headers, status in [row[1:] for row in MATRIX if row[0] is options]:
                answer = await http.request(method, path, headers=headers)
                if answer.status_code != status:
                    wrong.append((method, path, headers, answer.status_code, status))

    assert wrong == []


@pytest.mark.parametrize(
    ("options", "headers", "status"),
    [
        (LOCAL, {}, 101),
        (LOCAL, OWN_PAGE, 403),
        (LOCAL, FOREIGN_PAGE, 403),
        (LOCAL, {"Origin": "null"}, 403),
        (SHARED, LISTED_PAGE, 101),
        (ANYBODY, FOREIGN_PAGE, 403),
        (PROXIED, {"X-Forwarded-For": "203.0.113.9"}, 401),
        (PUBLIC, {}, 401),
        (PUBLIC, WRONG, 401),
        (PUBLIC, BEARER, 101),
        (PUBLIC, BEARER | FOREIGN_PAGE, 403),
    ],
)
async def test_who_may_open_a_websocket(token_file, options, headers, status):
    async with guarded(options, token_file) as there:
        reached = await shaken(there.ws_url, additional_headers=headers)

    assert reached == status


async def test_a_websocket_of_the_own_page_is_opened_and_one_for_a_foreign_host_is_not(token_file):
    async with guarded(LOCAL, token_file) as there:
        assert await shaken(there.ws_url, origin=there.url) == 101
        rebound = there.ws_url.replace("127.0.0.1", "evil.example")
        assert await shaken(rebound, host="127.0.0.1", port=there.port) == 421


async def test_a_browser_offers_its_token_as_a_subprotocol_and_another_one_is_chosen(token_file):
    async with guarded(PUBLIC, token_file) as there:
        for token, status in ((TOKEN, 101), ("w" * 40, 401), ("", 401)):
            offered = base64.urlsafe_b64encode(token.encode()).decode().rstrip("=")
            subprotocols = ["liqctl", f"liqctl.bearer.{offered}"]
            assert await shaken(there.ws_url, subprotocols=subprotocols) == status
        assert await shaken(there.ws_url, subprotocols=["liqctl", "liqctl.bearer.!!!"]) == 401


async def shaken(url, **how):
    """Return the status that a handshake ends with."""
    try:
        async with connect(url, proxy=None, **how) as websocket:
            await websocket.send("a")
            assert await websocket.recv() == "a"
            assert websocket.subprotocol == ("liqctl" if "subprotocols" in how else None)
            return 101
    except InvalidStatus as error:
        return error.response.status_code


async def test_a_refusal_says_why_and_names_what_to_do(token_file):
    async with guarded(LOCAL, token_file) as there, client(there) as http:
        missing = await http.post("/control/stop")
        wrong = await http.post("/control/stop", headers=WRONG)
        misdirected = await http.get("/prices", headers={"Host": "evil.example"})

    assert missing.json()["error"]["code"] == "token_missing"
    assert missing.headers["www-authenticate"] == 'Bearer realm="liqctl"'
    assert wrong.json()["error"]["code"] == "token_wrong"
    assert 'error="invalid_token"' in wrong.headers["www-authenticate"]
    assert "--allowed-host" in misdirected.json()["error"]["message"]
    assert "evil" not in misdirected.text


async def test_without_any_token_nothing_can_be_changed():
    async with guarded(LOCAL) as there, client(there) as http:
        refused = await http.post("/control/stop", headers=BEARER)

    assert refused.status_code == 401


async def test_a_token_is_replaced_and_expires_without_a_restart(tmp_path):
    path = written(tmp_path / "token")
    clock = ManualClock(
        unix_ms=1_800_000_000_000
    )  # 2027-01-15T08:00:00Z; a second passes before each request
    found = []

    async with guarded(LOCAL, path, clock) as there, client(there) as http:

        async def asked(token):
            await clock.advance(1.0)
            answer = await http.post("/control/stop", headers={"Authorization": f"Bearer {token}"})
            found.append(answer.json().get("error", {}).get("code", "done"))

        await asked(TOKEN)
        written(path, f"{'n' * 32}\n{TOKEN} expires=2027-01-15T09:00:00+01:00\n")
        await asked("n" * 32)
        await asked(TOKEN)
        written(path, f"{'n' * 32}\n{TOKEN} expires=2027-01-15T09:00:05+01:00\n")
        await asked(TOKEN)
        await asked(TOKEN)
        path.chmod(0o644)
        await asked("n" * 32)
        path.chmod(0o600)
        await asked("n" * 32)
        path.unlink()
        await asked("n" * 32)

    assert found == [
        *("done", "done", "token_expired", "done", "token_expired"),
        *("token_wrong", "done", "token_wrong"),
    ]


async def test_health_knows_a_stranger(token_file):
    async with guarded(PUBLIC, token_file) as there, client(there) as http:
        strange = await http.get("/health")
        known = await http.get("/health", headers=BEARER)
        wrong = await http.get("/health", headers=WRONG)
    async with guarded(LOCAL, token_file) as there, client(there) as http:
        local = await http.get("/health")

    assert [each.json() for each in (strange, known, local)] == [
        {"stranger": True},
        {"stranger": False},
        {"stranger": False},
    ]
    assert wrong.status_code == 401


async def test_every_answer_is_dressed_whatever_its_status_and_none_tells_the_program(token_file):
    paths = ["/prices", "/", "/static/page.js", "/missing", "/fails", "/prices?" + "q" * 5_000]

    async with guarded(LOCAL, token_file) as there, client(there) as http:
        answers = [await http.get(path) for path in paths]
        answers += [await http.post("/control/stop"), await http.put("/", headers=BEARER)]

    assert [each.status_code for each in answers] == [200, 200, 200, 404, 500, 414, 401, 405]
    for answer in answers:
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert len(answer.headers.get_list("content-security-policy")) == 1
        assert answer.headers["content-security-policy"].startswith("default-src 'none'; ")
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert "server" not in answer.headers
        assert "uvicorn" not in answer.text
    assert answers[0].headers["cache-control"] == "no-store"
    assert "script" not in answers[0].headers["content-security-policy"]
    assert "script-src 'self'" in answers[1].headers["content-security-policy"]
    assert "unsafe" not in answers[1].headers["content-security-policy"]


ALLOWED = "access-control-allow-origin"
ASKING = {"Access-Control-Request-Method": "POST"}


async def test_answers_are_shared_with_listed_origins_alone(token_file):
    async with guarded(SHARED, token_file) as there, client(there) as http:
        listed = await http.get("/prices", headers=LISTED_PAGE)
        foreign = await http.get("/prices", headers=FOREIGN_PAGE)
        near = await http.get("/prices", headers={"Origin": "https://dash.example.evil.example"})
        none = await http.get("/prices")
        asked = await http.options("/control/stop", headers=LISTED_PAGE | ASKING)
        refused = await http.options("/control/stop", headers=FOREIGN_PAGE | ASKING)
        wrong = await http.post("/control/stop", headers=LISTED_PAGE)

    assert listed.headers[ALLOWED] == wrong.headers[ALLOWED] == LISTED_PAGE["Origin"]
    assert asked.status_code == 204
    assert asked.headers[ALLOWED] == LISTED_PAGE["Origin"]
    assert asked.headers["cache-control"] == "no-store"
    assert "authorization" in asked.headers["access-control-allow-headers"]
    assert refused.status_code == 403
    for answer in (foreign, near, none, refused):
        assert ALLOWED not in answer.headers
    for answer in (listed, foreign, none, asked):
        assert "Origin" in answer.headers["vary"]


async def test_sharing_with_anybody_is_for_reading_without_credentials(token_file):
    async with guarded(ANYBODY, token_file) as there, client(there) as http:
        read = await http.get("/prices", headers=FOREIGN_PAGE)
        known = await http.get("/prices", headers=FOREIGN_PAGE | BEARER)
        ordered = await http.post("/control/stop", headers=FOREIGN_PAGE | BEARER)
        asked = await http.options("/control/stop", headers=FOREIGN_PAGE | ASKING)

    assert read.headers[ALLOWED] == "*"
    for answer in (known, ordered, asked):
        assert ALLOWED not in answer.headers
    assert [ordered.status_code, asked.status_code] == [403, 403]


async def test_without_a_list_no_page_may_read(token_file):
    async with guarded(LOCAL, token_file) as there, client(there) as http:
        read = await http.get("/prices", headers=FOREIGN_PAGE)
        asked = await http.options("/prices", headers=FOREIGN_PAGE | ASKING)

    assert ALLOWED not in read.headers
    assert asked.status_code == 403


async def test_a_header_that_must_be_unique_may_not_come_twice():
    """Two readers of one request would otherwise see two different hosts."""
    sent = []
    guard = Guard(Starlette(), Policy.of(LOCAL, None))
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/",
        "query_string": b"",
        "headers": [(b"host", b"evil.example"), (b"accept", b"a"), (b"host", b"localhost")],
    }

    async def send(message):
        sent.append(message)

    await guard(scope, None, send)  # type: ignore[arg-type]

    assert sent[0]["status"] == 400
