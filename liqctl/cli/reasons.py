"""Words that the keeper gives as reasons, told to a person who wants to know what to do."""

from liqctl.core.record import DROPPED

ADVICE = {
    "excluded": "somebody set it aside; `liqctl queue include PUBKEY` takes it back",
    "price_missing": "the market's price account does not exist; ask whoever publishes it",
    "price_wrong_owner": "the market's price account belongs to another program than the market expects",
    "price_wrong_type": "the market's price account holds no price",
    "price_not_fully_verified": "the price was posted with too few signatures; wait for the next one",
    "price_wrong_feed": "the price account carries another feed than the market expects",
    "price_not_positive": "the published price is zero or negative; ask whoever publishes it",
    "price_bad_exponent": "the exponent of the published price is absurd; ask whoever publishes it",
    "price_stale": "the price is older than the market allows; wait until it is published again",
    "price_too_wide": "the price is less certain than the market allows; wait until it settles",
    "price_too_small": "the published price is too small to count with; ask whoever publishes it",
    "price_too_large": "the published price is too large to count with; ask whoever publishes it",
    "price_from_future": "the price is ahead of the cluster's clock; try again in a moment",
    "price_older_than_own_limit": "the price is older than price_max_age_s",
    "price_wider_than_own_limit": "the price is less certain than price_max_confidence_bps",
    "price_sources_disagree": "the sources of the price are further apart than price_band_bps, and "
    "it is not liquidatable at each of them",
    "price_sources_too_few": "fewer sources have a price than price_sources_min of the market asks",
    "healthy_within_confidence": "it is healthy at the end of the price's confidence that is best for "
    "its owner; see price_confidence_multiple_permille",
    "healthy_at_preferred_price": "it is healthy at the price of the source that the market prefers",
    "verdict_unknown": "there is no verdict at the price that it must be liquidatable at too",
    "price_jumped": "the price moved by more than price_max_jump_bps at once; a second one must agree",
    "market_missing": "the program has no market at the address that the position names",
    "market_unreadable": "its market cannot be read; `liqctl scan` shows how many are affected",
    "market_paused": "the market is paused; the program liquidates nothing in it now",
    "keeper_only": "the program takes liquidations from its own keepers alone",
    "estimate_only": "the program's arithmetic is not public; health is our estimate",
    "market_denied": "the market is in markets_deny",
    "market_not_allowed": "the market is not in markets_allow",
    "collateral_missing": "the program has no custody at the address of the position's collateral",
    "collateral_unreadable": "the custody of its collateral cannot be read; is there a newer liqctl",
    "collateral_virtual": "the custody of its collateral holds no tokens; the program pays nothing",
    "oracle_unsupported": "the custody has no oracle; the program judges nothing in it",
    "pool_missing": "the program has no pool at the address that the custody names",
    "pool_unreadable": "its pool cannot be read; is there a newer liqctl",
    "other_pool": "its custody belongs to another pool than the position",
    "overflow": "the program's arithmetic overflows on it, so that the program fails",
    "pool_cannot_pay": "the pool holds less than the position is owed",
    "settings_missing": "the program's own account is missing; is it set up on this cluster",
    "leverage_too_high": "the market has no maintenance margin for the position's leverage",
    "fund_missing": "the program has no insurance fund yet; `liqctl insurance` shows when it has",
    "profit_pool_empty": "the market's profit pool cannot pay this position out",
    "reward_below_floor": "the reward is below min_reward",
    "reward_below_cost": "the reward is below what it costs, as profit_floor_permille has it",
    "rent_below_cost": "the program pays no fee to the liquidator, only the rent of the closed "
    "position, which is below what it costs, as profit_floor_permille has it",
    "view_disagrees": "our estimate says liquidatable, the program's own view does not",
    "view_silent": "our verdict is an estimate, and the program's own view gave no answer",
    "sol_price_unknown": "no market tells the price of SOL; set sol_price_usd, or "
    "profit_floor_permille to 0",
    "balance_too_low": "the liquidator would keep less SOL than min_balance_lamports; send it some",
    "cost_over_transaction_cap": "it may cost more than max_fee_lamports allows",
    "cost_over_hour_cap": "this hour's spending has reached spend_hour_lamports",
    "cost_over_day_cap": "this day's spending has reached spend_day_lamports",
    "attempts_spent": "it has failed as often as max_retries allows",
    "held_by_another": "another keeper on this database works on it; `liqctl queue` shows it",
    "claim_lost": "another keeper on this database took it over; `liqctl queue` shows it",
    "kill_switch_row": "the kill switch is set; `liqctl watch --resume` lifts it",
    "kill_switch_file": "a file STOP lies beside the database; remove it to go on",
    "kill_switch_unreadable": "nobody can tell whether a file STOP lies beside the database; make "
    "its directory readable",
    "kill_switch_signal": "the kill switch is set; `liqctl watch --resume` lifts it",
    "setup:InsufficientFundsForFee": "the liquidator cannot pay the fee; send it some SOL",
    "setup:AccountNotFound": "the liquidator has no account on this cluster; send it some SOL",
    "breaker_failures": "transactions failed in a row; it goes on by itself after a while",
    "breaker_unprofitable": "rewards were below their cost in a row; it goes on after a while",
    "breaker_crowd": "most positions turned liquidatable at once; it goes on after a while",
    "breaker_paused": "the program says it is paused; it goes on by itself after a while",
    "breaker_unknown_error": "the program failed in a way that is not known; look at the log, then "
    "`liqctl watch --resume`",
    "breaker_program_changed": "the program's accounts are not as expected; is there a newer "
    "liqctl; `liqctl watch --resume` goes on",
    "expired": "the cluster did not take the transaction in time; it can be tried again",
}


def explained(reason: str) -> str:
    """Return a reason with what it means, where there is more to say than the word itself.

    >>> explained("market_paused")
    'market_paused: the market is paused; the program liquidates nothing in it now'
    """
    excluded = reason.partition(":")[0] in {DROPPED, "excluded"}
    advice = ADVICE.get("excluded" if excluded else reason)
    return reason if advice is None else f"{reason}: {advice}"


def only_rent(returns_lamports: int) -> str:
    """Return what a program pays that has no reward in tokens.

    >>> only_rent(2_895_360)
    'pays no fee to the liquidator, only the rent of 2,895,360 lamports'
    """
    return f"pays no fee to the liquidator, only the rent of {returns_lamports:,} lamports"
