/* Instructions of the authority, and gifts to the fund. */
#pragma once
#include "tokens.h"

#define PRICE_AGE_MAX_S 86400
#define MAINTENANCE_BPS_MAX 5000
#define TIERS (sizeof ((Market *)0)->tiers / sizeof (MaintenanceTier))

static Error initialize_insurance_fund(Call *call) {
    Account *fund_account = &call->accounts[INITIALIZE_INSURANCE_FUND_INSURANCE_FUND];
    Account *vault = &call->accounts[INITIALIZE_INSURANCE_FUND_VAULT];
    const Account *authority = &call->accounts[INITIALIZE_INSURANCE_FUND_AUTHORITY];
    const Account *mint = &call->accounts[INITIALIZE_INSURANCE_FUND_MINT];
    u8 fund_bump, vault_bump;
    Slice fund_seeds[] = {{"insurance_fund", 14}, {&fund_bump, 1}};
    Slice vault_seeds[] = {{"vault", 5}, {&vault_bump, 1}};
    NewAccount new_fund = {authority, fund_account, INSURANCE_FUND_SIZE, call->program_id, fund_seeds, 2, &fund_bump};
    NewAccount new_vault = {authority, vault, TOKEN_ACCOUNT_SIZE, &TOKEN_PROGRAM_ID, vault_seeds, 2, &vault_bump};
    TRY(check_mint(mint));
    TRY(create_account(call, &new_fund));
    TRY(create_account(call, &new_vault));
    TRY(initialize_token_account(vault, mint, fund_account->key));
    InsuranceFund *fund = (InsuranceFund *)fund_account->data;
    fund->discriminator = ACCOUNT_INSURANCE_FUND;
    fund->authority = *authority->key;
    fund->mint = *mint->key;
    fund->vault = *vault->key;
    fund->bump = fund_bump;
    fund->vault_bump = vault_bump;
    return 0;
}

/* Fee f and maintenance m with f*(1 + m) <= m, as ratios: closing a part always improves the health, and one
   unit of margin less costs at most one unit of fee, which the sizing of `liquidate` relies on. */
static int tier_is_sound(const MaintenanceTier *tier, u64 fee_bps) {
    u64 m = tier->maintenance_bps;
    return m >= 1 && m <= MAINTENANCE_BPS_MAX && m * tier->max_leverage <= BPS && fee_bps * (BPS + m) <= m * BPS;
}

static Error check_tiers(const MaintenanceTier *tiers, u64 fee_bps) {
    u64 previous = 0, used = 0;
    while (used < TIERS && tiers[used].max_leverage != 0) {
        REQUIRE(tiers[used].max_leverage > previous, ErrorInvalidMarketParams);
        REQUIRE(tier_is_sound(&tiers[used], fee_bps), ErrorInvalidMarketParams);
        previous = tiers[used++].max_leverage;
    }
    REQUIRE(used > 0, ErrorInvalidMarketParams);
    for (; used < TIERS; used++) {
        REQUIRE(tiers[used].max_leverage == 0 && tiers[used].maintenance_bps == 0, ErrorInvalidMarketParams);
    }
    return 0;
}

static Error check_params(const MarketParams *params) {
    REQUIRE(params->symbol[0] != 0, ErrorInvalidMarketParams);
    REQUIRE(params->max_price_age_s >= 1 && params->max_price_age_s <= PRICE_AGE_MAX_S, ErrorInvalidMarketParams);
    REQUIRE(params->max_confidence_bps >= 1 && params->max_confidence_bps <= BPS, ErrorInvalidMarketParams);
    REQUIRE(params->liquidator_share_bps <= BPS, ErrorInvalidMarketParams);
    REQUIRE(params->target_health_bps > BPS, ErrorInvalidMarketParams);
    return check_tiers(params->tiers, params->liquidation_fee_bps);
}

static u64 highest_leverage(const MaintenanceTier *tiers) {
    u64 highest = 0;
    for (u64 i = 0; i < TIERS && tiers[i].max_leverage != 0; i++) highest = tiers[i].max_leverage;
    return highest;
}

static void apply_params(Market *market, const MarketParams *params, const Account *price_account) {
    for (u64 i = 0; i < sizeof market->symbol; i++) market->symbol[i] = params->symbol[i];
    for (u64 i = 0; i < sizeof market->feed_id; i++) market->feed_id[i] = params->feed_id[i];
    for (u64 i = 0; i < TIERS; i++) market->tiers[i] = params->tiers[i];
    market->price_account = *price_account->key;
    market->price_program = params->price_program;
    market->max_price_age_s = params->max_price_age_s;
    market->min_reward = params->min_reward;
    market->min_position_notional = params->min_position_notional;
    market->max_confidence_bps = params->max_confidence_bps;
    market->liquidation_fee_bps = params->liquidation_fee_bps;
    market->liquidator_share_bps = params->liquidator_share_bps;
    market->target_health_bps = params->target_health_bps;
}

static Error check_authority(const Call *call, const Account *authority, const Account *fund_account) {
    InsuranceFund *fund;
    TRY(load_fund(call, fund_account, &fund));
    REQUIRE(same_key(authority->key, &fund->authority), ErrorWrongAuthority);
    return 0;
}

static Error initialize_market(Call *call) {
    const Account *authority = &call->accounts[INITIALIZE_MARKET_AUTHORITY];
    Account *account = &call->accounts[INITIALIZE_MARKET_MARKET];
    const MarketParams *params = &ARG(MarketParams, call, INITIALIZE_MARKET_ARG_PARAMS);
    u8 bump;
    Slice seeds[] = {{"market", 6}, {params->symbol, sizeof params->symbol}, {&bump, 1}};
    NewAccount new_market = {authority, account, MARKET_SIZE, call->program_id, seeds, 3, &bump};
    TRY(check_authority(call, authority, &call->accounts[INITIALIZE_MARKET_INSURANCE_FUND]));
    TRY(check_params(params));
    TRY(create_account(call, &new_market));
    Market *market = (Market *)account->data;
    market->discriminator = ACCOUNT_MARKET;
    market->bump = bump;
    apply_params(market, params, &call->accounts[INITIALIZE_MARKET_PRICE_ACCOUNT]);
    return 0;
}

static Error update_market(Call *call) {
    const MarketParams *params = &ARG(MarketParams, call, UPDATE_MARKET_ARG_PARAMS);
    u8 paused = ARG(u8, call, UPDATE_MARKET_ARG_PAUSED);
    Market *market;
    REQUIRE(paused <= 1, ErrorInvalidInstruction);
    TRY(check_authority(call, &call->accounts[UPDATE_MARKET_AUTHORITY], &call->accounts[UPDATE_MARKET_INSURANCE_FUND]));
    TRY(load_market(call, &call->accounts[UPDATE_MARKET_MARKET], &market));
    TRY(check_params(params));
    for (u64 i = 0; i < sizeof market->symbol; i++) {
        REQUIRE(market->symbol[i] == params->symbol[i], ErrorInvalidMarketParams);
    }
    /* A position whose leverage no tier allows any more could never be closed or liquidated. */
    int may_strand = market->position_count > 0 && highest_leverage(params->tiers) < highest_leverage(market->tiers);
    REQUIRE(!may_strand, ErrorInvalidMarketParams);
    apply_params(market, params, &call->accounts[UPDATE_MARKET_PRICE_ACCOUNT]);
    market->paused = paused;
    return 0;
}

static Error fund_insurance(Call *call) {
    const Account *funder = &call->accounts[FUND_INSURANCE_FUNDER];
    const Account *funder_token = &call->accounts[FUND_INSURANCE_FUNDER_TOKEN];
    const Account *vault = &call->accounts[FUND_INSURANCE_VAULT];
    u64 amount = ARG(u64, call, FUND_INSURANCE_ARG_AMOUNT);
    InsuranceFund *fund;
    TRY(load_fund(call, &call->accounts[FUND_INSURANCE_INSURANCE_FUND], &fund));
    REQUIRE(same_key(vault->key, &fund->vault), ErrorWrongVault);
    REQUIRE(amount > 0, ErrorInvalidAmount);
    TRY(check_token_account(funder_token, funder->key, fund, ErrorFunderTokenMismatch));
    TRY(add(&fund->balance, amount));
    return transfer(funder_token, vault, funder, amount, 0);
}
