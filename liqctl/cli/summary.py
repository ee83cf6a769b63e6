"""The last line of a run with an end: what was done, and whether the chain agrees."""

from typing import TYPE_CHECKING

from liqctl.cli.options import Session
from liqctl.cli.render import lamports, quote
from liqctl.keeper.verify import audit

if TYPE_CHECKING:
    from liqctl.cli.connect import Connection
    from liqctl.core.record import Liquidation, Totals
    from liqctl.keeper.context import Context
    from liqctl.keeper.service import Keeper
    from liqctl.keeper.status import Status

ROWS_MAX = 1_000_000
DISAGREEMENTS = {
    "unrecorded": "of this key on chain but not in this database",
    "not_on_chain": "recorded but not on chain",
    "different": "recorded with other figures than on chain",
}


async def print_summary(
    session: Session,
    connection: "Connection",
    context: "Context",
    keeper: "Keeper",
    started_ns: int,
) -> bool:
    """Print the summary and return whether records and chain agree and nothing is left to do."""
    from liqctl.cli.connect import keeper_of  # noqa: PLC0415 - 300 ms, not for --help
    from liqctl.keeper.survey import survey  # noqa: PLC0415 - with the keeper only

    store = context.store
    rows = await store.run(store.store.recent_liquidations, limit=ROWS_MAX)
    liquidators = {row.liquidator_pubkey for row in rows}
    if keeper.liquidator is not None:
        liquidators.add(keeper.liquidator)
    checked = await audit(
        connection.chain,
        connection.venue,
        rows,
        liquidators,
        since_slot=min([keeper.started_slot, *(row.slot for row in rows)]),
    )
    fresh = keeper_of(context, session.settings, signer=None, streams=False)
    left = await survey(fresh, context)
    fresh.absorb()
    verified = checked.clean and not left.findings
    run_ms = (connection.clock.monotonic_ns() - started_ns) // 1_000_000
    started_ms = connection.clock.unix_ms() - run_ms
    firsts = [row.created_at for row in rows if row.created_at >= started_ms]
    summary = {
        "type": "summary",
        "positions": left.coverage.positions,
        "coverage": left.coverage,
        **_done(await store.run(store.store.totals), rows, keeper.status()),
        "insurance_fund_balance": fresh.status().fund_balance,
        "verified_on_chain": verified,
        "double_liquidations": len(checked.doubled),
        "unrecorded": len(checked.unrecorded),
        "not_on_chain": len(checked.not_on_chain),
        "different": len(checked.different),
        "missed": len(left.findings),
        "left_in_flight": len(await store.run(store.store.live_attempts)),
        "first_liquidation_ms": min(firsts) - started_ms if firsts else None,
        **_speed(keeper.status()),
    }
    if session.as_json:
        session.screen.json(summary)
    else:
        _print_text(session, summary)
    return verified


def _done(totals: "Totals", rows: "list[Liquidation]", status: "Status") -> dict[str, object]:
    """Return what was done: of the whole database, and failures of this run."""
    return {
        "liquidated_full": totals.full,
        "liquidated_partial": totals.partial,
        "with_bad_debt": sum(row.bad_debt > 0 for row in rows),
        "failed": status.failed,
        "lost_races": status.lost_races,
        "expired": status.expired,
        "bad_debt": totals.bad_debt,
        "rewards": totals.rewards,
        "fees_lamports": totals.fees_lamports,
    }


def _speed(status: "Status") -> dict[str, object]:
    latency = status.latency
    return {
        "decision_latency_us": {
            "count": latency.count,
            "p50": latency.p50_us,
            "p99": latency.p99_us,
        },
        "duration_ms": status.uptime_ms,
    }


def _print_text(session: Session, summary: dict[str, object]) -> None:
    latency = summary["decision_latency_us"]
    figures = latency if isinstance(latency, dict) else {}
    say = session.screen.print
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
    if figures.get("count"):
        p50, p99 = figures["p50"] / 1_000, figures["p99"] / 1_000
        say(f"decision latency p50 {p50:.1f} ms, p99 {p99:.1f} ms")
    say(
        f"double liquidations {summary['double_liquidations']}, missed {summary['missed']}, "
        f"verified on chain: {_verified(summary)}"
    )


def _verified(summary: dict[str, object]) -> str:
    if summary["verified_on_chain"]:
        return "yes"
    found = ", ".join(
        f"{summary[name]} {text}" for name, text in DISAGREEMENTS.items() if summary[name]
    )
    return f"NO, {found}" if found else "NO"


def _quote(amount: object) -> str:
    return quote(amount) if isinstance(amount, int) else "unknown"
