"""A simulated operating-system process: it can die between any two steps, or stop for a while."""

import asyncio
import contextlib
import contextvars
import signal
import warnings
from collections import deque
from collections.abc import Callable
from types import AsyncGeneratorType, CoroutineType
from typing import Any, Protocol, cast

from liqctl.errors import invariant

CrashPoint = Callable[[str, str], bool]
_CLOSES_MAX = 100


class Severed(Protocol):
    """Something of a process that the operating system cuts when the process dies."""

    def sever(self) -> None:
        """Cut it; nobody in the process learns of it."""
        ...


class Step(Protocol):
    """A callback that waits for its turn on the loop."""

    process: "Process"


class Process:
    """One life of a program. Everything it starts on the loop belongs to it and ends with it.

    `steps` counts the callbacks that ran. `crash_at`, when set, is asked at each call to an
    executor with ("before_store" | "after_store", name of the call); True kills the process there.
    The callables in `at_death` run once, outside of the process, as soon as it is dead.
    """

    def __init__(self, name: str) -> None:
        """Name the process; its next life is another object of the same name."""
        self.name = name
        self.steps = 0
        self.dead = False
        self.paused = False
        self.crash_at: CrashPoint | None = None
        self.at_death: list[Callable[[], None]] = []
        self.pipes: dict[Severed, None] = {}
        self.signals: dict[int, Callable[[], object]] = {}
        self.gate = False
        self._resumes = 0
        self._steps_left: int | None = None
        self._waiting: deque[Step] = deque()
        self._graveyard: list[object] = []
        self._loop: ProcessLoop | None = None

    def __repr__(self) -> str:
        """Show the name and whether it lives."""
        return f"Process({self.name}{', dead' if self.dead else ''})"

    @property
    def running(self) -> bool:
        """Whether the process lives and has a task that did not end."""
        return not self.dead and bool(self.tasks())

    def tasks(self) -> list[asyncio.Task[Any]]:
        """Return its tasks that have not ended."""
        if self._loop is None:
            return []
        every = asyncio.all_tasks(cast("asyncio.AbstractEventLoop", self._loop))
        return [task for task in every if getattr(task, "process", None) is self]

    def bind(self, loop: "ProcessLoop") -> None:
        """Make the loop the one that the process runs on; twice is once."""
        invariant(self._loop in {None, loop}, "a process runs on one loop")
        self._loop = loop

    def kill(self) -> None:
        """End the process like SIGKILL: no callback of it runs again, no finally-block either.

        Called from inside the process, the callback under way still runs to its next await.
        """
        if self.dead:
            return
        self.dead = self.gate = True
        # a task nobody refers to would be closed, and its finally-blocks run, when it is collected
        self._graveyard = [*self.tasks(), *self._waiting]
        self._waiting.clear()
        for pipe in list(self.pipes):
            pipe.sever()
        self.pipes.clear()
        if self._loop is not None:
            self._loop.mourn(self)
        for call in self.at_death:
            contextvars.Context().run(call)

    def kill_after_steps(self, steps: int) -> None:
        """Kill the process instead of its `steps`-th callback from now; 1 is the next one."""
        self._steps_left = steps
        self.gate = True

    def pause(self, seconds: float) -> None:
        """Stop the process for a while, like SIGSTOP; what falls due waits, in order."""
        if self.dead or self._loop is None:
            return
        self.paused = self.gate = True
        self._resumes += 1
        self._loop.call_later(seconds, self._resume, self._resumes, context=contextvars.Context())

    def signal(self, number: int) -> None:
        """Deliver a signal: its callback runs next; without one the process dies, as by default."""
        call = self.signals.get(int(number))
        if call is None or number == signal.SIGKILL:
            self.kill()
        elif not self.dead:
            call()

    def admits(self, step: Step) -> bool:
        """Return whether a callback may run now; asked by the loop while `gate` is set."""
        if self.dead:
            return False
        if self.paused:
            self._waiting.append(step)
            return False
        if self._steps_left is not None:
            self._steps_left -= 1
            if self._steps_left <= 0:
                self.kill()
                return False
        return True

    def keep(self, left: object) -> None:
        """Hold what the dead process left, so that it is not closed before the burial."""
        self._graveyard.append(left)

    def bury(self) -> None:
        """Close what the dead process left, after the loop has stopped for good."""
        with warnings.catch_warnings():
            # a task that never began holds coroutines that nobody awaits any more
            warnings.simplefilter("ignore", RuntimeWarning)
            while self._graveyard:
                left = self._graveyard.pop()
                if isinstance(left, asyncio.Task):
                    close_task(left)
                del left

    def _resume(self, pause: int) -> None:
        if self.dead or pause != self._resumes or self._loop is None:
            return
        self.paused = False
        self.gate = self._steps_left is not None
        waiting, self._waiting = self._waiting, deque()
        self._loop.admit_again(waiting)


class ProcessLoop(Protocol):
    """What a process needs of its loop."""

    def mourn(self, process: Process) -> None:
        """Take note of a death."""
        ...

    def admit_again(self, steps: deque[Step]) -> None:
        """Queue callbacks that waited while their process was stopped."""
        ...

    def call_later(
        self,
        delay: float,
        callback: Callable[[int], object],
        *args: int,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        """Call back later."""
        ...


CURRENT: contextvars.ContextVar[Process] = contextvars.ContextVar("sim_process")


def close_task(task: asyncio.Task[object]) -> None:
    """Close the coroutine of a task that will never run, quietly and wherever it waits."""
    # it is meant to be pending
    task._log_destroy_pending = False  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]  # noqa: SLF001
    _close(task.get_coro())


def close_generator(generator: AsyncGeneratorType[Any, Any]) -> None:
    """Do the same to a generator and what it awaits; before 3.12 its own caller cannot."""
    _close(generator.ag_await)
    closing = generator.aclose()
    with contextlib.suppress(BaseException):
        closing.send(None)
        for _ in range(_CLOSES_MAX):
            closing.throw(GeneratorExit)


def _close(waiting: object) -> None:
    if not isinstance(waiting, CoroutineType):
        return
    for _ in range(_CLOSES_MAX):
        try:
            waiting.close()
        except RuntimeError:  # a finally-block awaited; close it there as well
            continue
        except BaseException:  # noqa: BLE001, S110 - what a dead process still raises concerns nobody
            pass
        return
