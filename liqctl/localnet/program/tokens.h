/* Tokens, new accounts and closed accounts: everything that calls the token and the system program. */
#pragma once
#include "runtime.h"

#define TOKEN_ACCOUNT_SIZE 165
#define MINT_SIZE 82
#define MINT_DECIMALS 6
#define RENT_OVERHEAD 128
#define ONE_AS_DOUBLE 0x3ff0000000000000ull

typedef struct TokenAccount { Pubkey mint; Pubkey owner; u64 amount; u8 delegate[36]; u8 state; } TokenAccount;
_Static_assert(offsetof(TokenAccount, state) == 108, "as the token program writes it");

/* A token account of `owner` in the mint of the fund; `mismatch` says whose it should have been. */
static Error check_token_account(const Account *account, const Pubkey *owner, const InsuranceFund *fund, Error mismatch) {
    REQUIRE(same_key(account->owner, &TOKEN_PROGRAM_ID), ErrorInvalidTokenAccount);
    REQUIRE(account->data_len == TOKEN_ACCOUNT_SIZE, ErrorInvalidTokenAccount);
    const TokenAccount *token = (const TokenAccount *)account->data;
    REQUIRE(token->state != 0, ErrorInvalidTokenAccount);
    REQUIRE(same_key(&token->owner, owner) && same_key(&token->mint, &fund->mint), mismatch);
    return 0;
}

static Error check_mint(const Account *mint) {
    REQUIRE(same_key(mint->owner, &TOKEN_PROGRAM_ID) && mint->data_len == MINT_SIZE, ErrorWrongMint);
    REQUIRE(mint->data[45] == 1 && mint->data[44] == MINT_DECIMALS, ErrorWrongMint);
    return 0;
}

typedef struct __attribute__((packed)) TransferData { u8 tag; u64 amount; } TransferData;

static Error transfer(const Account *from, const Account *to, const Account *authority, u64 amount, const Signer *signer) {
    if (amount == 0) return 0;
    TransferData data = {3, amount};
    AccountMeta metas[] = {{from->key, 1, 0}, {to->key, 1, 0}, {authority->key, 0, 1}};
    Account accounts[] = {*from, *to, *authority};
    Instruction instruction = {&TOKEN_PROGRAM_ID, metas, 3, &data, sizeof data};
    return sol_invoke_signed_c(&instruction, accounts, 3, signer, signer != 0);
}


static Error withdraw(const Account *vault, const Account *to, const Account *fund_account, u64 amount) {
    const InsuranceFund *fund = (const InsuranceFund *)fund_account->data;
    Slice seeds[] = {{"insurance_fund", 14}, {&fund->bump, 1}};
    Signer signer = {seeds, 2};
    return transfer(vault, to, fund_account, amount, &signer);
}

/* Lamports that exempt `size` bytes from rent. The threshold has only ever been 2.0 or 1.0. */
static Error rent_exempt_minimum(u64 size, u64 *lamports) {
    Rent rent;
    TRY(sol_get_rent_sysvar(&rent));
    u64 years = rent.exemption_threshold == ONE_AS_DOUBLE ? 1 : 2;
    *lamports = (RENT_OVERHEAD + size) * rent.lamports_per_byte_year * years;
    return 0;
}

typedef struct __attribute__((packed)) SystemTransfer { u32 tag; u64 lamports; } SystemTransfer;
typedef struct __attribute__((packed)) SystemAllocate { u32 tag; u64 size; } SystemAllocate;
typedef struct __attribute__((packed)) SystemAssign { u32 tag; Pubkey owner; } SystemAssign;

static Error pay_rent(const Account *payer, const Account *account, u64 size) {
    u64 needed;
    TRY(rent_exempt_minimum(size, &needed));
    if (*account->lamports >= needed) return 0;
    SystemTransfer data = {2, needed - *account->lamports};
    AccountMeta metas[] = {{payer->key, 1, 1}, {account->key, 1, 0}};
    Account accounts[] = {*payer, *account};
    Instruction instruction = {&SYSTEM_PROGRAM_ID, metas, 2, &data, sizeof data};
    return sol_invoke_signed_c(&instruction, accounts, 2, 0, 0);
}

/* `seeds` ends with a place for the bump, which creating fills in. */
typedef struct NewAccount {
    const Account *payer;
    Account *account;
    u64 size;
    const Pubkey *owner;
    const Slice *seeds;
    u64 seed_count;
    u8 *bump;
} NewAccount;

/* Create an account at the canonical address of its seeds. Three steps instead of the system program's
   `create_account`, which lamports sent to the address beforehand would make fail. */
static Error create_account(const Call *call, const NewAccount *new) {
    Pubkey address;
    u64 missing = sol_try_find_program_address(new->seeds, new->seed_count - 1, call->program_id, &address, new->bump);
    REQUIRE(!missing && same_key(new->account->key, &address), ErrorAccountWrongAddress);
    REQUIRE(is_vacant(new->account), ErrorAccountAlreadyInitialized);
    TRY(pay_rent(new->payer, new->account, new->size));
    Signer signer = {new->seeds, new->seed_count};
    SystemAllocate allocate = {8, new->size};
    SystemAssign assign = {1, *new->owner};
    AccountMeta meta = {new->account->key, 1, 1};
    Instruction instruction = {&SYSTEM_PROGRAM_ID, &meta, 1, &allocate, sizeof allocate};
    TRY(sol_invoke_signed_c(&instruction, new->account, 1, &signer, 1));
    instruction.data = &assign;
    instruction.data_len = sizeof assign;
    return sol_invoke_signed_c(&instruction, new->account, 1, &signer, 1);
}

typedef struct __attribute__((packed)) InitializeAccount { u8 tag; Pubkey owner; } InitializeAccount;

static Error initialize_token_account(const Account *account, const Account *mint, const Pubkey *owner) {
    InitializeAccount data = {18, *owner};
    AccountMeta metas[] = {{account->key, 1, 0}, {mint->key, 0, 0}};
    Account accounts[] = {*account, *mint};
    Instruction instruction = {&TOKEN_PROGRAM_ID, metas, 2, &data, sizeof data};
    return sol_invoke_signed_c(&instruction, accounts, 2, 0, 0);
}

/* Without length 0 and the system program as owner the address could not be used again. */
static Error close_account(Account *account, const Account *receiver) {
    TRY(add(receiver->lamports, *account->lamports));
    *account->lamports = 0;
    *(u64 *)(account->data - 8) = 0;
    account->data_len = 0;
    *account->owner = SYSTEM_PROGRAM_ID;
    return 0;
}
