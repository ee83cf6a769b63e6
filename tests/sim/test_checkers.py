"""Each checker is silent on a clean seed and fires on the one thing that it is for."""

from dataclasses import replace
from typing import Any

import pytest

from liqctl.core.guards import Limits
from liqctl.sim.checkers import Violation, all_checkers, judge
from liqctl.sim.checks_decision import STATUS
from liqctl.sim.checks_progress import BROKEN, ENDED, KILLED
from liqctl.sim.evidence import Books, Decided, Evidence, Switched
from liqctl.sim.journal import Journal, Watch
from liqctl.store.sqlite import SqliteStore
from tests.sim.evidence import (
    AGAIN,
    COST,
    FIRST,
    START_MS,
    TRIAL,
    attempt,
    books,
    duty,
    ending,
    evidence,
    journal,
    landed,
    liquidation,
    moves,
    sent,
    status,
    tried,
)
from tests.store.records import attempt as store_attempt
from tests.store.records import request


def codes(made: Evidence) -> set[str]:
    return {violation.code for violation in judge(made)}


def with_attempts(*rows: Any, more: Any = ()) -> Books:
    """The clean books with other attempts, whose moves are there as well."""
    clean = books()
    return replace(
        clean, attempts=[*clean.attempts, *rows], journal=journal(clean.journal.moves, *more)
    )


def signed(signature: str, *, at_s: float = 10.0, **changes: Any) -> Books:
    """An attempt that is live at the end, and its move."""
    move = replace(moves("attempt", signature, 3, at_s, "SIGNED")[0], **changes)
    return with_attempts(attempt(signature, 3, "SIGNED"), more=([move],))


def quiet(book: Books) -> Evidence:
    """Evidence around books with an attempt `new`, tried and rightly sent."""
    return evidence(book, tried=[tried("done"), tried("late"), tried("new")])


def decided(**wrong):
    return evidence(decided=[Decided(at_s=1.0, attempt="done", position="position 1", **wrong)])


def test_a_clean_seed_breaks_no_promise():
    assert judge(evidence()) == []
    assert codes(quiet(signed("new", at_s=80.0))) == set()


def test_every_code_that_a_seed_can_show_has_a_checker():
    found = {checker.code for checker in all_checkers()}

    assert found >= {
        *("DOUBLE", "DOUBLE_LIVE", "ORPHAN_SIG", "LOST_RECORD", "PHANTOM", "LOST_COMMIT", "EDGE"),
        *("FENCE", "CAP", "KILL", "WIRE", "RATE", "STALE", "ORACLE", "HOSTILE", "HEALTHY"),
        *("COVERAGE", "NOT_LIVE", "STALL", "BROKEN"),
    }


def test_a_violation_says_where_and_how_to_see_it_again():
    violation = Violation(code="DOUBLE", seed=7, at_s=1.5, text="twice", intent="3", attempt="sig")

    assert str(violation) == (
        "DOUBLE seed 7 at 1.500 s intent 3 attempt sig: twice"
        "; replay: liqctl dev sim --seed 7 --trace"
    )


@pytest.mark.parametrize(
    "seen", [{"done": 0.6, "late": 0.7, "other": 1.0}, {"done": 0.4, "late": 0.7}]
)
def test_what_is_seen_without_or_before_its_record_is_an_orphan(seen):
    assert codes(evidence(seen=seen)) == {"ORPHAN_SIG"}


def test_a_second_live_attempt_of_an_intent_is_found_whatever_became_of_it():
    clean = books()
    second = moves("attempt", "second", 1, 1.0, "SIGNED", "EXPIRED")
    book = replace(
        clean,
        attempts=[*clean.attempts, attempt("second", 1, "EXPIRED", proof_json="{}")],
        journal=journal(clean.journal.moves, second),
    )
    made = evidence(book, tried=[*evidence().tried, tried("second")])

    assert codes(made) == {"DOUBLE_LIVE"}


def test_a_database_without_the_index_is_found():
    assert codes(evidence(books(indexes=frozenset()))) == {"DOUBLE_LIVE"}


def test_two_finalized_effects_of_one_step_are_a_double():
    clean = books()
    book = replace(
        clean,
        attempts=[
            *clean.attempts,
            attempt(
                "twice", 1, "FINALIZED_OK", n=2, final_slot=20, fee_paid=5_000, cost_lamports=6_000
            ),
        ],
        liquidations=[*clean.liquidations, liquidation("twice")],
        journal=journal(
            [move for move in clean.journal.moves if move.after != "DONE"],
            moves("attempt", "twice", 1, 4.0, "SIGNED", "FINALIZED_OK"),
            moves("intent", "key 1", 1, 7.0, "OPEN", "DONE")[1:],
        ),
    )
    both = {"done": landed("done"), "twice": landed("twice")}
    made = evidence(book, final=both, tried=[*evidence().tried, tried("twice")])

    assert codes(made) == {"DOUBLE"}


@pytest.mark.parametrize(
    ("row", "kept"),
    [
        ({"final_slot": 21}, {}),
        ({"fee_paid": 4_999}, {}),
        ({"fee_paid": None}, {}),
        ({}, {"liquidator_reward": 4}),
        ({}, {"bad_debt": 1}),
        ({}, {"is_full_liquidation": 0}),
    ],
)
def test_a_landing_that_is_wrongly_recorded_is_lost(row, kept):
    clean = books()
    book = replace(
        clean,
        attempts=[{**clean.attempts[0], **row}, clean.attempts[1]],
        liquidations=[liquidation("done", **kept)],
    )

    assert codes(evidence(book)) == {"LOST_RECORD"}


def test_a_landing_without_its_liquidation_is_lost():
    assert codes(evidence(books(liquidations=[]))) == {"LOST_RECORD"}


def test_a_landing_just_before_the_end_need_not_be_on_record_yet():
    book = signed("new", at_s=80.0)
    final = {"done": landed("done"), "new": landed("new", final_at_s=90.0)}

    assert codes(replace(quiet(book), final=final)) == set()
    final["new"] = landed("new", final_at_s=59.0)
    assert codes(replace(quiet(book), final=final)) == {"LOST_RECORD"}


def test_a_finalization_that_the_chain_lacks_is_a_phantom():
    assert codes(evidence(final={})) == {"PHANTOM"}


def test_an_expired_attempt_that_landed_is_a_phantom_and_lost():
    final = {"done": landed("done"), "late": landed("late")}

    assert codes(evidence(final=final)) == {"PHANTOM", "LOST_RECORD"}


def test_an_expiry_without_proof_or_before_the_last_block_is_a_phantom():
    clean = books()
    unproven = [clean.attempts[0], {**clean.attempts[1], "proof_json": None}]

    assert codes(evidence(replace(clean, attempts=unproven))) == {"PHANTOM"}
    assert codes(evidence(roots=[(0.0, 10), (2.0, 49)])) == {"PHANTOM"}
    assert codes(evidence(roots=[(0.0, 10), (2.0, 50)])) == set()


def test_a_commit_that_the_file_lacks_is_lost():
    clean = books()
    older = [clean.intents[0], {**clean.intents[1], "state": "NEW"}]

    assert codes(evidence(replace(clean, intents=older))) == {"LOST_COMMIT"}
    assert codes(evidence(replace(clean, integrity="row 3 missing"))) == {"LOST_COMMIT"}


@pytest.mark.parametrize(
    "states",
    [("SENT",), ("SIGNED", "SEEN", "EXPIRED"), ("SIGNED", "EXPIRED", "SENT", "EXPIRED")],
)
def test_a_move_along_no_edge_is_found(states):
    row = attempt("new", 3, states[-1], proof_json="{}")
    book = with_attempts(row, more=(moves("attempt", "new", 3, 80.0, *states),))

    assert codes(quiet(book)) == {"EDGE"}


def test_an_intent_that_ends_with_a_live_attempt_is_found():
    clean = signed("new", at_s=80.0)
    book = replace(
        clean,
        intents=[*clean.intents, {"id": 3, "key": "key 3", "state": "GONE"}],
        journal=journal(
            clean.journal.moves, moves("intent", "key 3", 3, 79.0, "NEW", "OPEN", "GONE")
        ),
    )

    assert codes(quiet(book)) == {"EDGE"}


@pytest.mark.parametrize(
    "limits",
    [
        Limits(transaction_lamports=COST - 1),
        Limits(hour_lamports=2 * COST - 1),
        Limits(day_lamports=2 * COST - 1),
    ],
)
def test_what_breaks_a_cap_when_it_is_signed_is_found(limits):
    assert codes(evidence(books(limits=limits))) == {"CAP"}
    assert codes(evidence(books(limits=Limits(hour_lamports=2 * COST)))) == set()


def test_an_hour_forgets_what_was_signed_before_it_and_what_never_landed():
    clean = signed("new", at_s=80.0, signed_ms=START_MS + 3_600_001)
    later = {**clean.attempts[2], "signed_ms": START_MS + 3_600_001}
    move = clean.journal.moves[-1]
    held = replace(move, lease_until_ms=START_MS + 3_700_000)
    book = replace(
        clean,
        attempts=[*clean.attempts[:2], later],
        journal=journal([one for one in clean.journal.moves if one is not move], [held]),
        limits=Limits(hour_lamports=2 * COST),
    )
    assert codes(quiet(book)) == set()

    soon = signed("new", at_s=80.0)
    assert codes(quiet(replace(soon, limits=Limits(hour_lamports=2 * COST)))) == set()
    assert codes(quiet(replace(soon, limits=Limits(hour_lamports=2 * COST - 1)))) == {"CAP"}
    full = moves("attempt", "new", 3, 1.0, "SIGNED")
    crowded = with_attempts(attempt("new", 3, "SIGNED"), more=(full,))
    made = replace(quiet(replace(crowded, limits=Limits(hour_lamports=2 * COST))), end_s=30.0)
    assert "CAP" in codes(made)


def test_a_cost_that_was_counted_too_low_is_found():
    clean = books()
    cheap = [{**clean.attempts[0], "max_cost_lamports": COST - 1}, clean.attempts[1]]

    assert codes(evidence(replace(clean, attempts=cheap))) == {"CAP"}
    other = {"done": landed("done", cost_lamports=6_001)}
    assert codes(evidence(final=other)) == {"LOST_RECORD"}
    dear = {"done": landed("done", cost_lamports=COST + 1)}
    assert "CAP" in codes(evidence(final=dear))


@pytest.mark.parametrize(
    ("on_s", "woken", "found"),
    [
        (8.5, (), set()),
        (7.5, (), {"KILL"}),
        (7.5, (9.0,), set()),
        (7.5, (7.9,), {"KILL"}),
    ],
)
def test_what_is_signed_a_tick_after_the_switch_is_found(on_s, woken, found):
    book = signed("new", at_s=10.0)
    rows = [*book.attempts[:2], attempt("new", 3, "EXPIRED", proof_json="{}")]
    ended = journal(book.journal.moves, moves("attempt", "new", 3, 10.0, "SIGNED", "EXPIRED")[1:])
    made = quiet(replace(book, attempts=rows, journal=ended))
    switched = Switched(path="k.db", on_at_s=on_s, off_at_s=20.0)

    assert codes(replace(made, switches=[switched], resumed={"keeper0": woken})) == found
    elsewhere = replace(switched, path="other.db")
    assert codes(replace(made, switches=[elsewhere])) == set()


def test_a_dry_run_that_sends_is_found():
    assert codes(evidence(sends=[sent("done", keeper="dry")])) == {"KILL"}


@pytest.mark.parametrize(
    "changes", [{"owner": "keeper1.4"}, {"owner": ""}, {"lease_until_ms": START_MS}]
)
def test_an_attempt_without_a_running_lease_is_found(changes):
    assert codes(quiet(signed("new", at_s=80.0, **changes))) == {"FENCE"}


@pytest.mark.parametrize(
    "options",
    [
        *({name: value for name, value in FIRST.items() if name != left} for left in FIRST),
        *({name: value for name, value in AGAIN.items() if name != left} for left in AGAIN),
        FIRST | {"maxRetries": 3},
        FIRST | {"maxRetries": False},
        FIRST | {"preflightCommitment": "finalized"},
        AGAIN | {"minContextSlot": 9},
    ],
)
def test_a_send_with_other_parameters_is_found(options):
    assert codes(evidence(sends=[sent("done", options)])) == {"WIRE"}


@pytest.mark.parametrize(
    "trials",
    [
        [tried("done")],
        [tried("done"), tried("late", failed=True)],
        [tried("done"), tried("late"), tried("late", options=TRIAL | {"sigVerify": True})],
        [tried("done"), tried("late"), tried("late", options={"sigVerify": False})],
    ],
)
def test_an_attempt_without_a_right_and_successful_trial_is_found(trials):
    assert codes(evidence(tried=trials)) == {"WIRE"}


def test_a_keeper_that_asks_too_often_is_found():
    assert codes(evidence(calls_per_s={"keeper0": 50.0})) == set()
    assert codes(evidence(calls_per_s={"keeper0": 50.1})) == {"RATE"}


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"healthy": "the program says PositionHealthy"}, "HEALTHY"),
        ({"oracle": "the program says PriceStale"}, "ORACLE"),
        ({"hostile": "the program says AccountWrongOwner"}, "HOSTILE"),
        ({"age_s": 60.5}, "STALE"),
    ],
)
def test_what_the_cluster_says_against_a_decision_is_found(wrong, code):
    assert codes(decided(**wrong)) == {code}


@pytest.mark.parametrize("known", [1, 3])
def test_a_keeper_that_holds_another_number_of_positions_is_found(known):
    told = {STATUS: (status(coverage={"positions": known}), 100_000)}

    assert codes(evidence(books(states=told))) == {"COVERAGE"}


def test_a_position_that_stays_liquidatable_must_be_attempted_after_the_faults():
    assert codes(evidence(duties=[duty()])) == {"NOT_LIVE"}
    assert codes(evidence(duties=[duty(since_s=75.0)])) == set()
    assert codes(evidence(duties=[duty()], live_within_s=50.0)) == set()
    tried_again = with_attempts(
        attempt("new", 3, "SIGNED"), more=(moves("attempt", "new", 3, 61.0, "SIGNED"),)
    )
    assert codes(replace(quiet(tried_again), duties=[duty()])) == set()
    spent_up = books(limits=Limits(hour_lamports=6_000 + COST - 1))
    assert "NOT_LIVE" not in codes(evidence(spent_up, duties=[duty()]))


def test_an_attempt_must_end_in_time():
    assert codes(quiet(signed("new", at_s=60.5))) == set()
    assert codes(quiet(signed("new", at_s=59.5))) == {"NOT_LIVE"}


@pytest.mark.parametrize(
    ("end", "found"),
    [
        (ending(ENDED, asked_at_s=9.5), set()),
        (ending(ENDED, asked_at_s=9.4), {"STALL"}),
        (ending(ENDED, asked_at_s=9.4, frozen_s=5.0), set()),
        (ending(KILLED, asked_at_s=1.0), set()),
        (ending(ENDED, error="the node does not answer"), set()),
        (ending(BROKEN, error="KeyError: 'x'"), {"BROKEN"}),
    ],
)
def test_a_keeper_ends_in_time_and_never_with_a_bug(end, found):
    assert codes(evidence(endings=[end])) == found


@pytest.mark.parametrize(
    "states",
    [
        {},
        {STATUS: (status(), 95_000)},
        {STATUS: (status(check_age_ms=11_001), 100_000)},
        {STATUS: (status(check_age_ms=None), 100_000)},
    ],
)
def test_a_keeper_that_stands_still_is_found(states):
    assert codes(evidence(books(states=states))) == {"STALL"}


def test_the_journal_hears_what_a_real_store_commits_and_nothing_that_it_takes_back(tmp_path):
    path = str(tmp_path / "k.db")
    store = SqliteStore.open(path, create=True, read_only=False, busy_timeout_ms=0)
    heard = Journal(path)
    watch = Watch(store._connection, heard, keeper="k", life="me", now=lambda: 3.0)

    claim = store.claim(request(), "me", 1_000, 20_000)
    assert claim is not None
    watch.committed()
    store._connection.execute("BEGIN")
    store._connection.execute("UPDATE intent SET state = 'GONE'")
    store._connection.execute("ROLLBACK")
    watch.rolled_back()
    assert store.record_attempt(claim, store_attempt(claim, "sig"), 2_000)
    watch.committed()
    store.mark_sent("sig", 2_500)
    watch.committed()
    store.close()

    assert [(m.table, m.before, m.after) for m in heard.moves] == [
        ("intent", "", "NEW"),
        ("attempt", "", "SIGNED"),
        ("intent", "NEW", "OPEN"),
        ("attempt", "SIGNED", "SENT"),
    ]
    assert (heard.moves[1].owner, heard.moves[1].lease_until_ms) == ("me", 21_000)
    assert heard.live == {"sig": "SENT"}
    read = Books(path=path, liquidator="payer", journal=heard)
    read.read()
    assert (read.attempts[0]["state"], read.integrity) == ("SENT", "ok")
    assert "attempt_one_live" in read.indexes
