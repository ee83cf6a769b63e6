/* Generated from liqctl/venues/liquidation_engine.json by generate.py. */

#pragma once

#include "types.h"

typedef struct InsuranceFund {
    u64 discriminator;
    Pubkey authority;
    Pubkey mint;
    Pubkey vault;
    u64 balance;
    u64 bad_debt_covered;
    u64 bad_debt_uncovered;
    u64 liquidation_count;
    u8 bump;
    u8 vault_bump;
    u8 padding[6];
} InsuranceFund;
#define INSURANCE_FUND_SIZE 144
_Static_assert(offsetof(InsuranceFund, authority) == 8, "packed");
_Static_assert(offsetof(InsuranceFund, mint) == 40, "packed");
_Static_assert(offsetof(InsuranceFund, vault) == 72, "packed");
_Static_assert(offsetof(InsuranceFund, balance) == 104, "packed");
_Static_assert(offsetof(InsuranceFund, bad_debt_covered) == 112, "packed");
_Static_assert(offsetof(InsuranceFund, bad_debt_uncovered) == 120, "packed");
_Static_assert(offsetof(InsuranceFund, liquidation_count) == 128, "packed");
_Static_assert(offsetof(InsuranceFund, bump) == 136, "packed");
_Static_assert(offsetof(InsuranceFund, vault_bump) == 137, "packed");
_Static_assert(offsetof(InsuranceFund, padding) == 138, "packed");

typedef struct MaintenanceTier {
    u16 max_leverage;
    u16 maintenance_bps;
} MaintenanceTier;
#define MAINTENANCE_TIER_SIZE 4
_Static_assert(offsetof(MaintenanceTier, max_leverage) == 0, "packed");
_Static_assert(offsetof(MaintenanceTier, maintenance_bps) == 2, "packed");

typedef struct Market {
    u64 discriminator;
    u8 symbol[16];
    Pubkey price_account;
    u8 feed_id[32];
    Pubkey price_program;
    u64 max_price_age_s;
    u64 profit_pool;
    u64 open_interest_long;
    u64 open_interest_short;
    u64 position_count;
    u64 min_reward;
    u64 min_position_notional;
    u16 max_confidence_bps;
    u16 liquidation_fee_bps;
    u16 liquidator_share_bps;
    u16 target_health_bps;
    MaintenanceTier tiers[5];
    u8 paused;
    u8 bump;
    u8 padding[2];
} Market;
#define MARKET_SIZE 208
_Static_assert(offsetof(Market, symbol) == 8, "packed");
_Static_assert(offsetof(Market, price_account) == 24, "packed");
_Static_assert(offsetof(Market, feed_id) == 56, "packed");
_Static_assert(offsetof(Market, price_program) == 88, "packed");
_Static_assert(offsetof(Market, max_price_age_s) == 120, "packed");
_Static_assert(offsetof(Market, profit_pool) == 128, "packed");
_Static_assert(offsetof(Market, open_interest_long) == 136, "packed");
_Static_assert(offsetof(Market, open_interest_short) == 144, "packed");
_Static_assert(offsetof(Market, position_count) == 152, "packed");
_Static_assert(offsetof(Market, min_reward) == 160, "packed");
_Static_assert(offsetof(Market, min_position_notional) == 168, "packed");
_Static_assert(offsetof(Market, max_confidence_bps) == 176, "packed");
_Static_assert(offsetof(Market, liquidation_fee_bps) == 178, "packed");
_Static_assert(offsetof(Market, liquidator_share_bps) == 180, "packed");
_Static_assert(offsetof(Market, target_health_bps) == 182, "packed");
_Static_assert(offsetof(Market, tiers) == 184, "packed");
_Static_assert(offsetof(Market, paused) == 204, "packed");
_Static_assert(offsetof(Market, bump) == 205, "packed");
_Static_assert(offsetof(Market, padding) == 206, "packed");

typedef struct Position {
    u64 discriminator;
    Pubkey owner;
    Pubkey market;
    u64 id;
    i64 size;
    u64 entry_price;
    u64 collateral;
    i64 opened_at;
    u64 opened_slot;
    u64 updated_slot;
    i64 realized_pnl;
    u16 leverage;
    u8 bump;
    u8 padding[5];
} Position;
#define POSITION_SIZE 144
_Static_assert(offsetof(Position, owner) == 8, "packed");
_Static_assert(offsetof(Position, market) == 40, "packed");
_Static_assert(offsetof(Position, id) == 72, "packed");
_Static_assert(offsetof(Position, size) == 80, "packed");
_Static_assert(offsetof(Position, entry_price) == 88, "packed");
_Static_assert(offsetof(Position, collateral) == 96, "packed");
_Static_assert(offsetof(Position, opened_at) == 104, "packed");
_Static_assert(offsetof(Position, opened_slot) == 112, "packed");
_Static_assert(offsetof(Position, updated_slot) == 120, "packed");
_Static_assert(offsetof(Position, realized_pnl) == 128, "packed");
_Static_assert(offsetof(Position, leverage) == 136, "packed");
_Static_assert(offsetof(Position, bump) == 138, "packed");
_Static_assert(offsetof(Position, padding) == 139, "packed");

typedef struct MarketParams {
    u8 symbol[16];
    u8 feed_id[32];
    Pubkey price_program;
    u64 max_price_age_s;
    u64 min_reward;
    u64 min_position_notional;
    u16 max_confidence_bps;
    u16 liquidation_fee_bps;
    u16 liquidator_share_bps;
    u16 target_health_bps;
    MaintenanceTier tiers[5];
} MarketParams;
#define MARKET_PARAMS_SIZE 132
_Static_assert(offsetof(MarketParams, symbol) == 0, "packed");
_Static_assert(offsetof(MarketParams, feed_id) == 16, "packed");
_Static_assert(offsetof(MarketParams, price_program) == 48, "packed");
_Static_assert(offsetof(MarketParams, max_price_age_s) == 80, "packed");
_Static_assert(offsetof(MarketParams, min_reward) == 88, "packed");
_Static_assert(offsetof(MarketParams, min_position_notional) == 96, "packed");
_Static_assert(offsetof(MarketParams, max_confidence_bps) == 104, "packed");
_Static_assert(offsetof(MarketParams, liquidation_fee_bps) == 106, "packed");
_Static_assert(offsetof(MarketParams, liquidator_share_bps) == 108, "packed");
_Static_assert(offsetof(MarketParams, target_health_bps) == 110, "packed");
_Static_assert(offsetof(MarketParams, tiers) == 112, "packed");

typedef struct Assessment {
    u8 liquidatable;
    u8 is_full;
    u8 padding[6];
    i64 equity;
    u64 maintenance_margin;
    u64 allowed_size;
    u64 reward;
    u64 bad_debt;
    i64 fund_delta;
} Assessment;
#define ASSESSMENT_SIZE 56
_Static_assert(offsetof(Assessment, liquidatable) == 0, "packed");
_Static_assert(offsetof(Assessment, is_full) == 1, "packed");
_Static_assert(offsetof(Assessment, padding) == 2, "packed");
_Static_assert(offsetof(Assessment, equity) == 8, "packed");
_Static_assert(offsetof(Assessment, maintenance_margin) == 16, "packed");
_Static_assert(offsetof(Assessment, allowed_size) == 24, "packed");
_Static_assert(offsetof(Assessment, reward) == 32, "packed");
_Static_assert(offsetof(Assessment, bad_debt) == 40, "packed");
_Static_assert(offsetof(Assessment, fund_delta) == 48, "packed");

typedef struct LiquidationEvent {
    u64 discriminator;
    Pubkey position;
    Pubkey owner;
    Pubkey market;
    Pubkey liquidator;
    u64 price;
    u64 closed_size;
    u64 remaining_size;
    u64 reward;
    i64 fund_delta;
    u64 bad_debt_covered;
    u64 bad_debt_uncovered;
    u64 owner_payout;
    i64 equity;
    u64 maintenance_margin;
    u64 slot;
    u8 is_full;
} LiquidationEvent;
#define LIQUIDATION_EVENT_SIZE 225
_Static_assert(offsetof(LiquidationEvent, position) == 8, "packed");
_Static_assert(offsetof(LiquidationEvent, owner) == 40, "packed");
_Static_assert(offsetof(LiquidationEvent, market) == 72, "packed");
_Static_assert(offsetof(LiquidationEvent, liquidator) == 104, "packed");
_Static_assert(offsetof(LiquidationEvent, price) == 136, "packed");
_Static_assert(offsetof(LiquidationEvent, closed_size) == 144, "packed");
_Static_assert(offsetof(LiquidationEvent, remaining_size) == 152, "packed");
_Static_assert(offsetof(LiquidationEvent, reward) == 160, "packed");
_Static_assert(offsetof(LiquidationEvent, fund_delta) == 168, "packed");
_Static_assert(offsetof(LiquidationEvent, bad_debt_covered) == 176, "packed");
_Static_assert(offsetof(LiquidationEvent, bad_debt_uncovered) == 184, "packed");
_Static_assert(offsetof(LiquidationEvent, owner_payout) == 192, "packed");
_Static_assert(offsetof(LiquidationEvent, equity) == 200, "packed");
_Static_assert(offsetof(LiquidationEvent, maintenance_margin) == 208, "packed");
_Static_assert(offsetof(LiquidationEvent, slot) == 216, "packed");
_Static_assert(offsetof(LiquidationEvent, is_full) == 224, "packed");

#define ACCOUNT_INSURANCE_FUND 0x938e106657aa862bull

#define ACCOUNT_MARKET 0x9ac6e30037d5bedbull

#define ACCOUNT_POSITION 0xd0f7407ae48fbcaaull

#define EVENT_LIQUIDATION_EVENT 0x904888ad5d150d03ull

#define INSTRUCTION_INITIALIZE_INSURANCE_FUND 0x0c6c1c325727ef02ull
enum { INITIALIZE_INSURANCE_FUND_AUTHORITY, INITIALIZE_INSURANCE_FUND_INSURANCE_FUND, INITIALIZE_INSURANCE_FUND_VAULT, INITIALIZE_INSURANCE_FUND_MINT, INITIALIZE_INSURANCE_FUND_TOKEN_PROGRAM, INITIALIZE_INSURANCE_FUND_SYSTEM_PROGRAM, INITIALIZE_INSURANCE_FUND_COUNT };
static const u8 INITIALIZE_INSURANCE_FUND_FLAGS[INITIALIZE_INSURANCE_FUND_COUNT] = { SIGNER | WRITABLE, WRITABLE, WRITABLE, 0, TOKEN_PROGRAM, SYSTEM_PROGRAM };
#define INITIALIZE_INSURANCE_FUND_ARGS_SIZE 0

#define INSTRUCTION_INITIALIZE_MARKET 0xcbaa309bc1bd2323ull
enum { INITIALIZE_MARKET_AUTHORITY, INITIALIZE_MARKET_INSURANCE_FUND, INITIALIZE_MARKET_MARKET, INITIALIZE_MARKET_PRICE_ACCOUNT, INITIALIZE_MARKET_SYSTEM_PROGRAM, INITIALIZE_MARKET_COUNT };
static const u8 INITIALIZE_MARKET_FLAGS[INITIALIZE_MARKET_COUNT] = { SIGNER | WRITABLE, 0, WRITABLE, 0, SYSTEM_PROGRAM };
#define INITIALIZE_MARKET_ARG_PARAMS 0
#define INITIALIZE_MARKET_ARGS_SIZE 132

#define INSTRUCTION_UPDATE_MARKET 0xd9c732b3c5022799ull
enum { UPDATE_MARKET_AUTHORITY, UPDATE_MARKET_INSURANCE_FUND, UPDATE_MARKET_MARKET, UPDATE_MARKET_PRICE_ACCOUNT, UPDATE_MARKET_COUNT };
static const u8 UPDATE_MARKET_FLAGS[UPDATE_MARKET_COUNT] = { SIGNER, 0, WRITABLE, 0 };
#define UPDATE_MARKET_ARG_PARAMS 0
#define UPDATE_MARKET_ARG_PAUSED 132
#define UPDATE_MARKET_ARGS_SIZE 133

#define INSTRUCTION_FUND_INSURANCE 0x421432c9a225d83aull
enum { FUND_INSURANCE_FUNDER, FUND_INSURANCE_FUNDER_TOKEN, FUND_INSURANCE_INSURANCE_FUND, FUND_INSURANCE_VAULT, FUND_INSURANCE_TOKEN_PROGRAM, FUND_INSURANCE_COUNT };
static const u8 FUND_INSURANCE_FLAGS[FUND_INSURANCE_COUNT] = { SIGNER, WRITABLE, WRITABLE, WRITABLE, TOKEN_PROGRAM };
#define FUND_INSURANCE_ARG_AMOUNT 0
#define FUND_INSURANCE_ARGS_SIZE 8

#define INSTRUCTION_OPEN_POSITION 0x31f0980f4d2f8087ull
enum { OPEN_POSITION_OWNER, OPEN_POSITION_MARKET, OPEN_POSITION_POSITION, OPEN_POSITION_PRICE_ACCOUNT, OPEN_POSITION_OWNER_TOKEN, OPEN_POSITION_INSURANCE_FUND, OPEN_POSITION_VAULT, OPEN_POSITION_TOKEN_PROGRAM, OPEN_POSITION_SYSTEM_PROGRAM, OPEN_POSITION_COUNT };
static const u8 OPEN_POSITION_FLAGS[OPEN_POSITION_COUNT] = { SIGNER | WRITABLE, WRITABLE, WRITABLE, 0, WRITABLE, 0, WRITABLE, TOKEN_PROGRAM, SYSTEM_PROGRAM };
#define OPEN_POSITION_ARG_ID 0
#define OPEN_POSITION_ARG_SIZE 8
#define OPEN_POSITION_ARG_COLLATERAL 16
#define OPEN_POSITION_ARG_LEVERAGE 24
#define OPEN_POSITION_ARGS_SIZE 26

#define INSTRUCTION_ADD_COLLATERAL 0xcef9b0a12a79527full
enum { ADD_COLLATERAL_OWNER, ADD_COLLATERAL_POSITION, ADD_COLLATERAL_OWNER_TOKEN, ADD_COLLATERAL_INSURANCE_FUND, ADD_COLLATERAL_VAULT, ADD_COLLATERAL_TOKEN_PROGRAM, ADD_COLLATERAL_COUNT };
static const u8 ADD_COLLATERAL_FLAGS[ADD_COLLATERAL_COUNT] = { SIGNER, WRITABLE, WRITABLE, 0, WRITABLE, TOKEN_PROGRAM };
#define ADD_COLLATERAL_ARG_AMOUNT 0
#define ADD_COLLATERAL_ARGS_SIZE 8

#define INSTRUCTION_CLOSE_POSITION 0x626244310051867bull
enum { CLOSE_POSITION_OWNER, CLOSE_POSITION_MARKET, CLOSE_POSITION_POSITION, CLOSE_POSITION_PRICE_ACCOUNT, CLOSE_POSITION_OWNER_TOKEN, CLOSE_POSITION_INSURANCE_FUND, CLOSE_POSITION_VAULT, CLOSE_POSITION_TOKEN_PROGRAM, CLOSE_POSITION_COUNT };
static const u8 CLOSE_POSITION_FLAGS[CLOSE_POSITION_COUNT] = { SIGNER | WRITABLE, WRITABLE, WRITABLE, 0, WRITABLE, WRITABLE, WRITABLE, TOKEN_PROGRAM };
#define CLOSE_POSITION_ARGS_SIZE 0

#define INSTRUCTION_LIQUIDATE 0x4a272e307de2b3dfull
enum { LIQUIDATE_LIQUIDATOR, LIQUIDATE_LIQUIDATOR_TOKEN, LIQUIDATE_MARKET, LIQUIDATE_POSITION, LIQUIDATE_OWNER_TOKEN, LIQUIDATE_PRICE_ACCOUNT, LIQUIDATE_INSURANCE_FUND, LIQUIDATE_VAULT, LIQUIDATE_TOKEN_PROGRAM, LIQUIDATE_COUNT };
static const u8 LIQUIDATE_FLAGS[LIQUIDATE_COUNT] = { SIGNER | WRITABLE, WRITABLE, WRITABLE, WRITABLE, WRITABLE, 0, WRITABLE, WRITABLE, TOKEN_PROGRAM };
#define LIQUIDATE_ARG_MAX_SIZE 0
#define LIQUIDATE_ARGS_SIZE 8

#define INSTRUCTION_ASSESS 0x2c8dbbaa392afda5ull
enum { ASSESS_MARKET, ASSESS_POSITION, ASSESS_PRICE_ACCOUNT, ASSESS_INSURANCE_FUND, ASSESS_COUNT };
static const u8 ASSESS_FLAGS[ASSESS_COUNT] = { 0, 0, 0, 0 };
#define ASSESS_ARG_MAX_SIZE 0
#define ASSESS_ARGS_SIZE 8

enum {
    ErrorPositionHealthy = 6000,
    ErrorPositionLiquidatable = 6001,
    ErrorPositionGone = 6002,
    ErrorMarketPaused = 6003,
    ErrorPriceAccountMismatch = 6004,
    ErrorPriceWrongOwner = 6005,
    ErrorPriceWrongType = 6006,
    ErrorPriceNotFullyVerified = 6007,
    ErrorPriceWrongFeed = 6008,
    ErrorPriceNotPositive = 6009,
    ErrorPriceBadExponent = 6010,
    ErrorPriceStale = 6011,
    ErrorPriceTooWide = 6012,
    ErrorPriceTooSmall = 6013,
    ErrorMathOverflow = 6014,
    ErrorInvalidAmount = 6015,
    ErrorMaxSizeTooSmall = 6016,
    ErrorProfitPoolEmpty = 6017,
    ErrorInvalidMarketParams = 6018,
    ErrorLeverageTooHigh = 6019,
    ErrorNotionalTooSmall = 6020,
    ErrorInsufficientCollateral = 6021,
    ErrorInvalidInstruction = 6022,
    ErrorNotEnoughAccounts = 6023,
    ErrorMissingSignature = 6024,
    ErrorAccountNotWritable = 6025,
    ErrorAccountNotInitialized = 6026,
    ErrorAccountAlreadyInitialized = 6027,
    ErrorAccountWrongOwner = 6028,
    ErrorAccountWrongType = 6029,
    ErrorAccountWrongAddress = 6030,
    ErrorWrongAuthority = 6031,
    ErrorWrongPositionOwner = 6032,
    ErrorWrongMarket = 6033,
    ErrorWrongVault = 6034,
    ErrorWrongMint = 6035,
    ErrorWrongProgram = 6036,
    ErrorInvalidTokenAccount = 6037,
    ErrorFunderTokenMismatch = 6038,
    ErrorLiquidatorTokenMismatch = 6039,
    ErrorOwnerTokenMismatch = 6040,
};
#define FIRST_ERROR 6000
static const ErrorLine ERROR_LINES[41] = {
    {"AnchorError occurred. Error Code: PositionHealthy. Error Number: 6000. Error Message: Equity is not below the maintenance margin.", 129},
    {"AnchorError occurred. Error Code: PositionLiquidatable. Error Number: 6001. Error Message: Equity is below the maintenance margin.", 130},
    {"AnchorError occurred. Error Code: PositionGone. Error Number: 6002. Error Message: The position account does not exist any more.", 128},
    {"AnchorError occurred. Error Code: MarketPaused. Error Number: 6003. Error Message: The market is paused.", 104},
    {"AnchorError occurred. Error Code: PriceAccountMismatch. Error Number: 6004. Error Message: The price account is not the one of the market.", 138},
    {"AnchorError occurred. Error Code: PriceWrongOwner. Error Number: 6005. Error Message: The price account is not owned by the price program of the market.", 152},
    {"AnchorError occurred. Error Code: PriceWrongType. Error Number: 6006. Error Message: The price account is not a PriceUpdateV2.", 126},
    {"AnchorError occurred. Error Code: PriceNotFullyVerified. Error Number: 6007. Error Message: The price update is not fully verified.", 131},
    {"AnchorError occurred. Error Code: PriceWrongFeed. Error Number: 6008. Error Message: The price update is of another feed.", 121},
    {"AnchorError occurred. Error Code: PriceNotPositive. Error Number: 6009. Error Message: The price is not positive.", 113},
    {"AnchorError occurred. Error Code: PriceBadExponent. Error Number: 6010. Error Message: The exponent of the price is not within -18..0.", 134},
    {"AnchorError occurred. Error Code: PriceStale. Error Number: 6011. Error Message: The price is older than the market allows.", 123},
    {"AnchorError occurred. Error Code: PriceTooWide. Error Number: 6012. Error Message: The confidence interval is wider than the market allows.", 139},
    {"AnchorError occurred. Error Code: PriceTooSmall. Error Number: 6013. Error Message: The price rounds to zero.", 109},
    {"AnchorError occurred. Error Code: MathOverflow. Error Number: 6014. Error Message: A number does not fit into its integer type.", 127},
    {"AnchorError occurred. Error Code: InvalidAmount. Error Number: 6015. Error Message: An amount, size or leverage of zero, or out of range.", 137},
    {"AnchorError occurred. Error Code: MaxSizeTooSmall. Error Number: 6016. Error Message: The position must be closed in full and max_size is smaller than it.", 154},
    {"AnchorError occurred. Error Code: ProfitPoolEmpty. Error Number: 6017. Error Message: The profit pool and the fund cannot pay the realized profit.", 146},
    {"AnchorError occurred. Error Code: InvalidMarketParams. Error Number: 6018. Error Message: The market parameters break a rule.", 125},
    {"AnchorError occurred. Error Code: LeverageTooHigh. Error Number: 6019. Error Message: No maintenance tier allows the leverage.", 126},
    {"AnchorError occurred. Error Code: NotionalTooSmall. Error Number: 6020. Error Message: The notional is below the minimum of the market.", 135},
    {"AnchorError occurred. Error Code: InsufficientCollateral. Error Number: 6021. Error Message: The collateral is below the initial margin.", 136},
    {"AnchorError occurred. Error Code: InvalidInstruction. Error Number: 6022. Error Message: Unknown instruction or malformed arguments.", 132},
    {"AnchorError occurred. Error Code: NotEnoughAccounts. Error Number: 6023. Error Message: The instruction needs more accounts.", 124},
    {"AnchorError occurred. Error Code: MissingSignature. Error Number: 6024. Error Message: A required signature is missing.", 119},
    {"AnchorError occurred. Error Code: AccountNotWritable. Error Number: 6025. Error Message: An account that must be writable is read-only.", 135},
    {"AnchorError occurred. Error Code: AccountNotInitialized. Error Number: 6026. Error Message: The account does not exist.", 119},
    {"AnchorError occurred. Error Code: AccountAlreadyInitialized. Error Number: 6027. Error Message: The account exists already.", 123},
    {"AnchorError occurred. Error Code: AccountWrongOwner. Error Number: 6028. Error Message: The account is not owned by the expected program.", 137},
    {"AnchorError occurred. Error Code: AccountWrongType. Error Number: 6029. Error Message: The discriminator or the length of the account is wrong.", 143},
    {"AnchorError occurred. Error Code: AccountWrongAddress. Error Number: 6030. Error Message: The account is not at the expected address.", 133},
    {"AnchorError occurred. Error Code: WrongAuthority. Error Number: 6031. Error Message: The signer is not the authority of the fund.", 129},
    {"AnchorError occurred. Error Code: WrongPositionOwner. Error Number: 6032. Error Message: The signer is not the owner of the position.", 133},
    {"AnchorError occurred. Error Code: WrongMarket. Error Number: 6033. Error Message: The position belongs to another market.", 121},
    {"AnchorError occurred. Error Code: WrongVault. Error Number: 6034. Error Message: The vault is not the one of the fund.", 118},
    {"AnchorError occurred. Error Code: WrongMint. Error Number: 6035. Error Message: The mint is not a 6-decimals mint of the token program.", 135},
    {"AnchorError occurred. Error Code: WrongProgram. Error Number: 6036. Error Message: Not the token or the system program.", 119},
    {"AnchorError occurred. Error Code: InvalidTokenAccount. Error Number: 6037. Error Message: Not an initialized token account of the token program.", 144},
    {"AnchorError occurred. Error Code: FunderTokenMismatch. Error Number: 6038. Error Message: The funder's token account has another owner or mint.", 143},
    {"AnchorError occurred. Error Code: LiquidatorTokenMismatch. Error Number: 6039. Error Message: The liquidator's token account has another owner or mint.", 151},
    {"AnchorError occurred. Error Code: OwnerTokenMismatch. Error Number: 6040. Error Message: The position owner's token account has another owner or mint.", 150},
};
