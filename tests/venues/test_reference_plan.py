"""What is sent to the reference program, and what its answers mean."""

import base64
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from solders.token.associated import get_associated_token_address

from liqctl.core.fixed import U64_MAX
from liqctl.core.instruction import AccountMeta, Failure, Outcome
from liqctl.errors import LayoutError
from liqctl.venues.reference import ProgramAssessment
from liqctl.venues.reference_layout import REFERENCE_IDL
from liqctl.venues.tokens import (
    ASSOCIATED_TOKEN_PROGRAM,
    SYSTEM_PROGRAM,
    TOKEN_PROGRAM,
    associated_token_account,
)
from tests.venues import planted as at
from tests.venues.test_reference_verdict import CASE, VENUE, position_of, view_of

LIQUIDATOR, OWNER, MINT = str(at.LIQUIDATOR), str(at.OWNER), str(at.MINT)


def plan(**options):
    return VENUE.plan(position_of(CASE), view_of(CASE), LIQUIDATOR, **options)


def test_the_call_names_the_accounts_in_the_order_of_the_program():
    found = plan()

    call = found.instructions[found.liquidate_index]
    assert call.program == str(at.PROGRAM)
    assert call.data == bytes.fromhex("dfb3e27d302e274a") + b"\xff" * 8
    assert call.accounts == (
        AccountMeta(LIQUIDATOR, signer=True, writable=True),
        AccountMeta(associated_token_account(LIQUIDATOR, MINT), writable=True),
        AccountMeta(str(at.MARKET), writable=True),
        AccountMeta(str(at.POSITION), writable=True),
        AccountMeta(associated_token_account(OWNER, MINT), writable=True),
        AccountMeta(str(at.PRICE)),
        AccountMeta(str(at.FUND), writable=True),
        AccountMeta(str(at.VAULT), writable=True),
        AccountMeta(TOKEN_PROGRAM),
    )
    assert found.compute_units == 200_000


def test_both_token_accounts_are_made_sure_of_first():
    found = plan()

    assert found.liquidate_index == 2
    for call, owner in zip(found.instructions, (OWNER, LIQUIDATOR), strict=False):
        assert (call.program, call.data) == (ASSOCIATED_TOKEN_PROGRAM, b"\x01")
        assert call.accounts == (
            AccountMeta(LIQUIDATOR, signer=True, writable=True),
            AccountMeta(associated_token_account(owner, MINT), writable=True),
            AccountMeta(owner),
            AccountMeta(MINT),
            AccountMeta(SYSTEM_PROGRAM),
            AccountMeta(TOKEN_PROGRAM),
        )


def test_liquidating_an_own_position_needs_one_token_account():
    found = VENUE.plan(position_of(CASE), view_of(CASE), OWNER)

    assert (len(found.instructions), found.liquidate_index) == (2, 1)


def test_an_associated_token_account_is_where_others_derive_it():
    derived = get_associated_token_address(at.OWNER, at.MINT)

    assert associated_token_account(OWNER, MINT) == str(derived)


def test_a_limit_of_the_size_is_passed_on():
    assert plan(max_size=5).instructions[2].data[8:] == (5).to_bytes(8, "little")
    with pytest.raises(LayoutError):
        plan(max_size=U64_MAX + 1)


def test_nothing_is_planned_on_what_is_not_known():
    view = view_of(CASE)

    for missing in (at.MARKET, at.FUND):
        known = {address: seen for address, seen in view.items() if address != str(missing)}
        with pytest.raises(LayoutError, match="not known"):
            VENUE.plan(position_of(CASE), known, LIQUIDATOR)


def test_the_confirmation_is_the_read_only_view_of_the_program():
    found = VENUE.confirmation(position_of(CASE), view_of(CASE))

    assert found is not None
    assert found.data == bytes([165, 253, 42, 57, 170, 187, 141, 44]) + b"\xff" * 8
    assert [one.address for one in found.accounts] == [
        str(one) for one in (at.MARKET, at.POSITION, at.PRICE, at.FUND)
    ]
    assert not any(one.signer or one.writable for one in found.accounts)
    assert VENUE.confirmation(position_of(CASE), {}) is None


MEANINGS = {
    Outcome.HEALTHY: {"PositionHealthy"},
    Outcome.GONE: {"PositionGone"},
    Outcome.PAUSED: {"MarketPaused"},
    Outcome.NO_FUNDS: {"ProfitPoolEmpty"},
    Outcome.RETRY: {"PriceAccountMismatch", "MaxSizeTooSmall"},
    Outcome.SETUP: {"InvalidTokenAccount", "LiquidatorTokenMismatch", "OwnerTokenMismatch"},
    Outcome.LAYOUT: {
        "LeverageTooHigh",
        "AccountNotInitialized",
        "AccountWrongOwner",
        "AccountWrongType",
    },
}


@pytest.mark.parametrize("code, name", sorted(REFERENCE_IDL.errors.items()))
def test_every_error_of_the_program_has_its_outcome(code, name):
    meanings = [outcome for outcome, names in MEANINGS.items() if name in names]
    if name.startswith("Price") and not meanings:
        meanings = [Outcome.ORACLE]

    found = VENUE.classify(Failure(instruction=2, code=code, name=name))

    assert [found] == (meanings or [Outcome.BUG])


@pytest.mark.parametrize(
    "code, name, expected",
    [
        (1, "Custom", Outcome.NO_FUNDS),
        (17, "Custom", Outcome.SETUP),
        (4, "Custom", Outcome.BUG),
        (None, "BlockhashNotFound", Outcome.RETRY),
        (None, "InsufficientFundsForFee", Outcome.SETUP),
        (None, "ComputationalBudgetExceeded", Outcome.BUG),
        (99_999, "Custom", Outcome.BUG),
    ],
)
def test_errors_of_other_programs_and_of_the_runtime_have_theirs(code, name, expected):
    assert VENUE.classify(Failure(instruction=2, code=code, name=name)) is expected


EVENT = {
    "position": bytes(at.POSITION),
    "owner": bytes(at.OWNER),
    "market": bytes(at.MARKET),
    "liquidator": bytes(at.LIQUIDATOR),
    "price": 1,
    "closed_size": 2,
    "remaining_size": 3,
    "reward": 4,
    "fund_delta": -5,
    "bad_debt_covered": 6,
    "bad_debt_uncovered": 7,
    "owner_payout": 8,
    "equity": -9,
    "maintenance_margin": 10,
    "slot": 11,
    "is_full": 1,
}
NUMBERS = {name: value for name, value in EVENT.items() if isinstance(value, int)}
BLOB = REFERENCE_IDL.event_discriminator("LiquidationEvent") + REFERENCE_IDL.type_layout(
    "LiquidationEvent"
).write(EVENT)
ME = str(at.PROGRAM)


def event_line(blob=BLOB):
    return "Program data: " + base64.b64encode(blob).decode()


def inside(program, *lines):
    return [f"Program {program} invoke [1]", *lines, f"Program {program} success"]


def test_the_numbers_of_the_event_are_read():
    logs = inside(
        ME,
        "Program log: invoke nobody",
        event_line(),
        *inside(TOKEN_PROGRAM, "Program log: Instruction: Transfer"),
        f"Program {ME} consumed 9 of 200000 compute units",
        event_line(b"another event"),
    )

    assert VENUE.effects(logs) == NUMBERS


@pytest.mark.parametrize(
    "logs",
    [
        [],
        [event_line()],
        inside(TOKEN_PROGRAM, event_line()),
        inside(ME, *inside(TOKEN_PROGRAM, event_line())),
        [*inside(ME), event_line()],
        inside(ME, *inside(TOKEN_PROGRAM, "Program log: success", event_line())),
        inside(TOKEN_PROGRAM, f"Program log: Program {ME} invoke [1]", event_line()),
        inside(TOKEN_PROGRAM, f"Program log: {ME} invoke [1]", event_line()),
        inside(ME, event_line(BLOB[:-1]), event_line(BLOB + b"\0"), event_line(b"")),
        inside(ME, event_line(bytes(8) + BLOB[8:]), event_line(BLOB[:-1] + b"\2")),
        inside(ME, "Program data: ", "Program data: a", "Program data: !!!!", "Program data:"),
        [f"Program {ME} invoke [1]", event_line(), f"Program {ME} failed: custom program error"],
    ],
)
def test_what_the_program_did_not_say_or_took_back_has_no_effects(logs):
    assert VENUE.effects(logs) is None


@given(st.lists(st.text(max_size=40).map(lambda text: "Program " + text), max_size=10))
def test_odd_logs_never_raise(lines):
    assert VENUE.effects(lines) is None


ANSWER = ProgramAssessment(
    liquidatable=True,
    is_full=False,
    equity=-1,
    maintenance_margin=2,
    allowed_size=3,
    reward=4,
    bad_debt=5,
    fund_delta=0,
)


def test_an_answer_with_its_trailing_zeros_cut_is_padded():
    flags = bytes([1, 0]) + bytes(6)
    numbers = (b"\xff" * 8, *(bytes([n]) + bytes(7) for n in (2, 3, 4, 5)))
    returned = flags + b"".join(numbers) + bytes(8)

    assert VENUE.decode_assessment(returned) == ANSWER
    assert VENUE.decode_assessment(returned.rstrip(b"\0")) == ANSWER
    assert VENUE.decode_assessment(b"") == replace(
        ANSWER, liquidatable=False, equity=0, maintenance_margin=0, allowed_size=0, reward=0,
        bad_debt=0,
    )  # fmt: skip


@pytest.mark.parametrize("returned", [bytes(57), b"\2"])
def test_an_answer_of_another_shape_is_refused(returned):
    with pytest.raises(LayoutError):
        VENUE.decode_assessment(returned)
