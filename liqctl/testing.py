"""Public fakes of the ports, for tests of liqctl and of programs that build on it."""

import asyncio
import heapq
from collections import deque
from collections.abc import Sequence

from liqctl.core.alert import Delivery
from liqctl.errors import DeliveryError, RpcUnreachable
from liqctl.ports import SystemRng
from liqctl.store.memory import MemoryStore

__all__ = [
    "FakeRpc",
    "ManualClock",
    "MemoryStore",
    "RecordingNotifier",
    "SeededRng",
]


class ManualClock:
    """A clock that stands still until it is advanced; sleepers wake as their time comes."""

    def __init__(self, unix_ms: int = 1_700_000_000_000) -> None:
        """Start at a wall time; the monotonic time starts at 0."""
        self._start_ms = unix_ms
        self._now_ns = 0
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []
        self._sleeps = 0

    def unix_ms(self) -> int:
        """Return the wall time in milliseconds since 1970."""
        return self._start_ms + self._now_ns // 1_000_000

    def monotonic_ns(self) -> int:
        """Return the time advanced so far, in nanoseconds."""
        return self._now_ns

    async def sleep(self, seconds: float) -> None:
        """Wait until the clock has been advanced by so much; not positive only yields."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleeps += 1
        heapq.heappush(self._sleepers, (self._now_ns + _ns(seconds), self._sleeps, woken))
        await woken

    async def advance(self, seconds: float) -> None:
        """Move the time on; who sleeps wakes in order and may sleep again on the way."""
        end_ns = self._now_ns + _ns(seconds)
        await _let_others_run()
        while self._sleepers and self._sleepers[0][0] <= end_ns:
            due_ns, _, woken = heapq.heappop(self._sleepers)
            self._now_ns = due_ns
            if not woken.done():
                woken.set_result(None)
            await _let_others_run()
        self._now_ns = end_ns


class SeededRng(SystemRng):
    """Chance that is the same in every run with the same seed."""

    def __init__(self, seed: int = 0) -> None:
        """Draw from a seed."""
        super().__init__(seed)


class RecordingNotifier:
    """Keeps messages in `sent`; raises `error` instead while that is set."""

    def __init__(self) -> None:
        """Start with nothing sent."""
        self.sent: list[Delivery] = []
        self.error: DeliveryError | None = None

    async def notify(self, delivery: Delivery) -> None:
        """Keep one message, or raise."""
        if self.error is not None:
            raise self.error
        self.sent.append(delivery)


class FakeRpc:
    """Answers from a script; `calls` holds what was asked.

    Each answer of a method is used once, the last one again and again; an answer that is an
    exception is raised. Without an answer the node is unreachable.
    """

    def __init__(self) -> None:
        """Start without answers."""
        self.calls: list[tuple[str, Sequence[object]]] = []
        self._answers: dict[str, deque[object]] = {}

    def answer(self, method: str, *results: object) -> None:
        """Append answers of a method."""
        self._answers.setdefault(method, deque()).extend(results)

    async def call(self, method: str, params: Sequence[object]) -> object:
        """Return the next answer of the method, or raise it."""
        self.calls.append((method, params))
        answers = self._answers.get(method)
        if not answers:
            raise RpcUnreachable(f"the script has no answer for {method}")
        result = answers.popleft() if len(answers) > 1 else answers[0]
        if isinstance(result, Exception):
            raise result
        return result


def _ns(seconds: float) -> int:
    return round(seconds * 1_000_000_000)


async def _let_others_run() -> None:
    """Yield often enough that a woken chain of tasks reaches its next sleep."""
    for _ in range(10):
        await asyncio.sleep(0)
