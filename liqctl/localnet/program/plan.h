/* The arithmetic of a liquidation: numbers in, a plan or an error out. No account is touched here. */
#pragma once
#include "math.h"
#include "runtime.h"

#define BASE_UNITS 1000000000ull
#define SIZING_ROUNDS_MAX 64

typedef struct Valuation {
    u64 notional;
    i64 pnl;
    i64 equity;
} Valuation;

typedef struct Request {
    const Market *market;
    const Position *position;
    u64 fund_balance;
    u64 price;
    u64 max_size;
} Request;

typedef struct Plan {
    u8 liquidatable;
    u8 is_full;
    u8 is_cut; /* `max_size` left more of the position than the arithmetic asked for. */
    i64 equity;
    u64 maintenance_margin;
    u64 closed_size;
    u64 remaining_size;
    i64 realized_pnl;
    u64 fee;
    u64 reward;
    u64 owner_payout;
    u64 collateral;
    u64 bad_debt_covered;
    u64 bad_debt_uncovered;
    u64 profit_pool;
    u64 fund_balance;
    i64 fund_delta;
} Plan;

/* What the sizing needs; grouped because a BPF function takes five arguments at most. */
typedef struct Sizing {
    const Market *market;
    u64 size;
    u64 price;
    u64 notional;
    u64 equity;
    u64 maintenance_bps;
    u64 maintenance_margin;
} Sizing;

static Error maintenance_bps(const Market *market, u64 leverage, u64 *bps) {
    for (u64 i = 0; i < sizeof market->tiers / sizeof *market->tiers; i++) {
        const MaintenanceTier *tier = &market->tiers[i];
        if (tier->max_leverage != 0 && leverage <= tier->max_leverage) {
            *bps = tier->maintenance_bps;
            return 0;
        }
    }
    return ErrorLeverageTooHigh;
}

/* Notional, rounded down by less than one money unit. */
static Error notional_of(u64 size, u64 price, u64 *notional) {
    return mul_div_floor(size, price, BASE_UNITS, notional);
}

/* Two floors err by less than one unit each, so the PnL errs by less than one unit to either side. */
static Error pnl_of(const Position *position, u64 size, u64 price, i64 *pnl) {
    u64 value, entry;
    TRY(notional_of(size, price, &value));
    TRY(notional_of(size, position->entry_price, &entry));
    return position->size > 0 ? difference(value, entry, pnl) : difference(entry, value, pnl);
}

static Error value_position(const Position *position, u64 price, Valuation *valuation) {
    u64 size = magnitude(position->size);
    REQUIRE(position->collateral <= I64_MAX, ErrorMathOverflow);
    TRY(notional_of(size, price, &valuation->notional));
    TRY(pnl_of(position, size, price, &valuation->pnl));
    return add_signed((i64)position->collateral, valuation->pnl, &valuation->equity);
}

/* Maintenance margin, rounded up: against the owner, by less than one unit. */
static Error margin_of(u64 notional, u64 bps, u64 *margin) {
    return mul_div_ceil(notional, bps, BPS, margin);
}

/* equity < margin, where a negative equity is below every margin. */
static int is_below(i64 equity, u64 margin) {
    return equity < 0 || (u64)equity < margin;
}

/* Fee, rounded up: against the owner, in favour of fund and liquidator. */
static Error fee_of(const Market *market, u64 closed_notional, u64 *fee) {
    return mul_div_ceil(closed_notional, market->liquidation_fee_bps, BPS, fee);
}

/* Would a position of this notional and margin, after the fee, have the target health? */
static Error reaches_target(const Sizing *sizing, u64 notional, u64 margin, int *reaches) {
    u64 fee;
    TRY(fee_of(sizing->market, sizing->notional - notional, &fee));
    *reaches = fee <= sizing->equity &&
               !product_less(sizing->equity - fee, BPS, sizing->market->target_health_bps, margin);
    return 0;
}

/* The largest margin that may remain. One more unit of margin saves at most one unit of fee (a rule of
   initialize_market), so that the condition changes once and a binary search finds where. */
static Error largest_margin(const Sizing *sizing, u64 *margin, int *found) {
    u64 low = 0, high = sizing->maintenance_margin - 1;
    TRY(reaches_target(sizing, 0, 0, found));
    if (!*found) return 0;
    while (low < high) {
        u64 middle = low + (high - low + 1) / 2, notional;
        int reaches;
        TRY(mul_div_floor(middle, BPS, sizing->maintenance_bps, &notional));
        TRY(reaches_target(sizing, notional, middle, &reaches));
        if (reaches) low = middle;
        else high = middle - 1;
    }
    *margin = low;
    return 0;
}

/* The largest size whose notional is at most `notional`: floor(((notional + 1) * 1e9 - 1) / price). It is below
   the size of the position whenever `notional` is below the position's. */
static Error largest_size(const Sizing *sizing, u64 notional, u64 *size) {
    u64 high, rest;
    REQUIRE(notional != U64_MAX, ErrorMathOverflow);
    u64 low = multiply_wide(notional + 1, BASE_UNITS, &high);
    high -= low == 0;
    return divide_wide(high, low - 1, sizing->price, size, &rest);
}

/* The largest size that may remain at the target health, exact to the unit; not found means close in full. */
static Error remaining_at_target(const Sizing *sizing, u64 *remaining, int *found) {
    u64 margin;
    TRY(largest_margin(sizing, &margin, found));
    if (!*found) return 0;
    for (u64 round = 0; round < SIZING_ROUNDS_MAX; round++) {
        u64 notional;
        TRY(mul_div_floor(margin, BPS, sizing->maintenance_bps, &notional));
        TRY(largest_size(sizing, notional, remaining));
        TRY(notional_of(*remaining, sizing->price, &notional));
        TRY(margin_of(notional, sizing->maintenance_bps, &margin));
        TRY(reaches_target(sizing, notional, margin, found));
        if (*found || margin == 0) return 0;
        margin--;
    }
    *found = 0;
    return 0;
}

/* Fill in what closing a part means, or leave the plan a full one. */
static Error plan_partial(const Sizing *sizing, const Position *position, i64 pnl, u64 max_size, Plan *plan) {
    u64 remaining, notional, fee;
    i64 remaining_pnl, realized, collateral;
    int found;
    TRY(remaining_at_target(sizing, &remaining, &found));
    if (!found) return 0;
    u64 wanted = sizing->size - remaining, closed = minimum(wanted, max_size);
    u8 is_cut = closed < wanted;
    REQUIRE(closed > 0, ErrorInvalidAmount);
    remaining = sizing->size - closed;
    TRY(notional_of(remaining, sizing->price, &notional));
    if (remaining == 0 || notional < sizing->market->min_position_notional) return 0;
    TRY(pnl_of(position, remaining, sizing->price, &remaining_pnl));
    TRY(subtract_signed(pnl, remaining_pnl, &realized));
    TRY(fee_of(sizing->market, sizing->notional - notional, &fee));
    TRY(add_signed((i64)position->collateral, realized, &collateral));
    if (is_below(collateral, fee)) return 0;
    plan->is_full = 0;
    plan->is_cut = is_cut;
    plan->closed_size = closed;
    plan->remaining_size = remaining;
    plan->realized_pnl = realized;
    plan->fee = minimum(fee, sizing->equity);
    plan->collateral = (u64)collateral - plan->fee;
    return 0;
}

/* A bankrupt stub must never be left behind: the whole position or nothing. */
static Error plan_full(const Sizing *sizing, i64 pnl, u64 max_size, Plan *plan) {
    u64 fee, equity = plan->equity > 0 ? (u64)plan->equity : 0;
    REQUIRE(max_size >= sizing->size, ErrorMaxSizeTooSmall);
    TRY(fee_of(sizing->market, sizing->notional, &fee));
    plan->closed_size = sizing->size;
    plan->realized_pnl = pnl;
    plan->fee = minimum(fee, equity);
    plan->owner_payout = equity - plan->fee;
    return 0;
}

/* A realized profit comes out of the pool, then out of the fund. */
static Error pay_profit(u64 profit, u64 *profit_pool, u64 *fund_balance) {
    u64 from_pool = minimum(profit, *profit_pool);
    *profit_pool -= from_pool;
    REQUIRE(profit - from_pool <= *fund_balance, ErrorProfitPoolEmpty);
    *fund_balance -= profit - from_pool;
    return 0;
}

/* Distribute fee, realized PnL, top-up and bad debt, in this order. */
static Error settle(const Market *market, const Position *position, Plan *plan) {
    u64 *fund = &plan->fund_balance, *pool = &plan->profit_pool;
    /* The liquidator's share is rounded down: in favour of the fund. */
    u64 fund_share = plan->fee;
    TRY(mul_div_floor(plan->fee, market->liquidator_share_bps, BPS, &plan->reward));
    TRY(subtract(&fund_share, plan->reward));
    TRY(add(fund, fund_share));
    if (plan->realized_pnl > 0) TRY(pay_profit((u64)plan->realized_pnl, pool, fund));
    /* Not for a part of a part: many small calls would draw the top-up many times. */
    if (plan->reward < market->min_reward && !plan->is_cut) {
        u64 top_up = minimum(market->min_reward - plan->reward, *fund);
        plan->reward += top_up;
        *fund -= top_up;
    }
    if (plan->is_full && plan->equity < 0) {
        u64 bad_debt = magnitude(plan->equity);
        plan->bad_debt_covered = minimum(bad_debt, *fund);
        plan->bad_debt_uncovered = bad_debt - plan->bad_debt_covered;
        *fund -= plan->bad_debt_covered;
        TRY(add(pool, position->collateral));
        return add(pool, plan->bad_debt_covered);
    }
    return plan->realized_pnl < 0 ? add(pool, magnitude(plan->realized_pnl)) : 0;
}

/* Equity below a tenth of the maintenance margin is too little to nurse a part. */
static int must_close_in_full(i64 equity, u64 margin) {
    return equity < 0 || product_less((u64)equity, 10, margin, 1);
}

/* Everything that `liquidate` will do and `assess` reports. A healthy position is no error here. */
static Error plan_liquidation(const Request *request, Plan *plan) {
    const Market *market = request->market;
    const Position *position = request->position;
    Sizing sizing = {.market = market, .size = magnitude(position->size), .price = request->price};
    Valuation value;
    *plan = (Plan){.fund_balance = request->fund_balance, .profit_pool = market->profit_pool};
    TRY(maintenance_bps(market, position->leverage, &sizing.maintenance_bps));
    TRY(value_position(position, request->price, &value));
    TRY(margin_of(value.notional, sizing.maintenance_bps, &sizing.maintenance_margin));
    plan->equity = value.equity;
    plan->maintenance_margin = sizing.maintenance_margin;
    plan->liquidatable = is_below(value.equity, sizing.maintenance_margin);
    if (!plan->liquidatable) return 0;
    sizing.notional = value.notional;
    plan->is_full = 1;
    if (!must_close_in_full(value.equity, sizing.maintenance_margin)) {
        sizing.equity = (u64)value.equity;
        TRY(plan_partial(&sizing, position, value.pnl, request->max_size, plan));
    }
    if (plan->is_full) TRY(plan_full(&sizing, value.pnl, request->max_size, plan));
    TRY(settle(market, position, plan));
    return difference(plan->fund_balance, request->fund_balance, &plan->fund_delta);
}
