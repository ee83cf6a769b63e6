import asyncio
from contextlib import closing

import pytest
from starlette.types import Receive, Scope, Send

from liqctl.server import cache
from liqctl.server.cache import AnswerCache
from liqctl.server.reader import Version
from liqctl.store.open import open_store
from liqctl.testing import ManualClock
from tests.server.world import NOW_MS, application, asking
from tests.store import records


class Versions:
    """The version of a database that a test moves on."""

    def __init__(self) -> None:
        self.commit = 1

    async def version(self) -> Version:
        return Version(1, self.commit)


class Counting:
    """An application that answers with how often it was asked."""

    def __init__(self, status: int = 200, size: int = 0) -> None:
        self.asked = 0
        self.status = status
        self.size = size
        self.gate: asyncio.Event | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.asked += 1
        if self.gate is not None:
            await self.gate.wait()
        body = str(self.asked).encode().ljust(self.size)
        await send({"type": "http.response.start", "status": self.status, "headers": []})
        await send({"type": "http.response.body", "body": body})


async def _ask(app, path="/positions", query=b"", accept=b"*/*", method="GET"):
    sent = []

    async def send(message):
        sent.append(message)

    async def receive():
        return {"type": "http.request", "body": b""}

    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": query,
        "headers": [(b"accept", accept)],
    }
    await app(scope, receive, send)
    return int(b"".join(message.get("body", b"") for message in sent))


async def test_an_answer_is_given_again_until_something_is_committed():
    versions, app = Versions(), Counting()
    kept = AnswerCache(app, versions.version)

    assert [await _ask(kept), await _ask(kept)] == [1, 1]
    versions.commit = 2
    assert [await _ask(kept), await _ask(kept)] == [2, 2]


async def test_answers_to_other_questions_are_others():
    kept = AnswerCache(Counting(), Versions().version)

    asked = [
        await _ask(kept),
        await _ask(kept, path="/failures"),
        await _ask(kept, query=b"limit=1"),
        await _ask(kept, accept=b"text/csv"),
    ]

    assert asked == [1, 2, 3, 4]


@pytest.mark.parametrize("given", [{"path": "/health"}, {"path": "/prices"}, {"method": "POST"}])
async def test_what_depends_on_the_time_or_changes_something_is_never_kept(given):
    kept = AnswerCache(Counting(), Versions().version)

    assert [await _ask(kept, **given), await _ask(kept, **given)] == [1, 2]


async def test_errors_are_not_kept():
    kept = AnswerCache(Counting(status=503), Versions().version)

    assert [await _ask(kept), await _ask(kept)] == [1, 2]


async def test_equal_requests_at_once_are_answered_by_one():
    app = Counting()
    app.gate = asyncio.Event()
    kept = AnswerCache(app, Versions().version)

    async with asyncio.TaskGroup() as group:
        asked = [group.create_task(_ask(kept)) for _ in range(10)]
        await asyncio.sleep(0)
        app.gate.set()

    assert [each.result() for each in asked] == [1] * 10


async def test_when_the_one_fails_the_others_ask_for_themselves():
    app = Counting()
    app.gate = asyncio.Event()
    kept = AnswerCache(app, Versions().version)
    first = asyncio.create_task(_ask(kept))
    await asyncio.sleep(0)
    second = asyncio.create_task(_ask(kept))
    await asyncio.sleep(0)

    first.cancel()
    app.gate.set()

    assert await second == 2
    with pytest.raises(asyncio.CancelledError):
        await first


@pytest.mark.parametrize("entries, size", [(3, 10), (100, cache.BYTES_MAX // 3)])
async def test_the_answers_kept_are_the_latest_used_and_bounded(monkeypatch, entries, size):
    monkeypatch.setattr(cache, "ENTRIES_MAX", entries)
    kept = AnswerCache(Counting(size=size), Versions().version)
    for number in range(3):
        await _ask(kept, query=b"%d" % number)
    assert await _ask(kept, query=b"0") == 1

    assert await _ask(kept, query=b"3") == 4

    assert await _ask(kept, query=b"0") == 1
    assert await _ask(kept, query=b"1") == 5


async def test_what_is_committed_is_shown_after_25_ms(own_file):
    clock = ManualClock(NOW_MS)
    async with asking(application(own_file, clock=clock)) as client:
        await clock.advance(1)
        before = (await client.get("/insurance/history")).json()["items"]
        with closing(open_store(f"sqlite:{own_file}")) as store:
            store.record_insurance(records.sample(3))
        await clock.advance(0.025)
        after = (await client.get("/insurance/history")).json()["items"]

    assert (len(before), len(after)) == (2, 3)
