"""Layers of the product that hide each other's faults, and how to switch each of them off."""

import sqlite3
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import aiosql

from liqctl.chain import expiry
from liqctl.chain.client import Chain
from liqctl.chain.member import Member
from liqctl.core.health import Kind
from liqctl.errors import invariant
from liqctl.keeper.executor import Executor
from liqctl.sim import stage
from liqctl.sim.mutants.registry import Patch, Patches
from liqctl.store import sqlite
from liqctl.store.sql.session import statements

Part = Any
"""What a patched function of the product takes or gives: it is handed on as it came."""

LITTLE = 50
ONE_LIVE = ("DROP INDEX attempt_one_live", "DROP TRIGGER attempt_insert")


def all_of(*layers: Patch) -> Patch:
    """Return the patch that does all of this."""

    def patch(patches: Patches) -> None:
        for layer in layers:
            layer(patches)

    return patch


def closes_little(patches: Patches) -> None:
    """Close a fiftieth of a position at a time: the program takes the next one as gladly."""

    async def draft(self: Part, decision: Part, view: Part, _max_size: object) -> Part:
        whole = decision.assessment.kind is Kind.FULL
        little = None if whole else max(decision.position.size // LITTLE, 1)
        return await drafted(self, decision, view, little)

    drafted = patches.set(Executor, "_draft", draft)


def asked(method: str, change: Callable[[list[Part]], list[Part]]) -> Patch:
    """Return the patch that changes the parameters of one RPC method."""

    def patch(patches: Patches) -> None:
        async def ask(self: Part, name: str, params: Part, **more: Part) -> object:
            told = change(list(params)) if name == method else params
            return await before(self, name, told, **more)

        before = patches.set(Member, "ask", ask)

    return patch


def _asked_of(heights: int, statuses: int, *, proven_by: slice | None) -> Patch:
    """Ask these endpoints alone, by their place; the proof too, or all of them as if one."""

    def patch(patches: Patches) -> None:
        def routed(name: str, place: int) -> None:
            async def ask(self: Chain, *parts: Part, **more: Part) -> object:
                return await before(apart(self)[place], *parts, **more)

            before = patches.set(Chain, name, ask)

        def endpoints(self: Chain) -> tuple[Chain, ...]:
            return (self,) if proven_by is None else apart(self)[proven_by]

        apart = patches.set(Chain, "endpoints", endpoints)
        routed("epoch_info", heights)
        routed("statuses", statuses)

    return patch


def _no_second_endpoint(patches: Patches) -> None:
    async def confirmed(*_parts: object) -> None:
        return None

    patches.set(expiry, "_confirmed", confirmed)


def _always(name: str, answer: Callable[[int], object]) -> Patch:
    def patch(patches: Patches) -> None:
        async def told(_chain: Chain, _attempt: object, slot: int = 0) -> object:
            return answer(slot)

        patches.set(expiry, name, told)

    return patch


LAYERS: Mapping[str, Patch] = {
    "E2": _always("_blockhash_invalid", lambda slot: slot),
    "E4": _always("_absent_from_history", lambda _: ("", 0)),
    "E5": _always("_history_reaches", lambda _: 0),
    "second": _no_second_endpoint,
    "one": _asked_of(0, -1, proven_by=None),
    "others": _asked_of(0, 0, proven_by=slice(1)),
    "search": asked("getSignatureStatuses", lambda params: params[:1]),
}
"""Of the expiry proof: conditions, that a second endpoint confirms E3 (`second`), that all of
them are asked of one endpoint (`one`: here of the first, E3 of the last), that several endpoints
are asked at all (`others`), and that statuses are searched in the history."""


def without(*names: str) -> Patch:
    """Return the patch that leaves these layers of the expiry proof out."""
    return all_of(closes_little, *(LAYERS[name] for name in names))


def sql(*changes: tuple[str, str]) -> Patch:
    """Return the patch that replaces parts of the store's statements."""

    def patch(patches: Patches) -> None:
        patches.set(sqlite, "_queries", lambda: _changed(changes))

    return patch


@cache
def _changed(changes: tuple[tuple[str, str], ...]) -> object:
    text = statements("sqlite")
    for old, new in changes:
        invariant(old in text, f"no statement has {old!r}")
        text = text.replace(old, new)
    return aiosql.from_str(text, "sqlite3")


def schema(*statements: str) -> Patch:
    """Return the patch that changes every database before a keeper opens it."""

    def patch(patches: Patches) -> None:
        def books(at: Part, database: Path, number: int) -> object:
            made = before(at, database, number)
            connection = sqlite3.connect(database)
            for statement in statements:
                connection.execute(statement)
            connection.commit()
            connection.close()
            return made

        before = patches.set(stage, "_books", books)

    return patch
