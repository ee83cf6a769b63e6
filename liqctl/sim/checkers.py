"""The verdict on one seed: one class per code, each judging from the evidence alone."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

from liqctl.sim.evidence import Evidence


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """A broken promise, with what finds it again."""

    code: str
    seed: int
    at_s: float
    text: str
    intent: str = ""
    attempt: str = ""

    @property
    def replay(self) -> str:
        """The command that shows it again."""
        return f"liqctl dev sim --seed {self.seed} --trace"

    def __str__(self) -> str:
        """Say it in one line."""
        where = "".join(
            f" {name} {value}"
            for name, value in (("intent", self.intent), ("attempt", self.attempt))
            if value
        )
        return (
            f"{self.code} seed {self.seed} at {self.at_s:.3f} s{where}: {self.text}"
            f"; replay: {self.replay}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A broken promise as a checker sees it."""

    text: str
    at_s: float = 0.0
    intent: str = ""
    attempt: str = ""


class Checker(Protocol):
    """Finds the violations of one code."""

    code: ClassVar[str]

    def check(self, evidence: Evidence) -> Iterator[Found]:
        """Yield each violation."""
        ...


def all_checkers() -> Sequence[Checker]:
    """Return one of each."""
    from liqctl.sim.checks_decision import DECISION  # noqa: PLC0415 - they import this module
    from liqctl.sim.checks_guard import GUARD  # noqa: PLC0415
    from liqctl.sim.checks_progress import PROGRESS  # noqa: PLC0415
    from liqctl.sim.checks_record import RECORD  # noqa: PLC0415
    from liqctl.sim.checks_watch import WATCH  # noqa: PLC0415

    return (*RECORD, *GUARD, *DECISION, *PROGRESS, *WATCH)


def judge(evidence: Evidence, checkers: Sequence[Checker] | None = None) -> list[Violation]:
    """Return all violations of a seed, in the order of the checkers."""
    return [
        Violation(
            code=checker.code,
            seed=evidence.seed,
            at_s=found.at_s,
            text=found.text,
            intent=found.intent,
            attempt=found.attempt,
        )
        for checker in (all_checkers() if checkers is None else checkers)
        for found in checker.check(evidence)
    ]
