"""Which request meets which fault: a function of the seed and of the number of the request."""

import hashlib
import math
from dataclasses import dataclass

from liqctl.sim.chaos.faults import OF_NOTIFICATIONS, ON_SOCKET, Fault, concerns
from liqctl.sim.chaos.profiles import Profile


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The fault that a call or frame meets, if any; `shade` in [0, 1) chooses its details."""

    fault: Fault | None
    shade: float


def chance(seed: int, stream: str, index: int, word: str) -> float:
    """Return a number in [0, 1) that these four alone decide, on every host and version.

    >>> chance(1, "call", 1, "reset")
    0.0
    """
    text = f"{seed}/{stream}/{index}/{word}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=6).digest()) / 2**48


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A profile and a seed.

    Each kind of fault has a chance of its own at each index, so that a changed rate of one kind
    leaves the others where they were.
    """

    profile: Profile
    seed: int

    def of_call(self, index: int, method: str, params: object) -> Verdict:
        """Return what happens to the call that came in as number `index`."""
        kinds = [kind for kind in self.profile.rates if concerns(kind, method, params)]
        return self._verdict("call", index, kinds)

    def of_frame(self, index: int, *, notification: bool) -> Verdict:
        """Return what happens to the frame that a node sent as number `index`."""
        allowed = ON_SOCKET if notification else ON_SOCKET - OF_NOTIFICATIONS
        return self._verdict("frame", index, [k for k in self.profile.rates if k in allowed])

    def up_for_s(self, elapsed_s: float) -> float:
        """Return how long it is until the next outage, so long after the start; 0 during one.

        >>> from liqctl.sim.chaos.profiles import profile_named
        >>> plan = Plan(profile=profile_named("outage"), seed=1)
        >>> plan.up_for_s(12), plan.up_for_s(17), plan.up_for_s(21)
        (3.0, 0.0, 14.0)
        """
        share = self.profile.rates.get(Fault.OUTAGE, 0.0) / 100
        if share == 0:
            return math.inf
        period_s = self.profile.outage_period_s
        return max(period_s * (1 - share) - elapsed_s % period_s, 0.0)

    def _verdict(self, stream: str, index: int, kinds: list[Fault]) -> Verdict:
        """Of several faults that are due choose the one whose draw is lowest for its rate."""
        due: list[tuple[float, Fault]] = []
        for kind in kinds:
            draw = chance(self.seed, stream, index, kind) * 100
            rate = self.profile.rates[kind]
            if draw < rate:
                due.append((draw / rate, kind))
        fault = min(due)[1] if due else None
        return Verdict(fault=fault, shade=chance(self.seed, stream, index, "shade"))
