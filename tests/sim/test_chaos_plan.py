"""Which request meets which fault."""

from itertools import pairwise

import pytest

from liqctl.errors import SettingsError
from liqctl.sim.chaos.faults import ABOUT, CHANGES, CUTS, ON_SOCKET, REFUSALS, Fault, concerns
from liqctl.sim.chaos.plan import Plan
from liqctl.sim.chaos.profiles import PROFILES, Profile, profile_named, rate_of

NAMES = [
    "calm", "flaky", "rate-limited", "lossy", "laggy", "lying", "mute", "amnesia", "outage",
    "nightmare", "unhealthy",
]  # fmt: skip
FAULTS = {
    "calm": set(),
    "rate-limited": {Fault.RATE_LIMITED, Fault.RETRY_AFTER},
    "mute": ON_SOCKET,
    "outage": {Fault.OUTAGE},
    "nightmare": set(Fault),
}
SLOT = [{"commitment": "confirmed", "minContextSlot": 7}]


def plan(rates: dict[Fault, float], seed: int = 1) -> Plan:
    return Plan(profile=Profile(name="test", about="", rates=rates), seed=seed)


def drawn(chosen: Plan, count: int = 2_000) -> list[Fault | None]:
    return [chosen.of_call(index, "getSlot", SLOT).fault for index in range(count)]


def test_the_profiles_are_there_and_have_the_faults_of_their_names():
    assert list(PROFILES) == NAMES
    for name, kinds in FAULTS.items():
        assert set(PROFILES[name].rates) == kinds


def test_every_fault_is_explained_has_its_place_and_comes_in_a_profile_of_its_own():
    assert set(ABOUT) == set(Fault)
    groups = [CUTS, REFUSALS, CHANGES, ON_SOCKET]
    assert all(not one & other for one, other in pairwise(groups))
    own = {kind for name, each in PROFILES.items() if name != "nightmare" for kind in each.rates}
    assert own == set(Fault)


def test_the_same_seed_and_number_give_the_same_fault_and_another_seed_others():
    nightmare = PROFILES["nightmare"]

    first, again, other = (drawn(Plan(profile=nightmare, seed=seed)) for seed in (5, 5, 6))

    assert first == again
    assert first != other
    assert Plan(profile=nightmare, seed=5).of_call(37, "sendTransaction", []) == Plan(
        profile=nightmare, seed=5
    ).of_call(37, "sendTransaction", [])


@pytest.mark.parametrize("rate", [0.5, 10, 60])
def test_a_fault_comes_as_often_as_its_rate_says(rate):
    hits = sum(fault is Fault.RESET for fault in drawn(plan({Fault.RESET: rate}), 20_000))

    assert hits == pytest.approx(20_000 * rate / 100, rel=0.25)


def test_a_rate_of_100_hits_always_and_one_of_0_never():
    assert set(drawn(plan({Fault.RESET: 100}))) == {Fault.RESET}
    assert set(drawn(plan({Fault.RESET: 0}))) == {None}


def test_the_rate_of_one_kind_leaves_the_others_where_they_were():
    alone = drawn(plan({Fault.RESET: 5}))
    both = drawn(plan({Fault.RESET: 5, Fault.DELAY: 0.5}))

    moved = [(a, b) for a, b in zip(alone, both, strict=True) if a is not b]
    assert moved
    assert {b for _, b in moved} == {Fault.DELAY}


def test_kinds_that_are_due_together_share_the_requests():
    found = drawn(plan({Fault.RESET: 100, Fault.DELAY: 100, Fault.UNHEALTHY: 100}))

    assert min(found.count(kind) for kind in set(found)) > 400


@pytest.mark.parametrize(
    ("fault", "method", "params", "met"),
    [
        (Fault.REPLY_LOST, "sendTransaction", [], True),
        (Fault.REPLY_LOST, "getSlot", [], False),
        (Fault.MIN_CONTEXT, "getSlot", SLOT, True),
        (Fault.MIN_CONTEXT, "getSlot", [{"minContextSlot": "7"}], False),
        (Fault.MIN_CONTEXT, "getSlot", None, False),
        (Fault.NO_HISTORY, "getSignatureStatuses", [["s"]], False),
        (Fault.NO_HISTORY, "getSignatureStatuses", [["s"], {"searchTransactionHistory": True}], True),
        (Fault.NO_HISTORY, "getTransaction", ["s"], True),
        (Fault.TRUNCATED_LIST, "getMultipleAccounts", [], False),
        (Fault.WS_MUTE, "getSlot", [], False),
        (Fault.OUTAGE, "getSlot", [], False),
        (Fault.RESET, "anything", {}, True),
    ],
)  # fmt: skip
def test_a_call_meets_only_faults_that_concern_it(fault, method, params, met):
    assert concerns(fault, method, params) is met


def test_only_notifications_come_twice_or_late():
    chosen = plan({Fault.WS_DUPLICATE: 100, Fault.WS_REORDER: 100, Fault.RESET: 100})

    assert chosen.of_frame(1, notification=True).fault in {Fault.WS_DUPLICATE, Fault.WS_REORDER}
    assert chosen.of_frame(1, notification=False).fault is None


def test_an_outage_is_the_last_part_of_each_period():
    chosen = plan({Fault.OUTAGE: 25})

    down = [second for second in range(40) if chosen.up_for_s(second) == 0]

    assert down == [15, 16, 17, 18, 19, 35, 36, 37, 38, 39]
    assert chosen.up_for_s(13.5) == 1.5
    assert plan({}).up_for_s(16) > 10**9
    assert plan({Fault.OUTAGE: 100}).up_for_s(0) == 0


def test_rates_replace_those_of_a_profile():
    changed = PROFILES["lossy"].with_rates({Fault.RESET: 0, Fault.DELAY: 7})

    assert changed.rates == {Fault.REPLY_LOST: 40, Fault.DELAY: 7}
    assert PROFILES["lossy"].rates == {Fault.REPLY_LOST: 40, Fault.RESET: 2}


@pytest.mark.parametrize(
    "text", ["", "reset", "reset=", "reset=x", "reset=-1", "reset=101", "reset=nan", "sunshine=5"]
)
def test_a_rate_out_of_form_or_range_is_refused(text):
    with pytest.raises(SettingsError):
        rate_of(text)


def test_an_unknown_profile_is_refused_with_the_known_ones():
    with pytest.raises(SettingsError, match="calm, flaky"):
        profile_named("sunny")
