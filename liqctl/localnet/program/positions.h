/* Instructions of the owner of a position: open, add collateral, close. */
#pragma once
#include "plan.h"
#include "price.h"
#include "tokens.h"

static u64 *open_interest(Market *market, i64 size) {
    return size > 0 ? &market->open_interest_long : &market->open_interest_short;
}

/* May a position with this size, collateral and leverage exist at its entry price? */
static Error check_new_position(const Market *market, const Position *position) {
    Valuation value;
    u64 bps, initial, margin;
    TRY(maintenance_bps(market, position->leverage, &bps));
    TRY(value_position(position, position->entry_price, &value));
    REQUIRE(value.notional >= market->min_position_notional, ErrorNotionalTooSmall);
    /* Initial margin, rounded up: against the owner. */
    TRY(mul_div_ceil(value.notional, 1, position->leverage, &initial));
    REQUIRE(position->collateral >= initial, ErrorInsufficientCollateral);
    TRY(margin_of(value.notional, bps, &margin));
    REQUIRE(!is_below(value.equity, margin), ErrorPositionLiquidatable);
    return 0;
}

static Error read_new_position(const Call *call, const Market *market, Position *position) {
    Clock clock;
    TRY(sol_get_clock_sysvar(&clock));
    *position = (Position){
        .discriminator = ACCOUNT_POSITION,
        .owner = *call->accounts[OPEN_POSITION_OWNER].key,
        .market = *call->accounts[OPEN_POSITION_MARKET].key,
        .id = ARG(u64, call, OPEN_POSITION_ARG_ID),
        .size = ARG(i64, call, OPEN_POSITION_ARG_SIZE),
        .collateral = ARG(u64, call, OPEN_POSITION_ARG_COLLATERAL),
        .leverage = ARG(u16, call, OPEN_POSITION_ARG_LEVERAGE),
        .opened_at = clock.unix_timestamp,
        .opened_slot = clock.slot,
        .updated_slot = clock.slot,
    };
    REQUIRE(position->size != 0 && magnitude(position->size) <= I64_MAX, ErrorInvalidAmount);
    REQUIRE(position->leverage != 0, ErrorInvalidAmount);
    TRY(read_price(&call->accounts[OPEN_POSITION_PRICE_ACCOUNT], market, &clock, &position->entry_price));
    return check_new_position(market, position);
}

static Error open_position(Call *call) {
    const Account *owner = &call->accounts[OPEN_POSITION_OWNER];
    const Account *owner_token = &call->accounts[OPEN_POSITION_OWNER_TOKEN];
    const Account *vault = &call->accounts[OPEN_POSITION_VAULT];
    Account *account = &call->accounts[OPEN_POSITION_POSITION];
    InsuranceFund *fund;
    Market *market;
    Position position;
    TRY(load_fund(call, &call->accounts[OPEN_POSITION_INSURANCE_FUND], &fund));
    REQUIRE(same_key(vault->key, &fund->vault), ErrorWrongVault);
    TRY(load_market(call, &call->accounts[OPEN_POSITION_MARKET], &market));
    REQUIRE(!market->paused, ErrorMarketPaused);
    TRY(check_token_account(owner_token, owner->key, fund, ErrorOwnerTokenMismatch));
    TRY(read_new_position(call, market, &position));
    Position *p = &position;
    Slice seeds[] = {{"position", 8}, {&p->owner, 32}, {&p->market, 32}, {&p->id, 8}, {&p->bump, 1}};
    NewAccount new_position = {owner, account, POSITION_SIZE, call->program_id, seeds, 5, &p->bump};
    TRY(create_account(call, &new_position));
    *(Position *)account->data = position;
    TRY(add(open_interest(market, position.size), magnitude(position.size)));
    TRY(add(&market->position_count, 1));
    return transfer(owner_token, vault, owner, position.collateral, 0);
}

static Error add_collateral(Call *call) {
    const Account *owner = &call->accounts[ADD_COLLATERAL_OWNER];
    const Account *owner_token = &call->accounts[ADD_COLLATERAL_OWNER_TOKEN];
    const Account *vault = &call->accounts[ADD_COLLATERAL_VAULT];
    u64 amount = ARG(u64, call, ADD_COLLATERAL_ARG_AMOUNT);
    InsuranceFund *fund;
    Position *position;
    Clock clock;
    TRY(load_fund(call, &call->accounts[ADD_COLLATERAL_INSURANCE_FUND], &fund));
    REQUIRE(same_key(vault->key, &fund->vault), ErrorWrongVault);
    TRY(load_position(call, &call->accounts[ADD_COLLATERAL_POSITION], &position));
    REQUIRE(same_key(owner->key, &position->owner), ErrorWrongPositionOwner);
    REQUIRE(amount > 0, ErrorInvalidAmount);
    TRY(check_token_account(owner_token, owner->key, fund, ErrorOwnerTokenMismatch));
    TRY(add(&position->collateral, amount));
    REQUIRE(position->collateral <= I64_MAX, ErrorMathOverflow);
    TRY(sol_get_clock_sysvar(&clock));
    position->updated_slot = clock.slot;
    return transfer(owner_token, vault, owner, amount, 0);
}

/* What the owner gets; pool and fund have paid or received the PnL. */
static Error settle_close(const Call *call, Market *market, const Position *position, InsuranceFund *fund, u64 *payout) {
    Clock clock;
    Valuation value;
    u64 price, bps, margin;
    TRY(sol_get_clock_sysvar(&clock));
    TRY(read_price(&call->accounts[CLOSE_POSITION_PRICE_ACCOUNT], market, &clock, &price));
    TRY(maintenance_bps(market, position->leverage, &bps));
    TRY(value_position(position, price, &value));
    TRY(margin_of(value.notional, bps, &margin));
    REQUIRE(!is_below(value.equity, margin), ErrorPositionLiquidatable);
    *payout = (u64)value.equity;
    if (value.pnl > 0) return pay_profit((u64)value.pnl, &market->profit_pool, &fund->balance);
    return add(&market->profit_pool, magnitude(value.pnl));
}

/* A position leaves its market. */
static Error leave_market(Market *market, i64 size) {
    TRY(subtract(open_interest(market, size), magnitude(size)));
    return subtract(&market->position_count, 1);
}

static Error close_position(Call *call) {
    const Account *owner = &call->accounts[CLOSE_POSITION_OWNER];
    const Account *owner_token = &call->accounts[CLOSE_POSITION_OWNER_TOKEN];
    const Account *vault = &call->accounts[CLOSE_POSITION_VAULT];
    const Account *fund_account = &call->accounts[CLOSE_POSITION_INSURANCE_FUND];
    Account *account = &call->accounts[CLOSE_POSITION_POSITION];
    InsuranceFund *fund;
    Position *position;
    Market *market;
    u64 payout;
    TRY(load_fund(call, fund_account, &fund));
    REQUIRE(same_key(vault->key, &fund->vault), ErrorWrongVault);
    TRY(load_position(call, account, &position));
    REQUIRE(same_key(owner->key, &position->owner), ErrorWrongPositionOwner);
    TRY(load_position_market(call, &call->accounts[CLOSE_POSITION_MARKET], position, &market));
    TRY(check_token_account(owner_token, owner->key, fund, ErrorOwnerTokenMismatch));
    TRY(settle_close(call, market, position, fund, &payout));
    TRY(leave_market(market, position->size));
    TRY(withdraw(vault, owner_token, fund_account, payout));
    return close_account(account, owner);
}
