"""The last line of a run with an end: what was done, and whether the chain agrees."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from liqctl.cli.options import Session
from liqctl.cli.render import lamports, quote
from liqctl.core.events import Coverage
from liqctl.core.price_policy import Doubt
from liqctl.keeper.status import latency_of
from liqctl.keeper.verify import audit

if TYPE_CHECKING:
    from liqctl.core.record import Liquidation, Totals
    from liqctl.core.status import Status
    from liqctl.keeper.context import Context
    from liqctl.keeper.service import Keeper

ROWS_MAX = 1_000_000
DISAGREEMENTS = {
    "unrecorded": "of this key on chain but not in this database",
    "not_on_chain": "recorded but not on chain",
    "different": "recorded with other figures than on chain",
}


async def print_summary(
    session: Session,
    contexts: "Sequence[Context]",
    keepers: "Sequence[Keeper]",
    started_ns: int,
) -> bool:
    """Print the summary and return whether records and chain agree and nothing is left to do."""
    context = contexts[0]
    run_ms = (context.clock.monotonic_ns() - started_ns) // 1_000_000
    started_ms = context.clock.unix_ms() - run_ms
    each = {
        one.venue.id: await _of_venue(session, one, keeper, started_ms)
        for one, keeper in zip(contexts, keepers, strict=True)
    }
    totals = await context.store.run(context.store.store.totals)
    summary = {"type": "summary", **_together(list(each.values()), totals, keepers)}
    if len(each) > 1:
        summary["venues"] = each
    if session.as_json:
        session.screen.json(summary)
    else:
        _print_text(session, summary)
    return summary["verified_on_chain"] is True


async def _of_venue(
    session: Session, context: "Context", keeper: "Keeper", started_ms: int
) -> dict[str, Any]:
    """Return what was done on one venue by its records, and how they compare with the chain."""
    from liqctl.cli.connect import keeper_of  # noqa: PLC0415 - 300 ms, not for --help
    from liqctl.keeper.survey import survey  # noqa: PLC0415 - with the keeper only

    store, venue = context.store, context.venue
    rows = await store.run(store.store.recent_liquidations, venue=venue.id, limit=ROWS_MAX)
    liquidators = {row.liquidator_pubkey for row in rows}
    if keeper.liquidator is not None:
        liquidators.add(keeper.liquidator)
    checked = await audit(
        context.chain,
        venue,
        rows,
        liquidators,
        since_slot=min([keeper.started_slot, *(row.slot for row in rows)]),
    )
    fresh = keeper_of(context, session.settings, signer=None, streams=False)
    left = await survey(fresh, context)
    fresh.absorb()
    withheld = sum(Doubt.WITHIN_CONFIDENCE in one.assessment.blockers for one in left.findings)
    missed = len(left.findings) - withheld
    live = await store.run(store.store.live_attempts, venue.program_id)
    firsts = [row.created_at for row in rows if row.created_at >= started_ms]
    return {
        "positions": left.coverage.positions,
        "coverage": left.coverage,
        **_done(rows, keeper.status()),
        "insurance_fund_balance": fresh.status().fund_balance,
        "verified_on_chain": checked.clean and not missed,
        "double_liquidations": len(checked.doubled),
        "unrecorded": len(checked.unrecorded),
        "not_on_chain": len(checked.not_on_chain),
        "different": len(checked.different),
        "missed": missed,
        "withheld": withheld,
        "left_in_flight": len(live),
        "first_liquidation_ms": min(firsts) - started_ms if firsts else None,
        **(_shadow(keeper.status()) if keeper.shadow.draws else {}),
    }


def _shadow(status: "Status") -> dict[str, int]:
    """Return how often the program itself was asked, and what came of it."""
    return {
        "shadow_checked": status.shadow_checked,
        "shadow_disagreements": status.shadow_disagreements,
        "shadow_incomparable": status.shadow_incomparable,
    }


def _done(rows: "list[Liquidation]", status: "Status") -> dict[str, int]:
    """Return what was done by the records of a venue, and failures of this run."""
    full = sum(row.is_full_liquidation for row in rows)
    return {
        "liquidated_full": full,
        "liquidated_partial": len(rows) - full,
        "with_bad_debt": sum(row.bad_debt > 0 for row in rows),
        "failed": status.failed,
        "lost_races": status.lost_races,
        "expired": status.expired,
        "bad_debt": sum(row.bad_debt for row in rows),
        "rewards": sum(row.liquidator_reward for row in rows),
    }


def _together(
    each: list[dict[str, Any]], totals: "Totals", keepers: "Sequence[Keeper]"
) -> dict[str, Any]:
    """Return all venues as one: sums, the first of times, and the totals of the whole database."""
    summed: dict[str, Any] = {name: _sum([one[name] for one in each]) for name in each[0]}
    summed |= {
        "coverage": _coverage([one["coverage"] for one in each]),
        "verified_on_chain": all(one["verified_on_chain"] for one in each),
        "first_liquidation_ms": min(
            (
                one["first_liquidation_ms"]
                for one in each
                if one["first_liquidation_ms"] is not None
            ),
            default=None,
        ),
        "liquidated_full": totals.full,
        "liquidated_partial": totals.partial,
        "bad_debt": totals.bad_debt,
        "rewards": totals.rewards,
        "fees_lamports": totals.fees_lamports,
    }
    statuses = [keeper.status() for keeper in keepers]
    latency = latency_of(us for keeper in keepers for us in keeper.settler.latencies_us)
    return {
        **summed,
        "decision_latency_us": {
            "count": latency.count,
            "p50": latency.p50_us,
            "p99": latency.p99_us,
        },
        "duration_ms": max(status.uptime_ms for status in statuses),
    }


def _sum(values: list[Any]) -> int | None:
    """Return the sum of what is known; None where nothing is, or where it is no number."""
    known = [value for value in values if isinstance(value, int)]
    return sum(known) if known else None


def _coverage(each: list[Coverage]) -> Coverage:
    unknown: Counter[str] = Counter()
    for one in each:
        unknown.update(one.unknown)
    return Coverage(
        positions=sum(one.positions for one in each),
        evaluated=sum(one.evaluated for one in each),
        unknown=dict(unknown),
    )


def _print_text(session: Session, summary: dict[str, Any]) -> None:
    figures = summary["decision_latency_us"]
    say = session.screen.print
    for venue, one in summary.get("venues", {}).items():
        say(
            f"{venue}: {one['liquidated_partial']} partial and {one['liquidated_full']} full, "
            f"{one['failed']} failed, missed {one['missed']}, verified on chain: {_verified(one)}"
        )
    say(
        f"{summary['liquidated_partial']} partial and {summary['liquidated_full']} full "
        f"liquidations, {summary['with_bad_debt']} with bad debt, {summary['failed']} failed, "
        f"{summary['lost_races']} lost races"
    )
    say(
        f"rewards {_quote(summary['rewards'])}, bad debt {_quote(summary['bad_debt'])}, "
        f"insurance fund {_quote(summary['insurance_fund_balance'])}, "
        f"fees {lamports(int(str(summary['fees_lamports'])))}"
    )
    if "shadow_checked" in summary:
        say(
            f"the program was asked about {summary['shadow_checked']} verdicts and disagreed on "
            f"{summary['shadow_disagreements']}; {summary['shadow_incomparable']} more could not be "
            "compared"
        )
    if figures.get("count"):
        p50, p99 = figures["p50"] / 1_000, figures["p99"] / 1_000
        say(f"decision latency p50 {p50:.1f} ms, p99 {p99:.1f} ms")
    withheld = f"withheld {summary['withheld']} within the confidence of the price, "
    say(
        f"double liquidations {summary['double_liquidations']}, missed {summary['missed']}, "
        f"{withheld if summary['withheld'] else ''}verified on chain: {_verified(summary)}"
    )


def _verified(summary: dict[str, Any]) -> str:
    if summary["verified_on_chain"]:
        return "yes"
    found = ", ".join(
        f"{summary[name]} {text}" for name, text in DISAGREEMENTS.items() if summary[name]
    )
    return f"NO, {found}" if found else "NO"


def _quote(amount: object) -> str:
    return quote(amount) if isinstance(amount, int) else "unknown"
