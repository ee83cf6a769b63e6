"""Python's verdict against the program's own, executed in a Solana VM."""

import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from solders.pubkey import Pubkey

from liqctl.core.account import Seen
from liqctl.core.fixed import U64_MAX, Overflow
from liqctl.core.health import Assessment, Kind
from liqctl.core.instruction import Instruction
from liqctl.core.position import Position
from liqctl.core.price import PriceRefusal
from liqctl.core.sizing import CannotSize, Closing
from liqctl.oracle.price_update import decode_price
from liqctl.venues.reference import ReferenceVenue
from liqctl.venues.reference_layout import DISCRIMINATOR_SIZE, REFERENCE_IDL
from tests.venues import planted as at
from tests.venues import program_vm as vm
from tests.venues.program_cases import Case, random_case

VENUE = ReferenceVenue(str(at.PROGRAM))

ERRORS = {
    PriceRefusal.WRONG_OWNER: "PriceWrongOwner",
    PriceRefusal.WRONG_TYPE: "PriceWrongType",
    PriceRefusal.NOT_FULLY_VERIFIED: "PriceNotFullyVerified",
    PriceRefusal.WRONG_FEED: "PriceWrongFeed",
    PriceRefusal.NOT_POSITIVE: "PriceNotPositive",
    PriceRefusal.BAD_EXPONENT: "PriceBadExponent",
    PriceRefusal.STALE: "PriceStale",
    PriceRefusal.TOO_WIDE: "PriceTooWide",
    PriceRefusal.TOO_SMALL: "PriceTooSmall",
    PriceRefusal.TOO_LARGE: "MathOverflow",
    "overflow": "MathOverflow",
    "leverage_too_high": "LeverageTooHigh",
}


class Expected:
    """What Python says of a case, through the venue's own decoding of the planted bytes."""

    def __init__(self, case: Case, planted: dict[str, bytes]) -> None:
        price_owner = at.RECEIVER if case.price_owner_is_right else at.PROGRAM
        addresses = {"Market": at.MARKET, "InsuranceFund": at.FUND}
        values = {
            str(address): VENUE.decode(at.seen_account(address, at.PROGRAM, planted[kind]))
            for kind, address in addresses.items()
        }
        values[str(at.PRICE)] = decode_price(
            at.seen_account(at.PRICE, price_owner, planted["price"])
        )
        self.view = {
            address: Seen(address=address, slot=at.SLOT, value=one)
            for address, one in values.items()
        }
        position = VENUE.decode(at.seen_account(at.POSITION, at.PROGRAM, planted["Position"]))
        assert isinstance(position, Position), position
        self.position = position
        self.verdict: Assessment = VENUE.assess(position, self.view, case.now)
        self.closing: Closing | None = None
        self.error = self._error(case)

    def _error(self, case: Case) -> str | None:
        if case.paused:
            return "MarketPaused"
        if self.verdict.liquidatable is None:
            return ERRORS[str(self.verdict.unknown_reason)]
        if self.verdict.liquidatable:
            try:
                self.closing = case.closing()
            except CannotSize as error:
                return str(error)
            except Overflow:
                return "MathOverflow"
        return None


def _with_max_size(instruction: Instruction, max_size: int) -> Instruction:
    return replace(instruction, data=instruction.data[:8] + max_size.to_bytes(8, "little"))


def _check_assessment(expected: Expected, answer: vm.Answer) -> None:
    verdict, closing = expected.verdict, expected.closing
    assert answer.error == expected.error
    if answer.error is not None:
        return
    program = VENUE.decode_assessment(answer.returned)
    assert program.liquidatable is verdict.liquidatable
    assert program.equity == verdict.equity
    assert program.maintenance_margin == verdict.maintenance_margin
    assert program.allowed_size == (closing.size_e9 if closing else 0)
    assert program.is_full is (closing is not None and closing.kind is Kind.FULL)
    assert program.reward == (closing.reward if closing else 0)
    assert program.fund_delta == (closing.fund_delta if closing else 0)
    owed = closing.bad_debt_covered + closing.bad_debt_uncovered if closing else 0
    assert program.bad_debt == owed


def _check_venue(case: Case, verdict: Assessment, closing: Closing) -> None:
    if case.max_size != U64_MAX:
        return
    assert verdict.blockers in {(), (PriceRefusal.FROM_FUTURE,)}
    assert verdict.kind is closing.kind
    assert verdict.close_size == closing.size_e9
    assert verdict.reward == closing.reward
    assert verdict.owner_payout == closing.owner_payout
    assert verdict.fund_delta == closing.fund_delta
    assert verdict.bad_debt_covered == closing.bad_debt_covered
    assert verdict.bad_debt_uncovered == closing.bad_debt_uncovered


def _read(chain: vm.ProgramVm, name: str, address: Pubkey) -> dict[str, Any]:
    return REFERENCE_IDL.account_layout(name).read(chain.read(address), DISCRIMINATOR_SIZE)


def _check_effects(case: Case, expected: Expected, chain: vm.ProgramVm, answer: vm.Answer) -> None:
    closing = expected.closing
    assert closing is not None
    market, fund = _read(chain, "Market", at.MARKET), _read(chain, "InsuranceFund", at.FUND)
    assert market["profit_pool"] == case.pool + closing.pool_delta
    side = "open_interest_long" if case.size > 0 else "open_interest_short"
    assert market[side] == at.OTHER_SIZE + abs(case.size) - closing.size_e9
    assert market["position_count"] == (2 if closing.kind is Kind.FULL else 3)
    assert fund["balance"] == case.fund + closing.fund_delta
    assert fund["bad_debt_covered"] == closing.bad_debt_covered
    assert fund["bad_debt_uncovered"] == closing.bad_debt_uncovered
    assert fund["liquidation_count"] == 42
    assert chain.amount(at.LIQUIDATOR_TOKEN) == closing.reward
    assert chain.amount(at.OWNER_TOKEN) == closing.owner_payout
    kept = fund["balance"] + market["profit_pool"] + closing.remaining_collateral
    assert chain.amount(at.VAULT) == kept
    if closing.kind is Kind.FULL:
        assert chain.read(at.POSITION) == b""
    else:
        position = _read(chain, "Position", at.POSITION)
        assert abs(position["size"]) == closing.remaining_e9
        assert (position["size"] > 0) is (case.size > 0)
        assert position["collateral"] == closing.remaining_collateral
        assert position["realized_pnl"] == closing.realized_pnl
        assert position["updated_slot"] == at.SLOT
    _check_event(case, closing, expected.verdict, VENUE.effects(answer.logs))


def _check_event(
    case: Case, closing: Closing, verdict: Assessment, event: Mapping[str, int] | None
) -> None:
    assert event == {
        "price": case.price,
        "closed_size": closing.size_e9,
        "remaining_size": closing.remaining_e9,
        "reward": closing.reward,
        "fund_delta": closing.fund_delta,
        "bad_debt_covered": closing.bad_debt_covered,
        "bad_debt_uncovered": closing.bad_debt_uncovered,
        "owner_payout": closing.owner_payout,
        "equity": verdict.equity,
        "maintenance_margin": verdict.maintenance_margin,
        "slot": at.SLOT,
        "is_full": int(closing.kind is Kind.FULL),
    }


def _liquidate(expected: Expected) -> Instruction:
    plan = VENUE.plan(expected.position, expected.view, str(at.LIQUIDATOR))
    planted = (str(at.LIQUIDATOR_TOKEN), str(at.OWNER_TOKEN))
    call = plan.instructions[plan.liquidate_index]
    accounts = list(call.accounts)
    for place, address in zip((1, 4), planted, strict=True):
        accounts[place] = replace(accounts[place], address=address)
    return replace(call, accounts=tuple(accounts))


def _run(case: Case, chain: vm.ProgramVm, calls: dict[str, Instruction]) -> str:
    """Compare one case and return how it ended."""
    expected = Expected(case, chain.plant(case))
    if not calls:
        confirmation = VENUE.confirmation(expected.position, expected.view)
        assert confirmation is not None
        calls["assess"] = confirmation
        calls["liquidate"] = _liquidate(expected)
    _check_assessment(expected, chain.simulate(_with_max_size(calls["assess"], case.max_size)))
    if expected.error is not None:
        return expected.error
    if expected.closing is None:
        return "healthy"
    _check_venue(case, expected.verdict, expected.closing)
    vault = case.collateral + case.pool + case.fund
    if vault <= U64_MAX:
        chain.plant_tokens(vault)
        answer = chain.send(_with_max_size(calls["liquidate"], case.max_size))
        assert answer.error is None
        _check_effects(case, expected, chain, answer)
    return expected.closing.kind


class Disagreement(AssertionError):
    """A case on which Python and the program differ; the text replays it."""


def compare(seed: str, cases: int) -> Counter[str]:
    """Return how often the cases of a seed ended in which way, once both agreed on every one.

    Raises:
        Disagreement: which case it was, and its values.
    """
    rng = random.Random(seed)
    chain = vm.ProgramVm()
    calls: dict[str, Instruction] = {}
    endings: Counter[str] = Counter()
    for number in range(cases):
        case = random_case(rng)
        try:
            endings[_run(case, chain, calls)] += 1
        except AssertionError as error:
            raise Disagreement(f"seed {seed} case {number}: {case}\n{error}") from error
    return endings
