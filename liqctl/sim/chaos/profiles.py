"""Named sets of faults with their rates."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from liqctl.errors import SettingsError
from liqctl.sim.chaos.faults import Fault

CALM = "calm"
OUTAGE_PERIOD_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What goes wrong, and how often.

    A rate is a percentage: of the calls that the fault concerns, of the frames of a WebSocket,
    and for OUTAGE of the time: the last part of each period is down.
    """

    name: str
    about: str
    rates: Mapping[Fault, float]
    outage_period_s: float = OUTAGE_PERIOD_S

    def with_rates(self, rates: Mapping[Fault, float]) -> "Profile":
        """Return the profile with some rates replaced; 0 takes a fault out."""
        changed = {**self.rates, **rates}
        return replace(
            self, rates=MappingProxyType({kind: rate for kind, rate in changed.items() if rate})
        )


def _profile(name: str, about: str, rates: Mapping[Fault, float]) -> Profile:
    return Profile(name=name, about=about, rates=MappingProxyType(dict(rates)))


_LIES = (
    Fault.WRONG_SIGNATURE,
    Fault.SHORT_ARRAY,
    Fault.SLOT_BACKWARDS,
    Fault.FORGOTTEN,
    Fault.EMPTY_HISTORY,
    Fault.TRUNCATED_LIST,
    Fault.WRONG_TYPE,
    Fault.NO_JSON,
)
_ALL = (
    _profile(CALM, "no faults: everything passes unchanged", {}),
    _profile(
        "flaky",
        "connections break, the node fails or says nothing",
        {Fault.RESET: 8, Fault.SERVER_ERROR: 8, Fault.NO_ANSWER: 2},
    ),
    _profile(
        "rate-limited",
        "too many requests, with and without the time to wait",
        {Fault.RATE_LIMITED: 15, Fault.RETRY_AFTER: 15},
    ),
    _profile(
        "lossy",
        "transactions are sent and their answers lost",
        {Fault.REPLY_LOST: 40, Fault.RESET: 2},
    ),
    _profile("laggy", "slow answers, and old ones", {Fault.DELAY: 15, Fault.STALE: 30}),
    _profile("lying", "answers that are not true or not in form", dict.fromkeys(_LIES, 4.0)),
    _profile(
        "mute",
        "WebSocket connections go silent, break, or send nonsense and out of order",
        {
            Fault.WS_MUTE: 1,
            Fault.WS_DROP: 0.5,
            Fault.WS_GARBAGE: 3,
            Fault.WS_DUPLICATE: 10,
            Fault.WS_REORDER: 10,
        },
    ),
    _profile(
        "amnesia",
        "the node forgets signatures, or says that it has no history",
        {Fault.FORGOTTEN: 50, Fault.NO_HISTORY: 30},
    ),
    _profile("outage", "all is down for 5 of every 20 seconds", {Fault.OUTAGE: 25}),
    _profile(
        "nightmare",
        "every kind of fault, each one seldom",
        {kind: 0.3 if kind.startswith("ws_") else 1.5 for kind in Fault}
        | {Fault.NO_ANSWER: 0.3, Fault.OUTAGE: 5, Fault.REPLY_LOST: 10},
    ),
    _profile(
        "unhealthy",
        "the node says that it is behind",
        {Fault.UNHEALTHY: 20, Fault.MIN_CONTEXT: 20},
    ),
)
PROFILES: Mapping[str, Profile] = MappingProxyType({each.name: each for each in _ALL})


def profile_named(name: str) -> Profile:
    """Return a profile.

    Raises:
        SettingsError: there is none of this name.
    """
    if name not in PROFILES:
        raise SettingsError(f"there is no profile {name!r}; choose one of {', '.join(PROFILES)}")
    return PROFILES[name]


def rate_of(text: str) -> tuple[Fault, float]:
    """Return a rate as the command line writes it.

    >>> rate_of("reply_lost=12.5")
    (<Fault.REPLY_LOST: 'reply_lost'>, 12.5)

    Raises:
        SettingsError: not KIND=PERCENT with a known kind and 0 to 100.
    """
    name, _, percent = text.partition("=")
    if name not in set(Fault):
        raise SettingsError(f"there is no fault {name!r}; choose one of {', '.join(Fault)}")
    try:
        rate = float(percent)
    except ValueError:
        rate = -1.0
    if not 0 <= rate <= 100:
        raise SettingsError(f"the rate of {name} must be 0 to 100 percent, was {percent!r}")
    return Fault(name), rate
