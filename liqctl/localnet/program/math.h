/* Checked and exact integer arithmetic: products and dividends of 128 bits, results of 64. */
#pragma once
#include "idl.h"

/* a * b; the high half goes to *high. */
static u64 multiply_wide(u64 a, u64 b, u64 *high) {
    u64 a0 = a & 0xffffffff, a1 = a >> 32, b0 = b & 0xffffffff, b1 = b >> 32;
    if ((a1 | b1) == 0) {
        *high = 0;
        return a * b;
    }
    u64 low = a0 * b0;
    u64 middle = a1 * b0 + (low >> 32);
    u64 carry = a0 * b1 + (middle & 0xffffffff);
    *high = a1 * b1 + (middle >> 32) + (carry >> 32);
    return (carry << 32) | (low & 0xffffffff);
}

/* One 32-bit digit of a quotient: (rest * 2^32 + digit) / divisor, divisor normalised (Knuth, algorithm D). */
static u64 divide_digit(u64 *rest, u64 digit, u64 divisor) {
    u64 high = divisor >> 32, low = divisor & 0xffffffff;
    u64 quotient = *rest / high, left = *rest % high;
    while (quotient >> 32 || quotient * low > ((left << 32) | digit)) {
        quotient--;
        left += high;
        if (left >> 32) break;
    }
    *rest = ((*rest << 32) | digit) - quotient * divisor;
    return quotient;
}

/* floor((high * 2^64 + low) / divisor); *rest tells whether something was cut off. */
static Error divide_wide(u64 high, u64 low, u64 divisor, u64 *quotient, u64 *rest) {
    REQUIRE(high < divisor, ErrorMathOverflow);
    if (high == 0) {
        *quotient = low / divisor;
        *rest = low % divisor;
        return 0;
    }
    u64 shift = 0;
    while (!(divisor >> 63)) {
        divisor <<= 1;
        shift++;
    }
    if (shift) {
        high = (high << shift) | (low >> (64 - shift));
        low <<= shift;
    }
    u64 upper = divide_digit(&high, low >> 32, divisor);
    *quotient = (upper << 32) | divide_digit(&high, low & 0xffffffff, divisor);
    *rest = high >> shift;
    return 0;
}

static Error mul_div_floor(u64 a, u64 b, u64 divisor, u64 *result) {
    u64 high, rest, low = multiply_wide(a, b, &high);
    return divide_wide(high, low, divisor, result, &rest);
}

static Error mul_div_ceil(u64 a, u64 b, u64 divisor, u64 *result) {
    u64 high, rest, low = multiply_wide(a, b, &high);
    TRY(divide_wide(high, low, divisor, result, &rest));
    REQUIRE(!rest || *result != U64_MAX, ErrorMathOverflow);
    *result += rest != 0;
    return 0;
}

/* a * b < c * d */
static int product_less(u64 a, u64 b, u64 c, u64 d) {
    u64 left_high, right_high;
    u64 left = multiply_wide(a, b, &left_high), right = multiply_wide(c, d, &right_high);
    return left_high != right_high ? left_high < right_high : left < right;
}

static Error add(u64 *total, u64 amount) {
    REQUIRE(*total <= U64_MAX - amount, ErrorMathOverflow);
    *total += amount;
    return 0;
}

static Error subtract(u64 *total, u64 amount) {
    REQUIRE(amount <= *total, ErrorMathOverflow);
    *total -= amount;
    return 0;
}

static Error add_signed(i64 a, i64 b, i64 *sum) {
    i64 wrapped = (i64)((u64)a + (u64)b);
    REQUIRE((a < 0) != (b < 0) || (wrapped < 0) == (a < 0), ErrorMathOverflow);
    *sum = wrapped;
    return 0;
}

static Error subtract_signed(i64 a, i64 b, i64 *result) {
    i64 wrapped = (i64)((u64)a - (u64)b);
    REQUIRE((a < 0) == (b < 0) || (wrapped < 0) == (a < 0), ErrorMathOverflow);
    *result = wrapped;
    return 0;
}

/* a - b of two unsigned numbers, as a signed one. */
static Error difference(u64 a, u64 b, i64 *result) {
    i64 wrapped = (i64)(a - b);
    REQUIRE((wrapped < 0) == (a < b), ErrorMathOverflow);
    *result = wrapped;
    return 0;
}

/* |value|, also of the least number. */
static u64 magnitude(i64 value) {
    return value < 0 ? 0 - (u64)value : (u64)value;
}

static u64 minimum(u64 a, u64 b) {
    return a < b ? a : b;
}
