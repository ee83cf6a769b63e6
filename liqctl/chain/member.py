"""One endpoint of a pool: asked within its budget, left alone while its breaker is open."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from liqctl.chain.breaker import EndpointBreaker
from liqctl.chain.budget import Budget
from liqctl.chain.lies import lie_in
from liqctl.chain.rpc import MIN_CONTEXT_NOT_REACHED, NO_HISTORY, TOO_MANY_REQUESTS, UNHEALTHY
from liqctl.errors import LiqctlError, RpcError, RpcMalformed, RpcRefused, RpcUnreachable
from liqctl.ports import Clock, Rng

log = structlog.get_logger(__name__)
SNAPSHOT = "getProgramAccounts"
_NS_PER_S = 1_000_000_000
_BUSY_S = 0.5
_BUSY_S_MAX = 10.0
_PAUSE_S_MAX = 3_600.0
_OF_BREAKER = frozenset({"unreachable", "malformed", "failing", "denied"})
_KINDS = {
    TOO_MANY_REQUESTS: "busy",
    UNHEALTHY: "failing",
    MIN_CONTEXT_NOT_REACHED: "too_early",
    **dict.fromkeys((NO_HISTORY, -32010, -32601), "lacking"),
    **dict.fromkeys((-32600, -32602, -32002, -32003, -32006, -32013, -32015), "refused"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolLimits:
    """How long, how often and how far behind: what a pool bears from its endpoints.

    A try ends after `try_s`, a call with all its tries after `call_s`; those of a snapshot have
    times of their own. `rounds` is how often a read goes through all endpoints. A turn in the
    budget is waited for at most `budget_wait_s`, a Retry-After at most `retry_after_s`, and only
    where no other endpoint can be asked meanwhile. An endpoint more than `lag_slots_max` behind
    is passed over for `lag_hold_s`. Slots are compared every `compare_s`, and the first of
    every `snapshots_alone` snapshots with that of another endpoint.
    """

    requests_per_s: int = 200
    try_s: float = 5.0
    call_s: float = 15.0
    snapshot_try_s: float = 60.0
    snapshot_call_s: float = 120.0
    rounds: int = 3
    budget_wait_s: float = 1.0
    retry_after_s: float = 5.0
    failures_max: int = 3
    pause_s: float = 1.0
    pause_s_max: float = 15.0
    lag_slots_max: int = 25
    lag_hold_s: float = 10.0
    compare_s: float = 5.0
    snapshots_alone: int = 30


class Endpoint(Protocol):
    """One JSON-RPC endpoint that can be tried once."""

    @property
    def shown_url(self) -> str:
        """The URL as it may be printed."""
        ...

    async def once(self, method: str, params: Sequence[object]) -> object:
        """Return the `result` member of the answer to a single try, or raise an RpcError."""
        ...

    async def aclose(self) -> None:
        """Close the connections."""
        ...


class Passed(LiqctlError):
    """An endpoint was not asked; the text says why."""


class Member:
    """An endpoint with everything that the pool knows of it.

    `foreign` is why it must not be used at all: it shows another cluster, or has not shown yet
    which one. `lacks` has the methods that it refuses for good.
    """

    def __init__(
        self, endpoint: Endpoint, name: str, clock: Clock, rng: Rng, limits: PoolLimits
    ) -> None:
        """Start with a full budget and a closed breaker."""
        self.endpoint = endpoint
        self.name = name
        self.counts: Counter[str] = Counter()
        self.lacks: set[str] = set()
        self.foreign = ""
        self.alone = False
        self._slot = 0
        self._slot_ns: int | None = None
        self._clock = clock
        self._rng = rng
        self._limits = limits
        self._breaker = EndpointBreaker(limits.failures_max, limits.pause_s, limits.pause_s_max)
        self._budget = Budget(limits.requests_per_s, limits.requests_per_s)
        self._paused_until_ns: int | None = None
        self._busy_in_a_row = 0
        self._behind_until_ns: int | None = None
        self._trouble = ""

    @property
    def closed(self) -> bool:
        """Whether the breaker is closed and the endpoint belongs to the cluster."""
        return self._breaker.closed and not self.foreign

    @property
    def behind(self) -> bool:
        """Whether the endpoint was far behind the others when last compared."""
        until_ns = self._behind_until_ns
        return until_ns is not None and self._clock.monotonic_ns() < until_ns

    @property
    def fresh_slot(self) -> int | None:
        """The last slot that the endpoint showed, if that was not long ago."""
        if self._slot_ns is None:
            return None
        age_ns = self._clock.monotonic_ns() - self._slot_ns
        return self._slot if age_ns <= self._limits.lag_hold_s * _NS_PER_S else None

    @property
    def openings(self) -> int:
        """How often the breaker has opened."""
        return self._breaker.openings

    def judge(self, slot: int, reference: int) -> bool:
        """Note a slot beside that of the other endpoints; return whether it is far behind."""
        now_ns = self._clock.monotonic_ns()
        self._slot, self._slot_ns = slot, now_ns
        far = reference - slot > self._limits.lag_slots_max
        if far and not self.behind:
            log.warning("endpoint_behind", endpoint=self.name, slots=reference - slot)
        self.counts["behind"] += far
        hold_ns = round(self._limits.lag_hold_s * _NS_PER_S)
        self._behind_until_ns = now_ns + hold_ns if far else None
        return far

    @property
    def usable(self) -> bool:
        """Whether a call may begin now, as far as breaker and pauses go."""
        return not (self.foreign or self._resting())

    @property
    def asked_pause_s(self) -> float:
        """The seconds that the endpoint asked not to be asked."""
        until_ns = self._paused_until_ns
        if until_ns is None:
            return 0.0
        return max(until_ns - self._clock.monotonic_ns(), 0) / _NS_PER_S

    async def ask(
        self, method: str, params: Sequence[object], *, unchecked: bool = False
    ) -> object:
        """Return the answer to one try; `unchecked` asks although the cluster is not known yet.

        Raises:
            Passed: breaker, pause or budget said no; nothing was sent.
            RpcError: what went wrong; a lie is RpcMalformed.
        """
        await self._turn(unchecked=unchecked)
        trial = self._breaker.begin()
        self.counts["calls"] += 1
        try:
            result = await self._within_time(method, params)
        except RpcError as error:
            self._met(method, error, trial=trial)
            raise
        except BaseException:
            self._breaker.abandoned(trial=trial)
            raise
        said = lie_in(method, params, result)
        if said is not None:
            self._breaker.lied(self._clock.monotonic_ns())
            self.counts["lies"] += 1
            self._trouble = f"{self.name} answered {method} with {said}"
            log.error("endpoint_lied", endpoint=self.name, method=method, reason=said)
            raise RpcMalformed(self._trouble)
        self._breaker.succeeded(trial=trial)
        self._busy_in_a_row = 0
        return result

    async def _turn(self, *, unchecked: bool) -> None:
        """Return when the budget has a turn and the endpoint may still be asked."""
        self._check_admitted(unchecked=unchecked)
        wait_s = self._budget.turn(self._clock.monotonic_ns(), self._limits.budget_wait_s)
        if wait_s is None:
            self.counts["over_budget"] += 1
            raise Passed(f"{self.name} was not asked: its budget is used up")
        if wait_s > 0:
            await self._clock.sleep(wait_s)
            self._check_admitted(unchecked=unchecked)

    def _check_admitted(self, *, unchecked: bool) -> None:
        foreign = f"{self.name} {self.foreign}" if self.foreign and not unchecked else ""
        reason = foreign or self._resting()
        if reason:
            self.counts["passed_over"] += 1
            raise Passed(reason)

    async def _within_time(self, method: str, params: Sequence[object]) -> object:
        limits = self._limits
        try_s = limits.snapshot_try_s if method == SNAPSHOT else limits.try_s
        try:
            async with asyncio.timeout(try_s):
                return await self.endpoint.once(method, params)
        except TimeoutError as error:
            text = f"no answer to {method} from {self.name} within {try_s:g} s"
            raise RpcUnreachable(text) from error

    def _resting(self) -> str:
        now_ns = self._clock.monotonic_ns()
        if not self._breaker.admits(now_ns):
            left_s = self._breaker.rest_s(now_ns)
            return f"{self._trouble} (it is left alone for {left_s:.1f} s more)"
        if self.asked_pause_s > 0:
            return f"{self.name} asked not to be asked for {self.asked_pause_s:.1f} s more"
        return ""

    def _met(self, method: str, error: RpcError, *, trial: int) -> None:
        """Count an error, and let the breaker know where it speaks against the endpoint."""
        kind = kind_of(error)
        self.counts[kind] += 1
        asked_s = error.retry_after_s if isinstance(error, RpcRefused) else None
        if kind == "busy" or asked_s is not None:
            self._pause(asked_s)
        if kind == "lacking":
            self.lacks.add(method)
        if kind not in _OF_BREAKER:
            self._breaker.succeeded(trial=trial)
            return
        self._trouble = str(error)
        opened = self._breaker.failed(self._clock.monotonic_ns(), trial=trial)
        if opened and not self.alone:  # where it is the only one the error itself is told
            log.info("endpoint_rests", endpoint=self.name, reason=str(error))

    def _pause(self, asked_s: float | None) -> None:
        """Leave the endpoint alone for as long as it asks, or ever longer where it names no time."""
        if asked_s is None:
            grown_s = min(_BUSY_S * 2.0 ** min(self._busy_in_a_row, 32), _BUSY_S_MAX)
            asked_s = grown_s * (0.5 + self._rng.random())
            self._busy_in_a_row += 1
        until_ns = self._clock.monotonic_ns() + round(min(asked_s, _PAUSE_S_MAX) * _NS_PER_S)
        self._paused_until_ns = max(self._paused_until_ns or until_ns, until_ns)


def kind_of(error: RpcError) -> str:
    """Return what an error says about its endpoint, in the word that counts use.

    unreachable, malformed, failing (5xx, unhealthy) and denied (another HTTP status) speak
    against it; busy and too_early pass; unable may pass, lacking will not; refused is about the
    call itself.
    """
    match error:
        case RpcRefused(code=code):
            by_range = "failing" if code >= 500 else "denied" if code > 0 else "unable"
            return _KINDS.get(code, by_range)
        case RpcMalformed():
            return "malformed"
        case _:
            return "unreachable"
