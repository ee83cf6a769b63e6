"""For any order of commits, connects, disconnects and pauses, clients see the recorded stream."""

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from liqctl.server.hub import Client, Wants, message
from liqctl.server.resume import catch_up
from tests.server.lines import ALL, TestLine, World, spin

SYMBOLS = ("SOL", "BTC", None)
KINDS = ("price_update", "liquidation", "queue")
WANTS = (
    ALL,
    Wants(types=frozenset({"liquidation"})),
    Wants(symbols=frozenset({"SOL"})),
    Wants(types=frozenset({"price_update"}), symbols=frozenset({"BTC"})),
)
USERS = len(WANTS)


@dataclass
class User:
    """Somebody who connects now and then, each time from the last `seq` of whatever was heard."""

    wants: Wants
    since: int | None = None
    first: int = 0
    heard: list[dict[str, Any]] = field(default_factory=list)
    line: TestLine | None = None
    visiting: "asyncio.Task[None] | None" = None

    async def visit(self, world: World) -> None:
        line = self.line = TestLine()
        client = Client(line, self.wants, 2, line.close)
        since = self.since
        if since is None:
            since = self.first = world.hub.seq or 0
        client.put(message("hello", since))
        try:
            await catch_up(client, since, world.hub, world.reader)
            await line.closed()
        finally:
            world.hub.leave(client)

    def connect(self, world: World) -> None:
        if self.visiting is None:
            self.visiting = asyncio.create_task(self.visit(world))

    async def disconnect(self) -> None:
        if self.visiting is not None:
            if self.line is not None:
                self.line.close()
                self.heard += self.line.heard
                self.since = self.heard[-1]["seq"] if self.heard else None
            self.visiting.cancel()
            await asyncio.wait([self.visiting])
            self.visiting = self.line = None


Step = tuple[Any, ...]
STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("record"), st.sampled_from(KINDS), st.sampled_from(SYMBOLS), st.integers(1, 6)
        ),
        st.tuples(
            st.sampled_from(("connect", "disconnect", "stop", "read_on")),
            st.integers(0, USERS - 1),
        ),
        st.tuples(st.just("prune"), st.integers(0, 8)),
        st.tuples(st.just("spin"), st.integers(1, 12)),
    ),
    max_size=40,
)


async def unfold(steps: list[Step], pauses: list[int]) -> list[User]:
    """Do the steps, then let everybody come back and hear the rest."""
    world = World(pauses=iter(pauses))
    users = [User(wants) for wants in WANTS]
    async with world.running():
        for user in users:
            user.connect(world)
        for step in steps:
            if step[0] in {"record", "prune", "spin"}:
                await _happens(world, step)
            else:
                await _does(users[step[1]], step[0], world)
        for user in users:
            await user.disconnect()
            user.connect(world)
        await world.told()
        await spin(200)
        for user in users:
            await user.disconnect()
    return users


async def _happens(world: World, step: Step) -> None:
    match step:
        case ("record", kind, symbol, count):
            for _ in range(count):
                world.store.append_event(kind, json.dumps({"symbol": symbol}), 1)
            world.news.set()
        case ("prune", keep):
            world.store.prune_events(keep)
        case _:
            await spin(step[1])


async def _does(user: User, what: str, world: World) -> None:
    if what == "connect":
        user.connect(world)
    elif what == "disconnect":
        await user.disconnect()
    elif user.line is not None:
        user.line.stop() if what == "stop" else user.line.read_on()


@settings(max_examples=100, deadline=None)
@given(steps=STEPS, pauses=st.lists(st.integers(0, 5), max_size=30))
def test_whoever_comes_back_has_seen_every_event_once_or_was_told_of_the_gap(steps, pauses):
    recorded: list[tuple[int, str, object]] = []
    for step in steps:
        if step[0] == "record":
            recorded += [(len(recorded) + n + 1, step[1], step[2]) for n in range(step[3])]

    users = asyncio.run(unfold(steps, pauses))

    for user in users:
        due = [
            seq
            for seq, kind, symbol in recorded
            if seq > user.first
            and (user.wants.types is None or kind in user.wants.types)
            and (user.wants.symbols is None or symbol is None or symbol in user.wants.symbols)
        ]
        seen = [each["seq"] for each in user.heard if each["type"] in KINDS]
        gone = [(each["since"], each["seq"]) for each in user.heard if each["type"] == "gap"]
        missing = [seq for seq in due if not any(a < seq <= b for a, b in gone)]
        order = [each["seq"] for each in user.heard]

        assert len(seen) == len(set(seen))
        assert set(missing) <= set(seen) <= set(due)
        assert order == sorted(order)
        assert gone == [] or any(step[0] == "prune" for step in steps)
