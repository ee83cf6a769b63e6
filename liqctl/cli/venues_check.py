"""What `liqctl venues check` does: decode, judge, and try the instruction by simulation."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from liqctl.chain.base58 import is_address
from liqctl.chain.client import Chain
from liqctl.cli.connect import connected, dry_liquidator
from liqctl.cli.dumps import read_dumps
from liqctl.cli.options import Session
from liqctl.cli.programs import venue_of
from liqctl.core.account import Account, Decoded, Seen, Undecodable
from liqctl.core.health import Assessment
from liqctl.core.instruction import Failure, Outcome, Plan
from liqctl.core.position import Market, Position
from liqctl.errors import LayoutError, SettingsError
from liqctl.keeper.asking import simulated
from liqctl.keeper.context import outcome_of
from liqctl.keeper.decode import CLOCK_SYSVAR, decode, decode_clock
from liqctl.keeper.reading import read_fresh
from liqctl.ports import Venue
from liqctl.venues.mapping_calls import COMPUTE_UNITS

MISFITS_SHOWN = 20
LOG_LINES_SHOWN = 12
OK = "ok"


@dataclass(frozen=True, slots=True, kw_only=True)
class Misfit:
    """An account of the program that the mapping does not fit, and why."""

    address: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What the node says that the instruction would do to one position."""

    position: str
    liquidatable: bool | None
    unknown_reason: str | None
    outcome: str
    error: str | None
    compute_units: int | None
    effects: Mapping[str, int] | None
    confirmation: str | None
    logs: tuple[str, ...]

    @property
    def agrees(self) -> bool:
        """Whether the program did what our verdict expects; an unknown one expects nothing."""
        if self.outcome == OK:
            return self.liquidatable is not False
        return self.outcome == Outcome.HEALTHY and self.liquidatable is not True


@dataclass(slots=True, kw_only=True)
class Report:
    """How a mapping fits real accounts."""

    program: str
    accounts: Counter[str] = field(default_factory=Counter)
    misfits: list[Misfit] = field(default_factory=list)
    verdicts: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    trial: Trial | None = None

    @property
    def fits(self) -> bool:
        """Whether every account was decoded and the program agrees with the verdict on one."""
        return not self.misfits and (self.trial is None or self.trial.agrees)


async def checked(
    session: Session, folder: Path | None, position: str | None, limit: int
) -> Report:
    """Return how the mapping of the settings fits the dumps of a folder, or what a node has.

    Raises:
        SettingsError: a file cannot be used, or the address is no position.
        RpcError: the node did not answer.
    """
    if folder is not None:
        return _of_dumps(venue_of(session.settings), read_dumps(folder))
    if position is not None and not is_address(position):
        raise SettingsError(f"--simulate must be a public key, was {position!r}")
    async with connected(session.settings) as connection:
        venue, chain = connection.venue, connection.chain
        report = Report(program=venue.program_id)
        view: dict[str, Seen] = {}
        for kind, head in venue.discriminators().items():
            snapshot = await chain.program_accounts(venue.program_id, head)
            _take(report, venue, snapshot.accounts, view)
            if not snapshot.accounts:
                report.notes.append(f"the program has no account of the kind {kind}")
        await _judge(report, venue, chain, view, limit)
        if position is not None:
            report.trial = await _tried(
                venue, chain, position, view, dry_liquidator(session.settings)
            )
        return report


def _of_dumps(venue: Venue, accounts: Sequence[Account]) -> Report:
    report = Report(program=venue.program_id)
    view: dict[str, Seen] = {}
    clock = None
    for account in accounts:
        if account.address == CLOCK_SYSVAR:
            clock = decode_clock(account)
    _take(report, venue, [one for one in accounts if one.address != CLOCK_SYSVAR], view)
    if clock is None:
        report.notes.append(f"no verdicts: the folder has no dump of the clock, {CLOCK_SYSVAR}")
        return report
    for seen in view.values():
        if isinstance(seen.value, Position):
            _count(report, venue.assess(seen.value, view, clock.unix_timestamp))
    return report


def _take(report: Report, venue: Venue, accounts: Sequence[Account], view: dict[str, Seen]) -> None:
    """Decode accounts into the view; what the program owns and the mapping does not fit is told."""
    for account in accounts:
        seen = decode(venue, account.address, account, account.slot)
        view[account.address] = seen
        report.accounts[_kind(seen.value)] += 1
        if isinstance(seen.value, Undecodable) and account.owner == venue.program_id:
            value = seen.value
            report.misfits.append(
                Misfit(address=account.address, reason=value.reason.value, detail=value.detail)
            )


def _kind(value: Decoded) -> str:
    words = {"Position": "positions", "Market": "markets", "PriceReading": "prices"}
    name = type(value).__name__
    return words.get(name, "refused" if isinstance(value, Undecodable) else "others")


async def _judge(
    report: Report, venue: Venue, chain: Chain, view: dict[str, Seen], limit: int
) -> None:
    """Count verdicts on some positions, on what one read of their accounts shows."""
    held = [one.value for one in view.values() if isinstance(one.value, Position)][:limit]
    prices = {one.value.price_account for one in view.values() if isinstance(one.value, Market)}
    named = {address for one in held for address in venue.dependencies(one, view)}
    answer = await chain.accounts([*sorted(prices | named), CLOCK_SYSVAR])
    clock = decode_clock(answer.by_address.get(CLOCK_SYSVAR))
    for address, account in answer.by_address.items():
        if address != CLOCK_SYSVAR:
            view[address] = decode(venue, address, account, answer.slot)
    if clock is None:
        report.notes.append("no verdicts: the node did not return the clock")
        return
    for position in held:
        _count(report, venue.assess(position, view, clock.unix_timestamp))


def _count(report: Report, verdict: Assessment) -> None:
    report.verdicts[_verdict(verdict.liquidatable, verdict.unknown_reason)] += 1


def _verdict(liquidatable: bool | None, reason: str | None) -> str:
    if liquidatable is None:
        return f"unknown ({reason})"
    return "liquidatable" if liquidatable else "healthy"


async def _tried(
    venue: Venue, chain: Chain, address: str, view: Mapping[str, Seen], signer: str | None
) -> Trial:
    """Return what the node says of the liquidation of one position.

    Raises:
        SettingsError: there is no such position, or the instruction cannot be built.
    """
    seen = view.get(address)
    if seen is None or not isinstance(seen.value, Position):
        raise SettingsError(f"{address} is not a position of the program {venue.program_id}")
    read = await read_fresh(venue, chain, seen.value, view)
    if read.position is None or read.assessment is None:
        raise SettingsError(f"the position {address} was closed a moment ago")
    payer = signer or read.position.owner
    try:
        plan = venue.plan(read.position, read.view, payer)
    except LayoutError as error:
        raise SettingsError(f"the instruction cannot be built: {error}") from error
    done = await simulated(chain, payer, plan)
    outcome = OK
    if done.failure is not None:
        outcome = outcome_of(venue, done.failure, plan.liquidate_index).value
    return Trial(
        position=address,
        liquidatable=read.assessment.liquidatable,
        unknown_reason=read.assessment.unknown_reason,
        outcome=outcome,
        error=None if done.failure is None else _words(done.failure),
        compute_units=done.compute_units,
        effects=None if done.failure is not None else venue.effects(done.logs),
        confirmation=await _confirmed(venue, chain, read.position, read.view, payer),
        logs=tuple(done.logs[-LOG_LINES_SHOWN:]),
    )


async def _confirmed(
    venue: Venue, chain: Chain, position: Position, view: Mapping[str, Seen], payer: str
) -> str | None:
    """Return how the program's own view ended, or None where the mapping has none."""
    call = venue.confirmation(position, view)
    if call is None:
        return None
    plan = Plan(instructions=(call,), liquidate_index=0, compute_units=COMPUTE_UNITS)
    done = await simulated(chain, payer, plan)
    return OK if done.failure is None else _words(done.failure)


def _words(failure: Failure) -> str:
    code = "" if failure.code is None else f" {failure.code}"
    return f"{failure.name}{code}"


def show(session: Session, report: Report) -> None:
    """Print the report."""
    if session.as_json:
        session.screen.json({"type": "check", "ok": report.fits, **_as_json(report)})
        return
    counts = ", ".join(f"{count:,} {kind}" for kind, count in sorted(report.accounts.items()))
    session.screen.print(f"program {report.program}: {counts or 'no accounts'}")
    if report.verdicts:
        told = ", ".join(f"{count:,} {word}" for word, count in sorted(report.verdicts.items()))
        session.screen.print(f"verdicts: {told}")
    for one in report.misfits[:MISFITS_SHOWN]:
        session.screen.print(f"{one.address}: {one.reason}, {one.detail}")
    if len(report.misfits) > MISFITS_SHOWN:
        session.screen.print(f"and {len(report.misfits) - MISFITS_SHOWN:,} more that do not fit")
    if report.trial is not None:
        _show_trial(session, report.trial)
    for note in report.notes:
        session.screen.note(note)


def _show_trial(session: Session, trial: Trial) -> None:
    verdict = _verdict(trial.liquidatable, trial.unknown_reason)
    units = "" if trial.compute_units is None else f", {trial.compute_units:,} compute units"
    session.screen.print(f"{trial.position}: our verdict is {verdict}")
    session.screen.print(f"the instruction: {trial.outcome}{units}")
    if not trial.agrees:
        session.screen.print("the program disagrees: the mapping is wrong, or something moved")
    if trial.confirmation is not None:
        session.screen.print(f"the program's own view: {trial.confirmation}")
    if trial.effects:
        told = ", ".join(f"{name} {value:,}" for name, value in trial.effects.items())
        session.screen.print(f"it would tell: {told}")
    if trial.error is not None:
        session.screen.print(f"it failed with {trial.error}; the log ends:")
        for line in trial.logs:
            session.screen.print(f"  {line}")


def _as_json(report: Report) -> dict[str, object]:
    return {
        "program": report.program,
        "accounts": dict(report.accounts),
        "verdicts": dict(report.verdicts),
        "misfits": report.misfits,
        "notes": report.notes,
        "simulation": report.trial,
    }
