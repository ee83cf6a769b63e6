"""What a seed and a run of many seeds came to."""

from collections import Counter
from dataclasses import asdict, dataclass, field

from liqctl.sim.checkers import Violation

NONDET = "NONDET"


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedReport:
    """One seed. `edges` counts faults by kind and by the edge of the attempt they hit."""

    seed: int
    violations: tuple[Violation, ...] = ()
    trace_hash: str = ""
    simulated_s: float = 0.0
    steps: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    edges: dict[str, int] = field(default_factory=dict)
    kills: int = 0
    kills_in_flight: int = 0
    attempts: int = 0
    landed: int = 0
    own_rolled_back: int = 0
    expired: int = 0


@dataclass(slots=True)
class Run:
    """The sum over seeds."""

    seeds: int = 0
    violations: list[Violation] = field(default_factory=list)
    simulated_s: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    edges: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)

    def add(self, report: SeedReport) -> None:
        """Take in one seed."""
        self.seeds += 1
        self.violations += report.violations
        self.simulated_s += report.simulated_s
        self.faults.update(report.faults)
        self.edges.update(report.edges)
        for name in COUNTED:
            self.counts[name] += getattr(report, name)

    def summary(self) -> dict[str, object]:
        """Return the line that ends a run."""
        return {
            "type": "sim",
            "seeds": self.seeds,
            "violations": len(self.violations),
            "codes": dict(sorted(Counter(one.code for one in self.violations).items())),
            "bad_seeds": sorted({one.seed for one in self.violations}),
            "simulated_hours": round(self.simulated_s / 3600, 3),
            **{name: self.counts[name] for name in COUNTED},
            "faults": dict(sorted(self.faults.items())),
            "fault_edges": dict(sorted(self.edges.items())),
        }


COUNTED = (
    "kills",
    "kills_in_flight",
    "attempts",
    "landed",
    "own_rolled_back",
    "expired",
    "steps",
)


def violation_line(violation: Violation) -> dict[str, object]:
    """Return a violation as an object of its own line."""
    return {"type": "violation", **asdict(violation), "replay": violation.replay}
