/* The reference program: which instruction is meant, and how an error is told. */
#include "liquidation.h"
#include "setup.h"

#define INSTRUCTION(NAME, function) \
    if (discriminator == INSTRUCTION_##NAME) { \
        TRY(check_call(call, NAME##_FLAGS, NAME##_COUNT, NAME##_ARGS_SIZE)); \
        return function(call); \
    }

static Error dispatch(Call *call) {
    REQUIRE(call->data_len >= 8, ErrorInvalidInstruction);
    u64 discriminator = *(const u64 *)call->data;
    INSTRUCTION(LIQUIDATE, liquidate)
    INSTRUCTION(ASSESS, assess)
    INSTRUCTION(OPEN_POSITION, open_position)
    INSTRUCTION(ADD_COLLATERAL, add_collateral)
    INSTRUCTION(CLOSE_POSITION, close_position)
    INSTRUCTION(FUND_INSURANCE, fund_insurance)
    INSTRUCTION(INITIALIZE_INSURANCE_FUND, initialize_insurance_fund)
    INSTRUCTION(INITIALIZE_MARKET, initialize_market)
    INSTRUCTION(UPDATE_MARKET, update_market)
    return ErrorInvalidInstruction;
}

/* A code below 2^32 reaches the client as `Custom(code)`. Errors of system calls are passed on. */
u64 entrypoint(u8 *input) {
    Call call;
    read_input(input, &call);
    Error error = dispatch(&call);
    u64 place = error - FIRST_ERROR;
    if (place < sizeof ERROR_LINES / sizeof *ERROR_LINES) sol_log_(ERROR_LINES[place].text, ERROR_LINES[place].length);
    return error;
}
