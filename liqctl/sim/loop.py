"""An asyncio loop on virtual time: it never waits, and the same seed takes the same steps."""

import asyncio
import contextvars
import functools
import gc
import heapq
from collections import deque
from collections.abc import Callable, Coroutine
from types import AsyncGeneratorType
from typing import TYPE_CHECKING, Any, TypeVar, cast

from liqctl.ports import SystemRng
from liqctl.sim.process import CURRENT, Process, Step, close_generator
from liqctl.sim.trace import Trace

if TYPE_CHECKING:
    from liqctl.sim.network import End, Listener, Network

T = TypeVar("T")
STEPS_MAX = 5_000_000
_STORE_DELAY_S = (0.0001, 0.003)


class Deadlock(Exception):
    """Nothing is scheduled and the simulation waits for something."""


class Livelock(Exception):
    """The step cap was reached."""


class _Soon(asyncio.Handle):
    """A handle of a process, made without what only asyncio's debug mode needs."""

    __slots__ = ("process",)

    def __init__(
        self,
        callback: Callable[..., object],
        args: tuple[object, ...],
        loop: "VirtualLoop",
        context: contextvars.Context,
    ) -> None:
        self._callback = callback
        self._args = args
        self._context = context
        self._loop = loop
        self._cancelled = False
        self._repr = self._source_traceback = None
        self.process = context.get(CURRENT, loop.world)

    def cancel(self) -> None:
        """Let go of everything; the loop passes it over."""
        self._cancelled = True
        self._callback, self._args = _nothing, ()


def _nothing() -> None:
    """Stand in for what a cancelled handle held on to."""


class _Later(asyncio.TimerHandle):
    """The same with a time."""

    __slots__ = ("process",)

    def __init__(
        self,
        when: float,
        callback: Callable[..., object],
        args: tuple[object, ...],
        loop: "VirtualLoop",
        context: contextvars.Context,
    ) -> None:
        self._when = when
        self._scheduled = False
        self._callback = callback
        self._args = args
        self._context = context
        self._loop = loop
        self._cancelled = False
        self._repr = self._source_traceback = None
        self.process = context.get(CURRENT, loop.world)

    def cancel(self) -> None:
        """Stay among the timers and be passed over when the time comes."""
        self._cancelled = True
        self._callback, self._args = _nothing, ()


class _Task(asyncio.Task[T]):
    """A task whose hash is its number: sets of tasks iterate alike in every run."""

    def __init__(
        self,
        coroutine: Coroutine[Any, Any, T],
        *,
        serial: int,
        process: Process,
        loop: asyncio.AbstractEventLoop,
        name: str | None,
        context: contextvars.Context | None,
    ) -> None:
        self.serial = serial
        self.process = process
        kind = getattr(coroutine, "__qualname__", type(coroutine).__name__)
        self.label = f"{process.name}:{kind}"
        super().__init__(coroutine, loop=loop, name=name or f"task-{serial}", context=context)

    def __hash__(self) -> int:
        return self.serial


class VirtualLoop(asyncio.BaseEventLoop):
    """Runs callbacks in the order of their virtual times, first in first out at equal times.

    The time starts at 0.0 s and moves only when nothing is left to do at the present one.
    `store_delay` says how long an executor call takes, in seconds. `unhandled` collects what
    asyncio would have logged as unhandled.
    """

    def __init__(self, seed: int, *, steps_max: int = STEPS_MAX) -> None:
        """Make a loop whose chance comes from the seed."""
        super().__init__()
        self._clock_resolution = 1e-9
        self._now = 0.0
        self._order = 0
        self._serial = 0
        self._timers: list[tuple[float, int, _Later]] = []
        self._soon: deque[_Soon | _Later] = deque()
        self._processes: dict[Process, None] = {}
        self._generators: dict[int, Process] = {}
        self._busy_until: dict[object, float] = {}
        self._over = False
        self._steps_max = steps_max
        self._rng = SystemRng(seed)
        self.steps = 0
        self.world = Process("world")
        self._adopt(self.world)
        self.trace = Trace()
        self.unhandled: list[dict[str, Any]] = []
        self.network: Network | None = None
        self.store_delay: Callable[[], float] = self._store_delay

    def spawn(
        self, process: Process, coroutine: Coroutine[Any, Any, T], *, name: str | None = None
    ) -> asyncio.Task[T]:
        """Return the root task of a process; what it starts belongs to the process too.

        A process that is killed never completes its tasks.
        """
        self._adopt(process)
        context = contextvars.Context()
        context.run(CURRENT.set, process)
        return self.create_task(coroutine, name=name, context=context)

    @property
    def current(self) -> Process:
        """The process whose callback runs; the world when none does."""
        return CURRENT.get(self.world)

    def note(self, text: str) -> None:
        """Add a finding to the trace."""
        self.trace.moment(self._now)
        self.trace.add(text)

    def trace_hash(self) -> str:
        """Return the hash of everything that happened so far."""
        return self.trace.digest()

    def mourn(self, process: Process) -> None:
        """Note a death; what is left of the process stays until the loop closes."""
        if not self._over:
            self.note(f"killed {process.name}")

    def admit_again(self, steps: deque[Step]) -> None:
        """Queue callbacks that waited while their process was stopped."""
        self._soon.extend(cast("deque[_Soon | _Later]", steps))

    def time(self) -> float:
        """Return the virtual time in seconds."""
        return self._now

    def call_soon(
        self,
        callback: Callable[..., object],
        *args: object,
        context: contextvars.Context | None = None,
    ) -> asyncio.Handle:
        """Queue a callback behind those of the present time."""
        if context is None:
            context = contextvars.copy_context()
        step = _Soon(callback, args, self, context)
        self._soon.append(step)
        return step

    call_soon_threadsafe = call_soon

    def call_later(
        self,
        delay: float,
        callback: Callable[..., object],
        *args: object,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        """Call back after `delay` seconds."""
        if context is None:
            context = contextvars.copy_context()
        return self._call_at(self._now + delay, callback, args, context)

    def call_at(
        self,
        when: float,
        callback: Callable[..., object],
        *args: object,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        """Call back at a virtual time; equal times keep the order of the calls."""
        if context is None:
            context = contextvars.copy_context()
        return self._call_at(when, callback, args, context)

    def _call_at(
        self,
        when: float,
        callback: Callable[..., object],
        args: tuple[object, ...],
        context: contextvars.Context,
    ) -> asyncio.TimerHandle:
        step = _Later(when, callback, args, self, context)
        if when <= self._now:
            self._soon.append(step)
        else:
            self._order += 1
            heapq.heappush(self._timers, (when, self._order, step))
        return step

    def create_task(  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        coro: Coroutine[Any, Any, T],
        *,
        name: str | None = None,
        context: contextvars.Context | None = None,
    ) -> asyncio.Task[T]:
        """Return a task that belongs to the process of its context."""
        if self._over:
            coro.close()
            raise RuntimeError("the simulation is over")
        process = self.current if context is None else context.get(CURRENT, self.world)
        self._serial += 1
        return _Task(
            coro, serial=self._serial, process=process, loop=self, name=name, context=context
        )

    def run_in_executor(
        self, executor: object, func: Callable[..., T], *args: object
    ) -> asyncio.Future[T]:
        """Return a future of the call, made on the loop itself after a virtual delay.

        An executor takes one call after another; calls without one do not wait for each other.
        """
        future: asyncio.Future[T] = self.create_future()
        start_s = self._now
        if executor is not None:
            start_s = max(start_s, self._busy_until.get(executor, 0.0))
        end_s = start_s + self.store_delay()
        if executor is not None:
            self._busy_until[executor] = end_s
        self.call_at(end_s, self._carry_out, self.current, future, func, args)
        return future

    async def create_connection(  # type: ignore[override]
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        host: str | None = None,
        port: int | None = None,
        **options: object,
    ) -> tuple["End", asyncio.BaseProtocol]:
        """Return a connection of the simulated network.

        Raises:
            OSError: refused, or no network.
        """
        return await self._network().connect(protocol_factory, str(host), int(port or 0), options)

    async def create_server(  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        host: str | None = None,
        port: int | None = None,
        **_options: object,
    ) -> "Listener":
        """Return a listener of the simulated network."""
        return self._network().listen(str(host), int(port or 0), protocol_factory)

    async def getaddrinfo(  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
        self, host: str, port: int, **_options: object
    ) -> list[tuple[int, int, int, str, tuple[str, int]]]:
        """Return the one address of a simulated host: its name.

        Raises:
            socket.gaierror: nobody listens under this name.
        """
        return self._network().addresses(str(host), int(port))

    def add_signal_handler(self, sig: int, callback: Callable[..., object], *args: object) -> None:
        """Remember what the current process does on a signal."""
        context = contextvars.copy_context()
        self.current.signals[int(sig)] = functools.partial(
            self.call_soon, callback, *args, context=context
        )

    def remove_signal_handler(self, sig: int) -> bool:
        """Forget it; False when there was nothing."""
        return self.current.signals.pop(int(sig), None) is not None

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Keep what nobody handled, unless its process is dead."""
        owner = context.get("task") or context.get("future") or context.get("handle")
        process = getattr(owner, "process", None)
        if not self._over and (process is None or not process.dead):
            self.unhandled.append(context)

    def run_forever(self) -> None:
        """Run until stopped, without garbage collection: its moments depend on earlier runs."""
        collects = gc.isenabled()
        gc.disable()
        try:
            super().run_forever()
        finally:
            if collects:
                gc.enable()

    def close(self) -> None:
        """End the simulation and every process; only now what they left is cleared away."""
        if self.is_closed():
            return
        self._over = True
        for process in self._processes:
            process.kill()
            process.bury()
        self._processes.clear()
        self._soon.clear()
        self._timers.clear()
        if self.network is not None:
            self.network.close()
        super().close()

    def _adopt(self, process: Process) -> None:
        process.bind(self)
        self._processes[process] = None

    def _asyncgen_firstiter_hook(self, agen: AsyncGeneratorType[Any, Any]) -> None:
        # by identity: weak references to a generator are cleared before its finalizer runs
        self._generators[id(agen)] = self.current

    def _asyncgen_finalizer_hook(self, agen: AsyncGeneratorType[Any, Any]) -> None:
        """Close an abandoned generator in its own process, or after the end when that is dead."""
        process = self._generators.pop(id(agen), self.world)
        if self._over:
            close_generator(agen)
        elif process.dead:
            process.keep(agen)
        else:
            self.spawn(process, agen.aclose())

    def _network(self) -> "Network":
        if self.network is None:
            raise OSError("the simulation has no network")
        return self.network

    def _store_delay(self) -> float:
        least_s, most_s = _STORE_DELAY_S
        return least_s + (most_s - least_s) * self._rng.random()

    def _carry_out(
        self,
        process: Process,
        future: asyncio.Future[T],
        func: Callable[..., T],
        args: tuple[object, ...],
    ) -> None:
        name = _call_name(func, args)
        self.note(name)
        if process.crash_at is not None and process.crash_at("before_store", name):
            process.kill()
            return
        result: T | None = None
        failure: BaseException | None = None
        try:
            result = func(*args)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:  # noqa: BLE001 - the caller gets it, as from a thread
            failure = error
        if process.crash_at is not None and process.crash_at("after_store", name):
            process.kill()
            return
        if future.done():
            return
        if failure is None:
            future.set_result(cast("T", result))
        else:
            future.set_exception(failure)

    def _run_once(self) -> None:
        """Run what is due at the present time, or move the time to what is due next."""
        soon = self._soon
        if not soon:
            self._advance()
        count = len(soon)
        self.steps += count
        if self.steps > self._steps_max:
            raise Livelock(f"{self._steps_max} steps until {self._now:.3f} s")
        trace = self.trace
        if trace.now_s != self._now:
            trace.moment(self._now)
        add = trace.batch.append if trace.listener is None else trace.add
        for _ in range(count):
            step = soon.popleft()
            if step._cancelled:  # noqa: SLF001 - the loop owns its handles
                continue
            process = step.process
            if process.gate and not process.admits(step):
                continue
            process.steps += 1
            callback = step._callback  # noqa: SLF001
            owner = getattr(callback, "__self__", None)
            if type(owner) is _Task:
                add(owner.label)
            else:
                add(getattr(callback, "__qualname__", "call"))
            try:
                step._context.run(callback, *step._args)  # noqa: SLF001
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as error:  # noqa: BLE001 - as a handle does
                self.call_exception_handler({"exception": error, "handle": step})

    def _advance(self) -> None:
        timers, soon = self._timers, self._soon
        while timers:
            when, _, step = heapq.heappop(timers)
            if step._cancelled or step.process.dead:  # noqa: SLF001
                continue
            self._now = when
            soon.append(step)
            while timers and timers[0][0] <= when:
                soon.append(heapq.heappop(timers)[2])
            return
        raise Deadlock(f"nothing is scheduled at {self._now:.3f} s")


def _call_name(func: Callable[..., object], args: tuple[object, ...]) -> str:
    """Return the name of the call that somebody wrapped for an executor."""
    inner: object = func
    if args and isinstance(args[0], functools.partial):
        inner = args[0]
    while isinstance(inner, functools.partial):
        inner = inner.func
    return getattr(inner, "__name__", type(inner).__name__)
