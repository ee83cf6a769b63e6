/* System calls, the input of a call, and the checks that every account goes through. */
#pragma once
#include "idl.h"

#define BPS 10000ull

typedef struct Slice { const void *bytes; u64 length; } Slice;
typedef struct Signer { const Slice *seeds; u64 count; } Signer;
typedef struct AccountMeta { const Pubkey *key; u8 is_writable; u8 is_signer; } AccountMeta;
typedef struct Instruction {
    const Pubkey *program_id;
    const AccountMeta *accounts;
    u64 account_count;
    const void *data;
    u64 data_len;
} Instruction;
typedef struct Clock { u64 slot; i64 epoch_start; u64 epoch; u64 leader_epoch; i64 unix_timestamp; } Clock;
typedef struct Rent { u64 lamports_per_byte_year; u64 exemption_threshold; u8 burn_percent; } Rent;

extern u64 sol_sha256(const Slice *, u64, Pubkey *);
extern u64 sol_try_find_program_address(const Slice *, u64, const Pubkey *, Pubkey *, u8 *);
extern u64 sol_get_clock_sysvar(Clock *);
extern u64 sol_get_rent_sysvar(Rent *);
extern u64 sol_invoke_signed_c(const Instruction *, Account *, u64, const Signer *, u64);
extern void sol_log_(const char *, u64);
extern void sol_log_data(const Slice *, u64);
extern void sol_set_return_data(const void *, u64);

static const Pubkey SYSTEM_PROGRAM_ID = {{0, 0, 0, 0}};
/* TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA */
static const Pubkey TOKEN_PROGRAM_ID = {{0x93a165d7e1f6dd06ull, 0xac79ebce46e1cbd9ull, 0x91375b5fed85b41cull, 0xa900ff7e85f58c3aull}};

static int same_key(const Pubkey *a, const Pubkey *b) {
    return a->words[0] == b->words[0] && a->words[1] == b->words[1] && a->words[2] == b->words[2] &&
           a->words[3] == b->words[3];
}

/* The input is a sequence of accounts, each with room to grow, then the instruction's data and the program's key. */
static void read_input(u8 *input, Call *call) {
    u64 count = *(u64 *)input;
    input += 8;
    call->account_count = count < MAX_ACCOUNTS ? count : MAX_ACCOUNTS;
    for (u64 i = 0; i < count; i++) {
        u8 first_place = input[0];
        if (first_place != 0xff) {
            /* A repeated account: both places share one memory. */
            if (i < MAX_ACCOUNTS && first_place < MAX_ACCOUNTS) call->accounts[i] = call->accounts[first_place];
            input += 8;
            continue;
        }
        Account account;
        account.is_signer = input[1];
        account.is_writable = input[2];
        account.executable = input[3];
        account.key = (Pubkey *)(input + 8);
        account.owner = (Pubkey *)(input + 40);
        account.lamports = (u64 *)(input + 72);
        account.data_len = *(u64 *)(input + 80);
        account.data = input + 88;
        input += (88 + account.data_len + 10240 + 7) & ~7ull;
        account.rent_epoch = *(u64 *)input;
        input += 8;
        if (i < MAX_ACCOUNTS) call->accounts[i] = account;
    }
    call->data_len = *(u64 *)input;
    call->data = input + 8;
    call->args = call->data + 8;
    call->program_id = (const Pubkey *)(call->data + call->data_len);
}

/* What the IDL says of an instruction: arguments, number of accounts, signers, writable ones, fixed programs. */
static Error check_call(const Call *call, const u8 *flags, u64 count, u64 args_size) {
    REQUIRE(call->data_len == 8 + args_size, ErrorInvalidInstruction);
    REQUIRE(call->account_count >= count, ErrorNotEnoughAccounts);
    for (u64 i = 0; i < count; i++) {
        const Account *account = &call->accounts[i];
        REQUIRE(!(flags[i] & SIGNER) || account->is_signer, ErrorMissingSignature);
        REQUIRE(!(flags[i] & WRITABLE) || account->is_writable, ErrorAccountNotWritable);
        REQUIRE(!(flags[i] & TOKEN_PROGRAM) || same_key(account->key, &TOKEN_PROGRAM_ID), ErrorWrongProgram);
        REQUIRE(!(flags[i] & SYSTEM_PROGRAM) || same_key(account->key, &SYSTEM_PROGRAM_ID), ErrorWrongProgram);
    }
    return 0;
}

static int is_vacant(const Account *account) {
    return account->data_len == 0 && same_key(account->owner, &SYSTEM_PROGRAM_ID);
}

/* Ours, of the type that is meant, and of its length. The caller still has to tie the address. */
static Error check_type(const Call *call, const Account *account, u64 discriminator, u64 size) {
    REQUIRE(same_key(account->owner, call->program_id), ErrorAccountWrongOwner);
    REQUIRE(account->data_len == size && *(u64 *)account->data == discriminator, ErrorAccountWrongType);
    return 0;
}

/* Is the account at the address of its seeds? The caller leaves two places at the end for the program's key and
   the suffix of every derived address. Hashing is the whole of the derivation except the test that no key pair
   has this address; `create_account` made that test when it chose the bump that is stored. */
static Error check_address(const Call *call, const Account *account, Slice *seeds, u64 count) {
    Pubkey address;
    seeds[count - 2] = (Slice){call->program_id, sizeof *call->program_id};
    seeds[count - 1] = (Slice){"ProgramDerivedAddress", 21};
    TRY(sol_sha256(seeds, count, &address));
    REQUIRE(same_key(account->key, &address), ErrorAccountWrongAddress);
    return 0;
}

static Error load_fund(const Call *call, const Account *account, InsuranceFund **fund) {
    REQUIRE(!is_vacant(account), ErrorAccountNotInitialized);
    TRY(check_type(call, account, ACCOUNT_INSURANCE_FUND, INSURANCE_FUND_SIZE));
    *fund = (InsuranceFund *)account->data;
    Slice seeds[4] = {{"insurance_fund", 14}, {&(*fund)->bump, 1}};
    return check_address(call, account, seeds, 4);
}

static Error load_market(const Call *call, const Account *account, Market **market) {
    REQUIRE(!is_vacant(account), ErrorAccountNotInitialized);
    TRY(check_type(call, account, ACCOUNT_MARKET, MARKET_SIZE));
    *market = (Market *)account->data;
    Slice seeds[5] = {{"market", 6}, {(*market)->symbol, sizeof (*market)->symbol}, {&(*market)->bump, 1}};
    return check_address(call, account, seeds, 5);
}

static Error load_position(const Call *call, const Account *account, Position **position) {
    REQUIRE(!is_vacant(account), ErrorPositionGone);
    TRY(check_type(call, account, ACCOUNT_POSITION, POSITION_SIZE));
    Position *p = (Position *)account->data;
    *position = p;
    Slice seeds[7] = {{"position", 8}, {&p->owner, 32}, {&p->market, 32}, {&p->id, 8}, {&p->bump, 1}};
    return check_address(call, account, seeds, 7);
}

/* A position was created for one existing market, so that its stored key makes a second address check needless. */
static Error load_position_market(const Call *call, const Account *account, const Position *position, Market **market) {
    REQUIRE(same_key(account->key, &position->market), ErrorWrongMarket);
    TRY(check_type(call, account, ACCOUNT_MARKET, MARKET_SIZE));
    *market = (Market *)account->data;
    return 0;
}
