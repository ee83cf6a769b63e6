"""What one keeper tells of itself, as metrics labelled with its venue."""

from liqctl.core.status import MarketStatus, Status
from liqctl.server.families import Families

US_PER_S = 1_000_000
MS_PER_S = 1_000
BPS = 10_000


def tell_keeper(to: Families, status: Status) -> None:
    """Add everything that a keeper's status holds."""
    _tell_watching(to, status)
    _tell_work(to, status)
    _tell_money(to, status)
    _tell_trouble(to, status)
    for market in status.markets:
        _tell_market(to, status.venue, market)


def _tell_watching(to: Families, status: Status) -> None:
    venue, coverage = status.venue, status.coverage
    to.gauge("positions_monitored", "Positions that are watched.", coverage.positions, venue=venue)
    to.gauge(
        "liqctl_positions_evaluated",
        "Positions whose verdict is known.",
        coverage.evaluated,
        venue=venue,
    )
    text = "Positions that could not be judged, by reason."
    for reason, count in sorted(coverage.unknown.items()):
        to.gauge("liqctl_positions_not_evaluated", text, count, venue=venue, reason=reason)
    text = "Positions at most this far from being liquidatable."
    for near in status.near:
        share = str(near.within_bps / BPS)
        to.gauge("liqctl_positions_near", text, near.positions, venue=venue, within_ratio=share)
    text = "What all positions hold together, in 1e-6 quote."
    to.gauge("liqctl_collateral", text, status.collateral_total, venue=venue)
    to.gauge("liqctl_slot", "The latest slot seen.", status.slot, venue=venue)
    text = "Since when the slot has not moved."
    to.gauge("liqctl_slot_age_seconds", text, status.slot_age_ms / MS_PER_S, venue=venue)
    for name, age_ms in (
        ("snapshot", status.snapshot_age_ms),
        ("check", status.check_age_ms),
        ("notice", status.notice_age_ms),
        *((f"stream_{stream}", age) for stream, age in status.streams.items()),
    ):
        text = "Since the last of its kind."
        age_s = None if age_ms is None else age_ms / MS_PER_S
        to.gauge("liqctl_input_age_seconds", text, age_s, venue=venue, input=name)
    if status.hermes is not None:
        text = "Whether prices come from Hermes."
        to.gauge("liqctl_hermes_up", text, int(status.hermes.down is None), venue=venue)


def _tell_work(to: Families, status: Status) -> None:
    venue = status.venue
    for state, count in (
        ("waiting", status.waiting),
        ("in_flight", status.in_flight),
        ("quarantined", status.quarantined),
    ):
        to.gauge("liqctl_queue", "Candidates by state.", count, venue=venue, state=state)
    text = "From the notice of a price to the bytes of the transaction on the wire."
    to.histogram(
        "liquidation_latency_seconds", text, status.decision_us, per_unit=US_PER_S, venue=venue
    )
    text = "From the notice of a price to the first sight of the transaction in a block."
    to.histogram("liqctl_landing_seconds", text, status.landing_ms, per_unit=MS_PER_S, venue=venue)
    text = "From the slot of the decision to that of the transaction."
    to.histogram("liqctl_landing_slots", text, status.landing_slots, venue=venue)
    text = "What one batch of news took to be judged."
    to.histogram(
        "liqctl_batch_seconds", text, status.pulse.batch_us, per_unit=US_PER_S, venue=venue
    )
    to.counter("liqctl_launched", "Attempts that were sent.", status.attempts, venue=venue)
    to.counter("liqctl_expired", "Attempts that never landed.", status.expired, venue=venue)
    text = "Decisions that were not sent, by reason."
    for reason, count in sorted(status.refused.items()):
        to.counter("liqctl_refused", text, count, venue=venue, reason=reason)
    text = "Verdicts that the program itself was asked about."
    for outcome, count in (
        ("checked", status.shadow_checked),
        ("disagreement", status.shadow_disagreements),
        ("incomparable", status.shadow_incomparable),
    ):
        to.counter("liqctl_shadow", text, count, venue=venue, outcome=outcome)


def _tell_money(to: Families, status: Status) -> None:
    venue = status.venue
    text = "The insurance fund, in 1e-6 quote."
    to.gauge("insurance_fund_balance", text, status.fund_balance, venue=venue)
    text = "Bad debt that the fund could not pay, in 1e-6 quote."
    to.gauge("liqctl_bad_debt_uncovered", text, status.bad_debt_uncovered, venue=venue)
    if status.wallet is not None:
        wallet = status.wallet
        text = "What the liquidator has."
        to.gauge("liqctl_wallet_lamports", text, wallet.balance_lamports, venue=venue)
        text = "Below this nothing is signed."
        to.gauge("liqctl_wallet_lamports_min", text, wallet.min_lamports, venue=venue)
    spent = status.spent
    for window, lamports, most in (
        ("hour", spent.hour_lamports, spent.hour_lamports_max),
        ("day", spent.day_lamports, spent.day_lamports_max),
    ):
        text = "Fees and rent, paid or at most still due."
        to.gauge("liqctl_spent_lamports", text, lamports, venue=venue, window=window)
        text = "What may be spent."
        to.gauge("liqctl_spent_lamports_max", text, most, venue=venue, window=window)


def _tell_trouble(to: Families, status: Status) -> None:
    venue = status.venue
    text = "Whether nothing is signed: the kill switch, a cap or the breaker."
    to.gauge("liqctl_held", text, int(status.held is not None), venue=venue)
    text = "Calls to the nodes by how they ended."
    for endpoint, counts in sorted(status.rpc.items()):
        for kind, count in sorted(counts.items()):
            labels = {"venue": venue, "endpoint": endpoint, "kind": kind}
            to.counter("liqctl_rpc_calls", text, count, **labels)
    to.counter("liqctl_rpc_errors", "Calls that failed.", status.rpc_errors, venue=venue)
    text = "Times that the database failed."
    to.counter("liqctl_store_errors", text, status.store_errors, venue=venue)
    text = "Events that could not be kept until the database worked again."
    to.counter("liqctl_events_dropped", text, status.events_dropped, venue=venue)
    text = "The longest that the keeper's loop was held up of late."
    lag_s = status.pulse.loop_lag_us_max / US_PER_S
    to.gauge("liqctl_loop_lag_seconds_max", text, lag_s, venue=venue)
    text = "The most news that waited of late."
    to.gauge("liqctl_mailbox_depth_max", text, status.pulse.mailbox_depth_max, venue=venue)
    text = "How long the keeper has been running."
    to.gauge("liqctl_uptime_seconds", text, status.uptime_ms / MS_PER_S, venue=venue)


def _tell_market(to: Families, venue: str, market: MarketStatus) -> None:
    labels = {"venue": venue, "symbol": market.symbol}
    to.gauge("liqctl_price", "What verdicts use, in 1e-6 quote.", market.price_e6, **labels)
    text = "Whether the price is refused, or sends on it are held back."
    refused = market.refusal is not None or market.doubt is not None
    to.gauge("liqctl_price_unusable", text, int(refused), **labels)
    text = "1 while the price is known and sends on it are held back, by reason."
    doubt = market.doubt if market.price_e6 is not None else None
    is_doubted = None if doubt is None else 1
    to.gauge("liqctl_price_doubted", text, is_doubted, **labels, reason=doubt or "")
    for source, age_s, confidence in (
        (market.source or "none", market.age_s, market.confidence_bps),
        *((s.source, s.age_s, s.confidence_bps) for s in market.sources[1:]),
    ):
        each = {**labels, "source": source}
        to.gauge("liqctl_oracle_age_seconds", "Age of a published price.", age_s, **each)
        share = None if confidence is None else confidence / BPS
        text = "Confidence of a published price as a share of it."
        to.gauge("liqctl_oracle_confidence_ratio", text, share, **each)
