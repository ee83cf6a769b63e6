/* Instructions `liquidate` and `assess`: one plan, carried out by the first and reported by the second. */
#pragma once
#include "positions.h"

typedef struct Liquidation {
    InsuranceFund *fund;
    Market *market;
    Position *position;
    Clock clock;
    u64 price;
    Plan plan;
} Liquidation;

/* The accounts of both instructions, without those that only moving tokens needs. */
typedef struct Subject {
    const Account *fund;
    const Account *market;
    const Account *position;
    const Account *price;
    u64 max_size;
} Subject;

static Error load_subject(const Call *call, const Subject *subject, Liquidation *liquidation) {
    /* The position comes first: that it is gone is how a keeper learns of a lost race. */
    TRY(load_position(call, subject->position, &liquidation->position));
    TRY(load_position_market(call, subject->market, liquidation->position, &liquidation->market));
    TRY(load_fund(call, subject->fund, &liquidation->fund));
    REQUIRE(!liquidation->market->paused, ErrorMarketPaused);
    return 0;
}

static Error make_plan(const Subject *subject, Liquidation *liquidation) {
    TRY(sol_get_clock_sysvar(&liquidation->clock));
    TRY(read_price(subject->price, liquidation->market, &liquidation->clock, &liquidation->price));
    Request request = {
        .market = liquidation->market,
        .position = liquidation->position,
        .fund_balance = liquidation->fund->balance,
        .price = liquidation->price,
        .max_size = subject->max_size,
    };
    return plan_liquidation(&request, &liquidation->plan);
}

static void log_event(const Call *call, const Liquidation *liquidation) {
    const Plan *plan = &liquidation->plan;
    LiquidationEvent event = {
        .discriminator = EVENT_LIQUIDATION_EVENT,
        .position = *call->accounts[LIQUIDATE_POSITION].key,
        .owner = liquidation->position->owner,
        .market = liquidation->position->market,
        .liquidator = *call->accounts[LIQUIDATE_LIQUIDATOR].key,
        .price = liquidation->price,
        .closed_size = plan->closed_size,
        .remaining_size = plan->remaining_size,
        .reward = plan->reward,
        .fund_delta = plan->fund_delta,
        .bad_debt_covered = plan->bad_debt_covered,
        .bad_debt_uncovered = plan->bad_debt_uncovered,
        .owner_payout = plan->owner_payout,
        .equity = plan->equity,
        .maintenance_margin = plan->maintenance_margin,
        .slot = liquidation->clock.slot,
        .is_full = plan->is_full,
    };
    Slice slice = {&event, LIQUIDATION_EVENT_SIZE};
    sol_log_data(&slice, 1);
}

static Error record_in_fund(InsuranceFund *fund, const Plan *plan) {
    fund->balance = plan->fund_balance;
    TRY(add(&fund->bad_debt_covered, plan->bad_debt_covered));
    TRY(add(&fund->bad_debt_uncovered, plan->bad_debt_uncovered));
    return add(&fund->liquidation_count, 1);
}

static Error shrink_position(Position *position, Market *market, const Plan *plan, u64 slot) {
    TRY(subtract(open_interest(market, position->size), plan->closed_size));
    TRY(add_signed(position->realized_pnl, plan->realized_pnl, &position->realized_pnl));
    position->size = position->size > 0 ? (i64)plan->remaining_size : -(i64)plan->remaining_size;
    position->collateral = plan->collateral;
    position->updated_slot = slot;
    return 0;
}

static Error liquidate(Call *call) {
    Account *account = &call->accounts[LIQUIDATE_POSITION];
    const Account *fund_account = &call->accounts[LIQUIDATE_INSURANCE_FUND];
    const Account *vault = &call->accounts[LIQUIDATE_VAULT];
    const Account *liquidator = &call->accounts[LIQUIDATE_LIQUIDATOR];
    const Account *liquidator_token = &call->accounts[LIQUIDATE_LIQUIDATOR_TOKEN];
    const Account *owner_token = &call->accounts[LIQUIDATE_OWNER_TOKEN];
    Subject subject = {
        .fund = fund_account,
        .market = &call->accounts[LIQUIDATE_MARKET],
        .position = account,
        .price = &call->accounts[LIQUIDATE_PRICE_ACCOUNT],
        .max_size = ARG(u64, call, LIQUIDATE_ARG_MAX_SIZE),
    };
    Liquidation liquidation;
    const Plan *plan = &liquidation.plan;
    TRY(load_subject(call, &subject, &liquidation));
    InsuranceFund *fund = liquidation.fund;
    Market *market = liquidation.market;
    Position *position = liquidation.position;
    REQUIRE(same_key(vault->key, &fund->vault), ErrorWrongVault);
    TRY(check_token_account(liquidator_token, liquidator->key, fund, ErrorLiquidatorTokenMismatch));
    TRY(check_token_account(owner_token, &position->owner, fund, ErrorOwnerTokenMismatch));
    TRY(make_plan(&subject, &liquidation));
    REQUIRE(plan->liquidatable, ErrorPositionHealthy);
    log_event(call, &liquidation);
    market->profit_pool = plan->profit_pool;
    TRY(record_in_fund(fund, plan));
    if (plan->is_full) TRY(leave_market(market, position->size));
    else TRY(shrink_position(position, market, plan, liquidation.clock.slot));
    TRY(withdraw(vault, liquidator_token, fund_account, plan->reward));
    TRY(withdraw(vault, owner_token, fund_account, plan->owner_payout));
    return plan->is_full ? close_account(account, liquidator) : 0;
}

static Error assess(Call *call) {
    Subject subject = {
        .fund = &call->accounts[ASSESS_INSURANCE_FUND],
        .market = &call->accounts[ASSESS_MARKET],
        .position = &call->accounts[ASSESS_POSITION],
        .price = &call->accounts[ASSESS_PRICE_ACCOUNT],
        .max_size = ARG(u64, call, ASSESS_ARG_MAX_SIZE),
    };
    Liquidation liquidation;
    const Plan *plan = &liquidation.plan;
    TRY(load_subject(call, &subject, &liquidation));
    TRY(make_plan(&subject, &liquidation));
    Assessment assessment = {
        .liquidatable = plan->liquidatable,
        .is_full = plan->is_full,
        .equity = plan->equity,
        .maintenance_margin = plan->maintenance_margin,
        .allowed_size = plan->closed_size,
        .reward = plan->reward,
        .bad_debt = plan->bad_debt_covered + plan->bad_debt_uncovered,
        .fund_delta = plan->fund_delta,
    };
    sol_set_return_data(&assessment, ASSESSMENT_SIZE);
    return 0;
}
