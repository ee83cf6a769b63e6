"""The daily proof of life: that the keeper works, and what it did since the last one. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from liqctl.alerts.figures import duration, percent, quote, sol
from liqctl.core.alert import Alert, Delivery, Severity
from liqctl.core.record import Totals
from liqctl.core.status import Status

DAY_MS = 86_400_000
HOUR_MS = 3_600_000
NOTHING = Totals(
    full=0,
    partial=0,
    failed=0,
    lost_races=0,
    rewards=0,
    bad_debt=0,
    bad_debt_uncovered=0,
    fees_lamports=0,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Digest:
    """What one message is made of; `before` are the totals at the last one."""

    statuses: Sequence[Status]
    totals: Totals
    before: Totals | None
    firing: Sequence[Alert]


def due_day(now_ms: int, hour_utc: int) -> int:
    """Return the day, counted from 1970, whose digest is the latest that is due."""
    return (now_ms - hour_utc * HOUR_MS) // DAY_MS


def digest_deliveries(digest: Digest, channels: Sequence[str], now_ms: int) -> list[Delivery]:
    """Return one message for each channel."""
    title, body = digest_text(digest)
    return [
        Delivery(
            alert_id=None,
            channel=channel,
            severity=Severity.INFO,
            dedup_key=f"liqctl/digest/{now_ms // DAY_MS}",
            resolves=False,
            title=title,
            body=body,
            created_ms=now_ms,
            next_try_ms=now_ms,
        )
        for channel in channels
    ]


def digest_text(digest: Digest) -> tuple[str, str]:
    """Return title and text; counts are since the last digest, or since the first record."""
    totals, before = digest.totals, digest.before or NOTHING
    full, partial = totals.full - before.full, totals.partial - before.partial
    since = "Since the last digest" if digest.before is not None else "Since the first record"
    lines = [
        f"{since}: {full:,} full and {partial:,} partial liquidations, "
        f"{totals.failed - before.failed:,} failed, "
        f"{totals.lost_races - before.lost_races:,} lost to others; "
        f"rewards {quote(totals.rewards - before.rewards)}, "
        f"bad debt {quote(totals.bad_debt - before.bad_debt)}, "
        f"of it uncovered {quote(totals.bad_debt_uncovered - before.bad_debt_uncovered)}, "
        f"fees {sol(totals.fees_lamports - before.fees_lamports)}.",
        *(_of(status) for status in digest.statuses),
    ]
    if digest.firing:
        lines.append(f"Firing now: {'; '.join(alert.title for alert in digest.firing)}.")
    state = f"{len(digest.firing)} alerts firing" if digest.firing else "nothing is wrong"
    return f"[digest] liqctl is running: {full + partial:,} liquidations, {state}", "\n".join(lines)


def _of(status: Status) -> str:
    coverage = status.coverage
    parts = [
        f"{status.venue}: up for {duration(status.uptime_ms // 1_000)}, slot {status.slot:,}",
        f"{coverage.evaluated:,} of {coverage.positions:,} positions judged",
        f"{status.waiting} waiting, {status.quarantined} quarantined",
    ]
    if status.fund_balance is not None:
        share = status.fund_share_bps
        of_all = "" if share is None else f" ({percent(share)} of the collateral)"
        parts.append(f"insurance fund {quote(status.fund_balance)}{of_all}")
    if status.wallet is not None and status.wallet.balance_lamports is not None:
        parts.append(f"wallet {sol(status.wallet.balance_lamports)}")
    if status.held is not None:
        parts.append(f"held by {status.held}")
    return ", ".join(parts) + "."
