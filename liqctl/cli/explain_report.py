"""How `liqctl explain` shows what it found: for a person line by line, for scripts in integers."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from liqctl.chain.fees import max_cost_lamports
from liqctl.cli.options import Session
from liqctl.cli.reasons import explained, only_rent
from liqctl.cli.render import decimal, health, lamports, quote
from liqctl.core.guards import TOKEN_ACCOUNT_RENT_LAMPORTS
from liqctl.core.health import Assessment
from liqctl.core.instruction import Plan
from liqctl.core.position import Side
from liqctl.core.status import SourceStatus
from liqctl.keeper.asking import Answer
from liqctl.keeper.doubting import Doubts
from liqctl.keeper.draft import Fees
from liqctl.keeper.explanation import Explanation, Price
from liqctl.keeper.supposing import falls
from liqctl.ports import Venue
from liqctl.venues.confirming import facts_for

E6 = 6
UNITS = {"_e6": 6, "_e9": 9, "_e10": 10}
WIDTH = 28


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a liquidation costs at most and pays back beside the reward, in lamports.

    `creates` are the token accounts that are missing. Without a named liquidator the owner stands
    in, whose own token account may have to be made as well.
    """

    liquidator: str | None
    fee_lamports: int
    rent_lamports: int
    returns_lamports: int
    creates: tuple[str, ...]

    @classmethod
    def of(cls, fees: Fees, plan: Plan, missing: Sequence[str], liquidator: str | None) -> "Cost":
        """Return the cost of a plan whose accounts `missing` are not there yet."""
        most = max_cost_lamports(1, fees.units_max(plan), fees.price_micro_lamports)
        return cls(
            liquidator=liquidator,
            fee_lamports=min(most, max_cost_lamports(1, 0, 0) + fees.cap_lamports),
            rent_lamports=len(missing) * TOKEN_ACCOUNT_RENT_LAMPORTS,
            returns_lamports=plan.returns_lamports,
            creates=tuple(missing),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """An explanation with what was asked beside it; `unanswered` says why the program is silent."""

    venue: Venue
    explanation: Explanation
    now_from: str
    doubts: Doubts = field(default_factory=Doubts)
    cost: Cost | None = None
    answer: Answer | None = None
    unanswered: str | None = "there is no node to ask"

    @property
    def agrees(self) -> bool | None:
        """Whether the program says what our verdict says; None where one of them is silent."""
        ours = falls(self.explanation.mid)
        if self.answer is None or self.answer.liquidatable is None or ours is None:
            return None
        return self.answer.liquidatable is ours

    @property
    def doubt(self) -> str | None:
        """Why a position that is liquidatable is left alone; None for any other."""
        return self.doubts.doubt if self.explanation.mid.liquidatable is True else None


def show(session: Session, report: Report) -> None:
    """Print the report."""
    if session.as_json:
        session.screen.json(as_json(report))
        return
    for line in lines(report):
        session.screen.print(line)


def as_json(report: Report) -> dict[str, object]:
    """Return the report as scripts see it: integers with their unit in the name."""
    found, venue = report.explanation, report.venue
    position, flip = found.position, found.flip
    facts = facts_for(venue)
    turned = None
    if flip is not None and found.at_flip is not None:
        turned = {
            "liquidatable_price_e6": flip.liquidatable_e6,
            "healthy_price_e6": flip.healthy_e6,
            "verified": True,
            "exact": found.at_flip.exact,
            **_verdict(found.at_flip),
        }
    return {
        "type": "explain",
        "venue": venue.id,
        "program": venue.program_id,
        "position": position.address,
        "owner": position.owner,
        "market": position.market,
        "symbol": found.mid.symbol,
        "side": position.side.value,
        "size": position.size,
        "size_digits": facts.size_digits,
        "size_unit": facts.size_unit,
        "leverage": position.leverage,
        "entry_price_e6": position.entry_price_e6,
        "collateral_e6": position.collateral,
        "slot": found.slot,
        "now_s": found.now_s,
        "now_from": report.now_from,
        "inputs": found.inputs,
        "prices": found.prices,
        "sources": report.doubts.sources,
        "doubt": report.doubt,
        "supposed_e6": found.supposed,
        "steps": dict(found.steps),
        "mid": _verdict(found.mid),
        "low": None if found.low is None else _verdict(found.low),
        "high": None if found.high is None else _verdict(found.high),
        "owner_favourable": "high" if position.side is Side.LONG else "low",
        "flip": turned,
        "cost": report.cost,
        "program_says": report.answer,
        "program_silent": report.unanswered,
        "agrees": report.agrees,
        "can_liquidate": facts.can_liquidate,
        "why_not": facts.why_not,
    }


def _verdict(verdict: Assessment) -> dict[str, object]:
    return {
        "price_e6": verdict.price_e6,
        "price_age_s": verdict.price_age_s,
        "confidence_bps": verdict.confidence_bps,
        "liquidatable": verdict.liquidatable,
        "unknown_reason": verdict.unknown_reason,
        "estimated": falls(verdict) if verdict.liquidatable is None else None,
        "exact": verdict.exact,
        "health": verdict.health,
        "notional_e6": verdict.notional,
        "equity_e6": verdict.equity,
        "maintenance_margin_e6": verdict.maintenance_margin,
        "kind": verdict.kind,
        "close_size": verdict.close_size,
        "fee_e6": verdict.fee,
        "reward_e6": verdict.reward,
        "owner_payout_e6": verdict.owner_payout,
        "bad_debt_covered_e6": verdict.bad_debt_covered,
        "bad_debt_uncovered_e6": verdict.bad_debt_uncovered,
        "fund_delta_e6": verdict.fund_delta,
        "blockers": verdict.blockers,
    }


def lines(report: Report) -> list[str]:
    """Return the report line by line, each with its name first."""
    found, facts = report.explanation, facts_for(report.venue)
    position = found.position
    size = f"{decimal(position.size, facts.size_digits)} {facts.size_unit.upper()}"
    told = [
        _line("position", f"{position.address} of the {report.venue.id} venue"),
        _line("owner", position.owner),
        _line("market", f"{found.mid.symbol}, {position.side.value} {size}"),
        _line("entry price", decimal(position.entry_price_e6, E6)),
        _line("collateral", quote(position.collateral)),
        _line("time", f"{found.now_s} from the {report.now_from.replace('_', ' ')}"),
        *(
            _line(one.role.replace("_", " "), _read_at(one.address, one.slot))
            for one in found.inputs
        ),
        *(_line(f"price of {one.symbol[:12]}", _price(one)) for one in found.prices),
        *_source_lines(report.doubts),
        *(_line(_name(name), _figure(name, value)) for name, value in found.steps),
        *_verdict_lines(found),
        *_doubt_lines(report),
        *_flip_lines(report),
        *_cost_lines(report),
        *_program_lines(report),
    ]
    if facts.why_not is not None:
        told.append(_line("watch-only", facts.why_not))
    return told


def _line(name: str, text: str) -> str:
    return f"{name:<{WIDTH}}{text}"


def _read_at(address: str, slot: int) -> str:
    return f"{address} at slot {slot:,}"


def _price(price: Price) -> str:
    if price.supposed:
        return f"{_shown(price.price_e6)}, supposed; nobody published it"
    return (
        f"{_shown(price.price_e6)} ± {_shown(price.confidence_e6)} ({price.confidence_bps} bps), "
        f"{_age(price.age_s)}, slot {price.slot:,}, {price.source}"
    )


def _age(age_s: int) -> str:
    return f"{age_s} s old" if age_s >= 0 else f"{-age_s} s ahead of the clock"


def _source_lines(doubts: Doubts) -> list[str]:
    """Return the sources of the market's price where there are several to compare."""
    if len(doubts.sources) < 2:
        return []
    return [_line(f"source {one.source.replace('_', ' ')}", _source(one)) for one in doubts.sources]


def _source(one: SourceStatus) -> str:
    if one.age_s is None:
        return explained(one.refusal or "price_missing")
    told = f"{_shown(one.price_e6)}, {_age(one.age_s)}, {one.confidence_bps} bps"
    return f"{told}, not used: {one.refusal}" if one.refusal else told


def _doubt_lines(report: Report) -> list[str]:
    """Return why a position that the program would liquidate is left alone."""
    return [] if report.doubt is None else [_line("left alone", explained(report.doubt))]


def _shown(value_e6: int | None) -> str:
    return "?" if value_e6 is None else decimal(value_e6, E6)


def _name(step: str) -> str:
    for unit in (*UNITS, "_bps"):
        step = step.removesuffix(unit)
    return step.replace("_", " ")


def _figure(name: str, value: int) -> str:
    for unit, digits in UNITS.items():
        if name.endswith(unit):
            return decimal(value, digits)
    return f"{value:,} bps" if name.endswith("_bps") else f"{value:,}"


def _verdict_lines(found: Explanation) -> list[str]:
    rows = [("at the price", found.mid)]
    if found.low is not None and found.high is not None:
        rows = [("at the lower edge", found.low), *rows, ("at the upper edge", found.high)]
    told = [_line(name, _judged(one)) for name, one in rows]
    return told + [_line("blocked", explained(one)) for one in found.mid.blockers]


def _judged(verdict: Assessment) -> str:
    where = f"{decimal(verdict.price_e6, E6)}: " if verdict.price_e6 else ""
    stands = (
        f", equity {quote(verdict.equity)}, maintenance margin {quote(verdict.maintenance_margin)},"
        f" health {health(verdict.health)}"
        if verdict.maintenance_margin
        else ""
    )
    return f"{where}{_word(verdict)}{stands}"


def _word(verdict: Assessment) -> str:
    ours = falls(verdict)
    if ours is None:
        return f"unknown, {explained(verdict.unknown_reason or '')}"
    word = "liquidatable" if ours else "healthy"
    return word if verdict.exact else f"{word} by our estimate"


def _flip_lines(report: Report) -> list[str]:
    found = report.explanation
    if found.flip is None or found.at_flip is None:
        told = [_line("flips", "at no price that could be found")]
        return told + _closing_lines(report, found.mid, "closes")
    flip = found.flip
    side = "at and below" if found.position.side is Side.LONG else "at and above"
    told = [
        _line(
            "flips",
            f"liquidatable {side} {decimal(flip.liquidatable_e6, E6)}, healthy at "
            f"{decimal(flip.healthy_e6, E6)}; both were assessed",
        )
    ]
    if falls(found.mid):
        return told + _closing_lines(report, found.mid, "closes")
    return told + _closing_lines(report, found.at_flip, "would close there")


def _closing_lines(report: Report, verdict: Assessment, name: str) -> list[str]:
    if verdict.kind is None:
        return []
    facts, position = facts_for(report.venue), report.explanation.position
    share = verdict.close_size * 100 // position.size if position.size else 100
    closed = f"{decimal(verdict.close_size, facts.size_digits)} {facts.size_unit.upper()}"
    told = [
        _line(name, f"{verdict.kind}, {closed} ({share} %)"),
        _line("liquidation fee", quote(verdict.fee)),
        _line("reward", quote(verdict.reward)),
        _line("owner receives", quote(verdict.owner_payout)),
    ]
    if verdict.bad_debt:
        uncovered = quote(verdict.bad_debt_uncovered)
        told.append(_line("bad debt", f"{quote(verdict.bad_debt)}, uncovered {uncovered}"))
    return told


def _cost_lines(report: Report) -> list[str]:
    cost = report.cost
    if cost is None:
        return []
    told = [_line("fees at most", lamports(cost.fee_lamports))]
    count = len(cost.creates)
    rent = f"{lamports(cost.rent_lamports)} for {count} token account{'s' * (count != 1)}"
    told.append(_line("rent of accounts", rent))
    if cost.liquidator is None:
        told.append(_line("", "beside your own; name your public key with --keypair"))
    if facts_for(report.venue).reward == "rent":
        told.append(_line("the program", only_rent(cost.returns_lamports)))
    elif cost.returns_lamports:
        told.append(_line("comes back", f"{lamports(cost.returns_lamports)}, the position's rent"))
    return told


def _program_lines(report: Report) -> list[str]:
    answer = report.answer
    if answer is None:
        return [_line("the program", f"was not heard: {report.unanswered}")]
    how = "its own view" if answer.by == "view" else "a simulated liquidation"
    if answer.liquidatable is None:
        said = f"{answer.outcome}, {answer.error}" if answer.error else "no verdict"
    else:
        said = "liquidatable" if answer.liquidatable else "healthy"
    agreed = {True: "; we agree", False: "; WE DISAGREE", None: ""}[report.agrees]
    units = "" if answer.compute_units is None else f", {answer.compute_units:,} compute units"
    told = f"{said} by {how} at slot {answer.slot:,}{units}{agreed}"
    return [_line("the program", told)]
