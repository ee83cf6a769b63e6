/* From a PriceUpdateV2 account to the price that decides, or to the reason why it must not. */
#pragma once
#include "math.h"
#include "runtime.h"

typedef struct __attribute__((packed)) PriceUpdate {
    u64 discriminator;
    Pubkey write_authority;
    u8 verification; /* 1 is Full. Partial is 0 and one byte longer: nothing behind it may be read. */
    u8 feed_id[32];
    i64 price;
    u64 confidence;
    i32 exponent;
    i64 publish_time;
    i64 previous_publish_time;
    i64 ema_price;
    u64 ema_confidence;
    u64 posted_slot;
} PriceUpdate;

_Static_assert(sizeof(PriceUpdate) == 133, "PriceUpdateV2 as the Pyth receiver writes it");

#define PRICE_UPDATE_V2 0xcdf47e9d6323f122ull
#define FULLY_VERIFIED 1

/* Price in 1e-6 quote, rounded down by less than one unit: against longs, in favour of shorts. */
static Error scale_price(u64 mantissa, i32 exponent, u64 *price) {
    i32 shift = exponent + 6;
    u64 factor = 1, high = 0;
    for (i32 left = shift < 0 ? -shift : shift; left > 0; left--) factor *= 10;
    *price = shift < 0 ? mantissa / factor : multiply_wide(mantissa, factor, &high);
    REQUIRE(high == 0, ErrorMathOverflow);
    REQUIRE(*price > 0, ErrorPriceTooSmall);
    return 0;
}

/* The order of the checks decides which error a price with several faults gets. */
static Error read_price(const Account *account, const Market *market, const Clock *clock, u64 *price) {
    REQUIRE(same_key(account->key, &market->price_account), ErrorPriceAccountMismatch);
    REQUIRE(same_key(account->owner, &market->price_program), ErrorPriceWrongOwner);
    REQUIRE(account->data_len >= sizeof(PriceUpdate), ErrorPriceWrongType);
    const PriceUpdate *update = (const PriceUpdate *)account->data;
    REQUIRE(update->discriminator == PRICE_UPDATE_V2, ErrorPriceWrongType);
    REQUIRE(update->verification == FULLY_VERIFIED, ErrorPriceNotFullyVerified);
    for (u64 i = 0; i < sizeof update->feed_id; i++) {
        REQUIRE(update->feed_id[i] == market->feed_id[i], ErrorPriceWrongFeed);
    }
    REQUIRE(update->price > 0, ErrorPriceNotPositive);
    REQUIRE(update->exponent >= -18 && update->exponent <= 0, ErrorPriceBadExponent);
    /* The unsigned difference is exact where it is used, also for extreme times; a time ahead of the clock passes. */
    i64 published = update->publish_time, now = clock->unix_timestamp;
    u64 age = published < now ? (u64)now - (u64)published : 0;
    REQUIRE(age <= market->max_price_age_s, ErrorPriceStale);
    int wide = product_less(market->max_confidence_bps, (u64)update->price, update->confidence, BPS);
    REQUIRE(!wide, ErrorPriceTooWide);
    return scale_price((u64)update->price, update->exponent, price);
}
