"""Several endpoints as one: reads go to the next one when one fails, writes to all at once."""

import asyncio
from collections.abc import Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, Self

import structlog

from liqctl.chain.answers import Commitment
from liqctl.chain.base58 import is_address
from liqctl.chain.lies import entries_in, level_of, slot_in
from liqctl.chain.member import SNAPSHOT, Endpoint, Member, Passed, PoolLimits, kind_of
from liqctl.chain.send_answer import SendKind, classify_send_error
from liqctl.core.cluster_time import ClusterTime, Reading
from liqctl.errors import (
    LiqctlError,
    RpcError,
    RpcMalformed,
    RpcUnreachable,
    SettingsError,
)
from liqctl.ports import Clock, Rng

__all__ = ["Pool", "PoolLimits", "Single"]

log = structlog.get_logger(__name__)
SEND = "sendTransaction"
_WRITTEN_ONCE = frozenset({"requestAirdrop"})
_NS_PER_S, _NS_PER_MS = 1_000_000_000, 1_000_000
_BACKOFF_S = 0.1
_BACKOFF_S_MAX = 2.0
_UNCHECKED = "has not shown yet which cluster it belongs to"
_LASTING = frozenset({"denied", "unable", "malformed", "lacking"})
_HOPE = ("busy", "too_early", "failing", "unreachable", "denied", "unable", "malformed", "lacking")
_TELLING = (
    SendKind.SEEN_ALREADY,
    SendKind.HOPELESS,
    SendKind.BROKE,
    SendKind.UNKNOWN_BLOCKHASH,
    SendKind.TRANSIENT,
    SendKind.REJECTED_BUG,
    SendKind.LYING,
)


@dataclass(slots=True)
class _Tally:
    """What a call has met so far: errors, who was not asked, and who need not be asked again."""

    errors: list[RpcError] = field(default_factory=list)
    passed: list[Passed] = field(default_factory=list)
    spent: set[Member] = field(default_factory=set)

    def most_hopeful(self) -> RpcError:
        """Return the error to raise: an endpoint may still tell what another one lacks."""
        if self.errors:
            return min(reversed(self.errors), key=lambda one: _HOPE.index(kind_of(one)))
        return RpcUnreachable("; ".join(dict.fromkeys(map(str, self.passed))))


class Pool:
    """Implements ports.Rpc over endpoints for reading and endpoints for sending.

    A read goes to the first endpoint that is usable and not far behind, and on to the next one
    on an error that another one need not have. A send goes to every endpoint whose breaker lets
    it through, once to each. As a context the pool compares the slots of its reading endpoints
    in the background; at the end of it, all endpoints are closed.
    """

    def __init__(
        self,
        reading: Sequence[Endpoint],
        sending: Sequence[Endpoint],
        clock: Clock,
        rng: Rng,
        *,
        limits: PoolLimits | None = None,
    ) -> None:
        """Take over the endpoints; one that is in both sequences has one budget and one breaker.

        Raises:
            SettingsError: there is nothing to read from; nothing to send to means the same ones.
        """
        if not reading:
            raise SettingsError("a pool needs an endpoint to read from")
        self._clock = clock
        self._rng = rng
        self._limits = limits or PoolLimits()
        members = self._members([*reading, *sending])
        self._all = tuple(members.values())
        self._reading = tuple(dict.fromkeys(members[id(one)] for one in reading))
        self._sending = tuple(dict.fromkeys(members[id(one)] for one in sending or reading))
        self._genesis: str | None = None
        self._snapshots = 0
        self._time = ClusterTime()
        self._doubts: dict[Member, Reading | None] = {}
        self._trailing: dict[asyncio.Task[object], None] = {}
        self._comparing: asyncio.Task[None] | None = None

    def _members(self, endpoints: Sequence[Endpoint]) -> dict[int, Member]:
        found: dict[int, Member] = {}
        names: dict[str, int] = {}
        for one in endpoints:
            if id(one) in found:
                continue
            number = names[one.shown_url] = names.get(one.shown_url, 0) + 1
            name = one.shown_url if number == 1 else f"{one.shown_url} ({number})"
            found[id(one)] = Member(one, name, self._clock, self._rng, self._limits)
        for member in found.values():
            member.alone = len(found) == 1
        return found

    def __repr__(self) -> str:
        """Show no more of the URLs than may be printed."""
        return f"Pool({', '.join(one.name for one in self._all)})"

    async def __aenter__(self) -> Self:
        """Begin to compare slots where there is something to compare."""
        if len(self._all) > 1:
            self._comparing = asyncio.create_task(self._compare_on(), name="compare endpoints")
            self._comparing.add_done_callback(_loudly)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close everything."""
        await self.aclose()

    async def aclose(self) -> None:
        """End what runs in the background and close the endpoints; no call may follow."""
        running = [*self._trailing, *([self._comparing] if self._comparing is not None else [])]
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)
        for member in self._all:
            await member.endpoint.aclose()

    @property
    def shown_url(self) -> str:
        """The first endpoint as it may be printed."""
        return self._reading[0].name

    def counts(self) -> Mapping[str, Mapping[str, int]]:
        """Return by endpoint how often what happened since the start.

        `calls` are tries on the wire; of them ended badly the kinds that `kind_of` names and
        `lies`. `passed_over` and `over_budget` were not asked, `behind` were answers from too far
        back, `ahead` from a slot that nobody can have come to, `truncated` snapshots with less in
        them than another endpoint's. `openings` are those of the breaker.
        """
        return {one.name: {**one.counts, "openings": one.openings} for one in self._all}

    def endpoints(self) -> "tuple[Single, ...]":
        """Return each reading endpoint by itself."""
        return tuple(Single(self, one) for one in self._reading)

    async def call(self, method: str, params: Sequence[object]) -> object:
        """Return the `result` member of the first good answer.

        Raises:
            RpcUnreachable: no endpoint answered, or none may be asked now.
            RpcRefused: the endpoints refused it; of several errors the one that tells most.
            RpcMalformed: what came was no answer, or provably false.
        """
        slow = method == SNAPSHOT
        limit_s = self._limits.snapshot_call_s if slow else self._limits.call_s
        tally = _Tally()
        try:
            async with asyncio.timeout(limit_s):
                if method == SEND:
                    return await self._send(params)
                return await self._read(method, params, tally)
        except TimeoutError as error:
            said = f"; before: {tally.errors[-1]}" if tally.errors else ""
            text = f"no endpoint answered {method} within {limit_s:g} s{said}"
            raise RpcUnreachable(text) from error

    async def ask(self, member: Member, method: str, params: Sequence[object]) -> object:
        """Return the answer of one member and note its slot; errors as those of Member.ask.

        A slot that the cluster cannot have come to is refused: nothing newer would ever be seen.
        It may be the others that are far behind, so that no breaker opens for it, and each
        endpoint is believed when its own next answer follows.
        """
        result = await member.ask(method, params)
        slot = slot_in(method, result)
        if slot is None:
            return result
        now_ms = self._clock.monotonic_ns() // _NS_PER_MS
        before = replace(self._time, doubted=self._doubts.get(member))
        self._time = before.after(Reading(slot=slot, unix_s=0, at_ms=now_ms))
        self._doubts[member] = self._time.doubted
        if not self._time.reaches(slot, now_ms):
            member.counts["ahead"] += 1
            told = f"{member.name} answered {method} with slot {slot}"
            raise RpcMalformed(f"{told}, slot {self._time.slot} was the newest seen")
        if level_of(params) == Commitment.CONFIRMED:
            member.judge(slot, self._reference(member, slot))
        return result

    async def _read(self, method: str, params: Sequence[object], tally: "_Tally") -> object:
        for number in range(self._limits.rounds):
            if number and not await self._paused(number, tally.spent):
                break
            far_back: list[object] = []
            for member in self._in_turn(method):
                found = await self._tried(member, method, params, tally)
                if found is None:
                    continue
                if member.behind:
                    far_back.extend(found)
                elif method == SNAPSHOT:
                    return await self._longer(member, *found, params)
                else:
                    return found[0]
            if far_back:
                return far_back[0]  # nobody else has an answer
        raise tally.most_hopeful()

    async def _tried(
        self, member: Member, method: str, params: Sequence[object], tally: "_Tally"
    ) -> tuple[object] | None:
        """Return an answer, or None where another endpoint may have one."""
        if member in tally.spent:
            return None
        try:
            return (await self.ask(member, method, params),)
        except Passed as reason:
            tally.passed.append(reason)
        except RpcError as error:
            tally.errors.append(error)
            if method in _WRITTEN_ONCE or kind_of(error) == "refused":
                raise
            if kind_of(error) in _LASTING:
                tally.spent.add(member)
        return None

    async def _longer(self, member: Member, result: object, params: Sequence[object]) -> object:
        """Return a snapshot, or now and then the one of another endpoint if that has more in it.

        A node that leaves accounts out says so by no error; only another one shows it.
        """
        others = [one for one in self._reading if one is not member and one.closed]
        self._snapshots += 1
        if not others or self._snapshots % self._limits.snapshots_alone != 1:
            return result
        other = others[0]
        with suppress(RpcError, Passed, TimeoutError):
            async with asyncio.timeout(self._limits.try_s):
                second = await self.ask(other, SNAPSHOT, params)
            found = [(entries_in(result), member, result), (entries_in(second), other, second)]
            (fewer, cut, _), (more, _, longer) = sorted(found, key=lambda one: one[0])
            if fewer * 100 < more * 99 and not other.behind:
                cut.counts["truncated"] += 1
                log.warning("snapshot_truncated", endpoint=cut.name, entries=fewer, other=more)
                return longer
        return result

    def _in_turn(self, method: str) -> list[Member]:
        """Return the reading endpoints, those that promise most first."""
        return sorted(self._reading, key=lambda one: (method in one.lacks, one.behind))

    async def _paused(self, number: int, spent: Set[Member]) -> bool:
        """Wait before another round; False when no endpoint can be asked soon enough."""
        left = [one for one in self._reading if one not in spent]
        usable = [one for one in left if one.usable]
        backoff_s = min(_BACKOFF_S * 2.0 ** (number - 1), _BACKOFF_S_MAX)
        pause_s = backoff_s * (0.5 + self._rng.random())
        if not usable:
            asked = [one.asked_pause_s for one in left if one.closed]
            pause_s = max(pause_s, min(asked, default=self._limits.retry_after_s + 1))
        if pause_s > self._limits.retry_after_s:
            return False
        await self._clock.sleep(pause_s)
        return True

    def _reference(self, judged: Member, slot: int) -> int:
        """Return the slot that being behind is measured from.

        With three or more fresh ones it is the second highest: no endpoint alone can make all
        others look slow by claiming too much.
        """
        others = [one.fresh_slot for one in self._reading if one is not judged]
        found = sorted([slot, *(other for other in others if other is not None)])
        return found[-2] if len(found) >= 3 else found[-1]

    async def _send(self, params: Sequence[object]) -> object:
        """Send to every endpoint at once; return the first acceptance, the rest goes on."""
        tasks = [
            asyncio.create_task(one.ask(SEND, params), name=f"send to {one.name}")
            for one in self._sending
        ]
        for task in tasks:
            self._trailing[task] = None
            task.add_done_callback(self._ended)
        waiting, errors = set(tasks), dict[asyncio.Task[object], RpcError | Passed]()
        while waiting:
            _, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task in waiting or task in errors:
                    continue
                try:
                    return task.result()
                except (RpcError, Passed) as error:
                    errors[task] = error
        raise self._most_telling(list(errors.values()))

    def _ended(self, task: asyncio.Task[object]) -> None:
        del self._trailing[task]
        _loudly(task)

    def _most_telling(self, found: Sequence[RpcError | Passed]) -> RpcError:
        """Return the error that says most of the transaction itself.

        That it is wrong is believed of one endpoint only where no other one says anything else.
        """
        errors = [one for one in found if isinstance(one, RpcError)]
        if not errors:
            return RpcUnreachable("; ".join(map(str, found)))
        kinds = [classify_send_error(one).kind for one in errors]
        if kinds.count(SendKind.REJECTED_BUG) >= 2:
            return errors[kinds.index(SendKind.REJECTED_BUG)]
        return errors[min(range(len(errors)), key=lambda at: _TELLING.index(kinds[at]))]

    async def one_genesis(self) -> str:
        """Return the genesis hash that all endpoints have in common.

        One that does not answer is left out until it has shown the same one.

        Raises:
            SettingsError: two endpoints belong to different clusters.
            RpcError: none of the reading ones answered; that of the first.
        """
        found: dict[Member, str | RpcError] = {}
        for number in range(self._limits.rounds):
            if number and not await self._paused(number, frozenset()):
                break
            silent = [one for one in self._all if not isinstance(found.get(one), str)]
            told = await self._each_genesis(silent)
            found |= {one: it for one, it in told.items() if not isinstance(it, Passed)}
            if any(isinstance(found.get(one), str) for one in self._reading):
                break
        known = [one for one in self._reading if isinstance(found.get(one), str)]
        if not known:
            errors = [it for it in map(found.get, self._reading) if isinstance(it, RpcError)]
            raise errors[0] if errors else RpcUnreachable
        self._genesis = str(found[known[0]])
        for one in self._all:
            shown = found.get(one)
            if isinstance(shown, str) and shown != self._genesis:
                raise SettingsError(
                    f"{known[0].name} and {one.name} belong to different clusters: their genesis "
                    f"hashes are {self._genesis} and {shown}"
                )
            self._admit(one, shown)
        return self._genesis

    async def compare(self) -> None:
        """Ask every endpoint once for what it has to show: its cluster, then its slot."""
        unchecked = [one for one in self._all if one.foreign == _UNCHECKED]
        for one, shown in (await self._each_genesis(unchecked)).items():
            self._admit(one, shown)
        async with asyncio.TaskGroup() as group:
            for one in self._reading:
                group.create_task(self._slot_of(one))

    async def _compare_on(self) -> None:
        while True:
            await self.compare()
            await self._clock.sleep(self._limits.compare_s)

    async def _slot_of(self, member: Member) -> None:
        with suppress(RpcError, Passed):
            await self.ask(member, "getSlot", [{"commitment": Commitment.CONFIRMED}])

    async def _each_genesis(
        self, members: Sequence[Member]
    ) -> dict[Member, str | RpcError | Passed]:
        async with asyncio.TaskGroup() as group:
            tasks = {one: group.create_task(_genesis_of(one)) for one in members}
        return {one: task.result() for one, task in tasks.items()}

    def _admit(self, member: Member, shown: object) -> None:
        """Let an endpoint take part, or keep it out until it shows which cluster it belongs to."""
        lacking = isinstance(shown, RpcError) and kind_of(shown) in {"lacking", "refused"}
        if shown == self._genesis or (lacking and member not in self._reading):
            member.foreign = ""
        elif isinstance(shown, str):
            member.foreign = "belongs to another cluster"
            log.error("endpoint_of_another_cluster", endpoint=member.name, genesis=shown)
        else:
            if not member.foreign:
                log.warning("endpoint_not_checked", endpoint=member.name, reason=str(shown))
            member.foreign = _UNCHECKED


class Single:
    """One endpoint of a pool by itself: no other one answers for it and nothing is repeated."""

    def __init__(self, pool: Pool, member: Member) -> None:
        """Share breaker and budget with the pool."""
        self._pool = pool
        self._member = member

    @property
    def shown_url(self) -> str:
        """The endpoint as it may be printed."""
        return self._member.name

    @property
    def closed(self) -> bool:
        """Whether its breaker is closed, so that its word counts."""
        return self._member.closed

    async def call(self, method: str, params: Sequence[object]) -> object:
        """Return the answer to one try; an endpoint that may not be asked is RpcUnreachable."""
        try:
            return await self._pool.ask(self._member, method, params)
        except Passed as reason:
            raise RpcUnreachable(str(reason)) from reason


async def _genesis_of(member: Member) -> str | RpcError | Passed:
    try:
        found = await member.ask("getGenesisHash", [], unchecked=True)
    except (RpcError, Passed) as error:
        return error
    if not (isinstance(found, str) and is_address(found)):
        return RpcMalformed(f"{member.name} sent a genesis hash that is none")
    return found


def _loudly(task: asyncio.Task[Any]) -> None:
    """Report a task of the background that ended by a fault of ours."""
    error = None if task.cancelled() else task.exception()
    if error is not None and not isinstance(error, LiqctlError):
        context = {"message": f"{task.get_name()} failed", "exception": error, "task": task}
        task.get_loop().call_exception_handler(context)
