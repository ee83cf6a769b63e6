"""What is worth waking somebody for: every rule, its severity and its words. Pure."""

from collections.abc import Iterator, Mapping

from liqctl.alerts.figures import ago, decimal, duration, percent, quote, sol
from liqctl.alerts.outbox import CHANNEL_RULE
from liqctl.alerts.policy import Condition, Findings, Key
from liqctl.alerts.price_rules import hermes_down, price_doubted, price_missing
from liqctl.alerts.rule import Look, Rule, Thresholds
from liqctl.core.alert import Severity
from liqctl.core.health_grade import CHECKS_MISSED_MAX, GradeLimits

CRITICAL, WARNING = Severity.CRITICAL, Severity.WARNING
PATIENCE = GradeLimits()
PROGRESS_MS = 5_000
# A blockhash is valid for about a minute, and final some 13 s later.
STUCK_MS = 300_000
# What a status counts about an endpoint beside its errors.
NO_ERRORS = frozenset({"calls", "passed_over", "over_budget", "behind", "truncated", "openings"})


def judged(look: Look, limits: Thresholds) -> Findings:
    """Return everything that is wrong.

    While the keeper does not see the chain, what follows from its last look is not judged.
    """
    blind = any(_no_progress(RULES["no_progress"], look, limits))
    conditions = [
        condition
        for rule in RULES.values()
        if rule.judge is not None and not (blind and rule.name in OF_THE_CHAIN)
        for condition in rule.judge(rule, look, limits)
    ]
    unjudged = {(name, look.status.venue) for name in OF_THE_CHAIN} if blind else set[Key]()
    return Findings(conditions=tuple(conditions), unjudged=frozenset(unjudged))


def channels_judged(failing: Mapping[str, str]) -> Findings:
    """Return what is wrong with the channels themselves: why each of them fails."""
    return Findings(
        conditions=tuple(
            Condition(
                rule=CHANNEL_RULE,
                subject=name,
                severity=WARNING,
                title=f"alerts do not reach {name}",
                body=f"Found: {error}. Expected: every message is taken. Messages wait and are "
                "tried again. Do: correct the channel, then `liqctl alerts test`.",
            )
            for name, error in failing.items()
        )
    )


def _no_progress(rule: Rule, look: Look, _limits: Thresholds) -> Iterator[Condition]:
    status = look.status
    passes = (
        ("check of what decides", status.check_age_ms, status.check_interval_ms),
        ("read of all positions", status.snapshot_age_ms, status.reconcile_interval_ms),
    )
    found = []
    for what, known_ms, interval_ms in passes:
        age_ms = status.uptime_ms if known_ms is None else known_ms
        if age_ms > CHECKS_MISSED_MAX * interval_ms:
            found.append(f"the last complete {what} was {ago(age_ms)}")
    if status.slot_age_ms > PATIENCE.slot_age_ms_max:
        found.append(f"slot {status.slot:,} was the newest seen, {ago(status.slot_age_ms)}")
    if found:
        yield rule.found(
            status.venue,
            f"{status.venue}: the keeper does not see the chain",
            f"Found: {'; '.join(found)}. Expected: a check every {status.check_interval_ms:,} ms "
            "and a new slot every second. Until then nothing is liquidated on what it knows. Do: "
            "look at the RPC endpoints with `liqctl doctor`; name another with --fallback-url.",
            after_ms=PROGRESS_MS,
        )


def _stream_silent(rule: Rule, look: Look, _limits: Thresholds) -> Iterator[Condition]:
    status = look.status
    ages = {
        name: status.uptime_ms if age_ms is None else age_ms
        for name, age_ms in status.streams.items()
    }
    silent = [name for name, age_ms in ages.items() if age_ms > PATIENCE.stream_age_ms_max]
    if silent:
        yield rule.found(
            status.venue,
            f"{status.venue}: no notices of {' and '.join(silent)}",
            f"Found: silent for {duration(max(ages[name] for name in silent) // 1_000)}. "
            f"Expected: a notice within {PATIENCE.stream_age_ms_max // 1_000} s. Polling goes on, "
            "so that liquidations come later, not wrongly. Do: see whether the WebSocket endpoint "
            "of --ws answers; `liqctl doctor` tries it.",
            after_ms=PROGRESS_MS,
        )


def _database_lost(rule: Rule, look: Look, limits: Thresholds) -> Iterator[Condition]:
    failing_ms = look.status.failing_ms
    if failing_ms is not None and failing_ms >= limits.database_ms_max:
        yield rule.found(
            look.status.venue,
            f"{look.status.venue}: the database cannot be written",
            f"Found: every write has failed for {duration(failing_ms // 1_000)}. Expected: none "
            "fails. Nothing is signed without a record, so nothing is liquidated. Do: look at "
            "disk, locks and connection of the database; the keeper goes on by itself after that.",
        )


def _attempt_stuck(rule: Rule, look: Look, _limits: Thresholds) -> Iterator[Condition]:
    age_ms = look.status.oldest_in_flight_ms
    if age_ms is not None and age_ms >= STUCK_MS:
        yield rule.found(
            look.status.venue,
            f"{look.status.venue}: an attempt comes to no end",
            f"Found: signed {ago(age_ms)}, neither final nor proven expired. Expected: either "
            f"within {duration(STUCK_MS // 1_000)}. Until then its position is not tried again. "
            "Do: `expiry_unproven` in the log at level debug says what is missing; an endpoint that "
            "keeps the history of transactions can prove it, and --fallback-url names one.",
        )


def _held(rule: Rule, look: Look, _limits: Thresholds) -> Iterator[Condition]:
    status = look.status
    if status.held is not None:
        yield rule.found(
            status.venue,
            f"{status.venue}: the keeper signs nothing ({status.held})",
            f"Found: {status.held}, for {duration((status.held_ms or 0) // 1_000)}; "
            f"{status.waiting} positions wait. Expected: nothing is held. Do: find out why it was "
            "stopped; `liqctl watch --resume` lifts a stop or a breaker, a file STOP beside the "
            "database has to be removed, and kill_switch_unreadable ends when the keeper can see "
            "again whether there is one: look at the permissions of the directory.",
        )


def _coverage(rule: Rule, look: Look, limits: Thresholds) -> Iterator[Condition]:
    coverage = look.status.coverage
    unknown = coverage.positions - coverage.evaluated
    if unknown > 0:
        reasons = ", ".join(f"{count} {reason}" for reason, count in _most(coverage.unknown))
        yield rule.found(
            look.status.venue,
            f"{look.status.venue}: {unknown:,} of {coverage.positions:,} positions are not judged",
            f"Found: {reasons or 'no reason given'}. Expected: a verdict on every position. One of "
            "them may be liquidatable unseen. Do: `liqctl explain PUBKEY` tells what is missing "
            "for a position, `liqctl scan` counts them.",
            after_ms=limits.coverage_ms_max,
        )


def _fund_low(rule: Rule, look: Look, limits: Thresholds) -> Iterator[Condition]:
    status = look.status
    share = status.fund_share_bps
    if share is not None and share < limits.fund_bps_min:
        yield rule.found(
            status.venue,
            f"{status.venue}: the insurance fund is at {percent(share)} of the collateral",
            f"Found: a balance of {quote(status.fund_balance or 0)} against a collateral of "
            f"{quote(status.collateral_total)}. Expected: at least {percent(limits.fund_bps_min)}. "
            "Losses beyond it are borne by the traders. Do: fund it; "
            "`liqctl insurance` shows how long it lasts.",
        )


def _bad_debt(rule: Rule, look: Look, limits: Thresholds) -> Iterator[Condition]:
    uncovered = look.status.bad_debt_uncovered
    if uncovered is not None and uncovered > limits.uncovered_max:
        yield rule.found(
            look.status.venue,
            f"{look.status.venue}: the insurance fund did not cover {quote(uncovered)} of bad debt",
            f"Found: {quote(uncovered)} uncovered. Expected: at most {quote(limits.uncovered_max)}. "
            "Do: fund the insurance fund and settle the loss; raise alert_max_uncovered "
            "to acknowledge what cannot be made good.",
        )


def _failed_rate(rule: Rule, look: Look, limits: Thresholds) -> Iterator[Condition]:
    failed, ended = look.growth.failed, look.growth.failed + look.growth.landed
    if ended < limits.attempts_min or failed * 10_000 <= limits.failed_bps_max * ended:
        return
    yield rule.found(
        look.status.venue,
        f"{look.status.venue}: {failed} of {ended} liquidations failed",
        f"Found: {percent(failed * 10_000 // ended)} failed within "
        f"{duration(limits.window_ms // 1_000)}; lost races do not count. Expected: at most "
        f"{percent(limits.failed_bps_max)}. Do: `liqctl history --failures` shows them by class.",
    )


def _latency(rule: Rule, look: Look, limits: Thresholds) -> Iterator[Condition]:
    growth = look.growth
    if growth.decisions < limits.attempts_min:
        return
    mean_us = growth.decisions_us // growth.decisions
    if mean_us > limits.latency_ms_max * 1_000:
        yield rule.found(
            look.status.venue,
            f"{look.status.venue}: decisions take {decimal(mean_us, 3)} ms on average",
            f"Found: {growth.decisions} decisions within {duration(limits.window_ms // 1_000)}, "
            f"from the notice of a price to the bytes on the wire. Expected: at most "
            f"{limits.latency_ms_max} ms. Do: see whether the host is short of CPU and how fast "
            "the RPC endpoint answers; a nearer endpoint helps most. In a crash decisions wait for "
            "each other: see max_in_flight.",
        )


def _rpc_errors(rule: Rule, look: Look, limits: Thresholds) -> Iterator[Condition]:
    errors = look.status.rpc_errors_minute
    if errors > limits.rpc_errors_minute_max:
        worst = sorted(look.status.rpc, key=lambda url: -_errors(look.status.rpc[url]))
        yield rule.found(
            look.status.venue,
            f"{look.status.venue}: {errors} RPC calls failed within a minute",
            f"Found: {errors}, most since the start at {worst[0] if worst else 'no endpoint'}. "
            f"Expected: at most {limits.rpc_errors_minute_max}. Do: see whether the endpoint is up "
            "and allows so many calls; add another with --fallback-url.",
        )


def _wallet_low(rule: Rule, look: Look, limits: Thresholds) -> Iterator[Condition]:
    wallet = look.status.wallet
    if wallet is None or wallet.balance_lamports is None:
        return
    if wallet.balance_lamports < limits.balance_lamports_min:
        yield rule.found(
            look.status.venue,
            f"{look.status.venue}: the liquidator has {sol(wallet.balance_lamports)} left",
            f"Found: {sol(wallet.balance_lamports)} at {wallet.address}. Expected: at least "
            f"{sol(limits.balance_lamports_min)}; below {sol(wallet.min_lamports)} nothing is "
            "signed. Do: send it some SOL.",
        )


def _shadow(rule: Rule, look: Look, limits: Thresholds) -> Iterator[Condition]:
    count, last = look.growth.disagreements, look.status.shadow_last
    if count == 0:
        return
    example = ""
    if last is not None:
        example = (
            f", the last about {last.position} at slot {last.slot:,}: ours liquidatable "
            f"{str(last.ours).lower()}, the program's {str(last.theirs).lower()}"
        )
    yield rule.found(
        look.status.venue,
        f"{look.status.venue}: the program disagrees with a verdict",
        f"Found: {count} within {duration(limits.window_ms // 1_000)}{example}. Expected: none. "
        "The program may have been upgraded. Do: stop with `liqctl watch --stop`, look at "
        "`liqctl explain`, and look for a newer liqctl.",
    )


RULES: Mapping[str, Rule] = {
    rule.name: rule
    for rule in (
        Rule(
            name="no_progress",
            severity=CRITICAL,
            when="for 5 s: no complete check or read of all positions for three intervals, or no new slot for 30 s",
            settings=("check_interval_ms",),
            judge=_no_progress,
        ),
        Rule(
            name="database_lost",
            severity=CRITICAL,
            when="no write to the database has worked for 5 s",
            settings=(),
            judge=_database_lost,
        ),
        Rule(
            name="held",
            severity=CRITICAL,
            when="the kill switch is set or the circuit breaker is open",
            settings=(),
            judge=_held,
        ),
        Rule(
            name="wallet_low",
            severity=CRITICAL,
            when="the liquidator has less than 0.1 SOL",
            settings=("alert_min_balance_lamports",),
            judge=_wallet_low,
        ),
        Rule(
            name="shadow_disagreement",
            severity=CRITICAL,
            when="the program's own answer contradicted a verdict",
            settings=("alert_window_s",),
            judge=_shadow,
        ),
        Rule(
            name="bad_debt_uncovered",
            severity=CRITICAL,
            when="the insurance fund did not cover some bad debt",
            settings=("alert_max_uncovered",),
            judge=_bad_debt,
        ),
        Rule(
            name="attempt_stuck",
            severity=WARNING,
            when="an attempt has been neither final nor proven expired for 5 minutes",
            settings=(),
            judge=_attempt_stuck,
        ),
        Rule(
            name="fund_low",
            severity=WARNING,
            when="the insurance fund is below 5 % of the positions' collateral",
            settings=("alert_min_fund_bps",),
            judge=_fund_low,
        ),
        Rule(
            name="price_missing",
            severity=WARNING,
            when="a market had no usable price for 60 s",
            settings=("alert_max_price_gap_s",),
            judge=price_missing,
        ),
        Rule(
            name="price_doubted",
            severity=WARNING,
            when="for 60 s: a market's price jumped or its sources disagree, so sends are held back",
            settings=("alert_max_price_gap_s",),
            judge=price_doubted,
        ),
        Rule(
            name="hermes_down",
            severity=WARNING,
            when="for 60 s: no prices come from Hermes, where it is a source",
            settings=("alert_max_price_gap_s",),
            judge=hermes_down,
        ),
        Rule(
            name="stream_silent",
            severity=WARNING,
            when="for 5 s: a WebSocket stream said nothing for 10 s",
            settings=(),
            judge=_stream_silent,
        ),
        Rule(
            name="coverage_incomplete",
            severity=WARNING,
            when="some position could not be judged for 30 s",
            settings=(),
            judge=_coverage,
        ),
        Rule(
            name="failed_rate",
            severity=WARNING,
            when="more than 5 % of at least 5 liquidations failed within 10 minutes",
            settings=("alert_max_failed_bps", "alert_min_attempts", "alert_window_s"),
            judge=_failed_rate,
        ),
        Rule(
            name="latency_high",
            severity=WARNING,
            when="at least 5 decisions within 10 minutes took more than 100 ms on average",
            settings=("alert_max_latency_ms", "alert_min_attempts", "alert_window_s"),
            judge=_latency,
        ),
        Rule(
            name="rpc_errors",
            severity=WARNING,
            when="more than 10 RPC calls failed within a minute",
            settings=("alert_max_rpc_errors_per_minute",),
            judge=_rpc_errors,
        ),
        Rule(
            name=CHANNEL_RULE,
            severity=WARNING,
            when="a channel failed three times in a row; told by the others",
            settings=(),
        ),
    )
}
OF_THE_CHAIN = frozenset(
    {
        "price_missing",
        "price_doubted",
        "coverage_incomplete",
        "fund_low",
        "bad_debt_uncovered",
        "stream_silent",
    }
)


def _most(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:5]


def _errors(counts: Mapping[str, int]) -> int:
    return sum(count for kind, count in counts.items() if kind not in NO_ERRORS)
