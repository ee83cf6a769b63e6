/* Integer types, keys, and the accounts of a call as the VM and its system calls know them. */
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef signed int i32;
typedef signed long long i64;

#define offsetof(type, field) __builtin_offsetof(type, field)
#define I64_MAX 0x7fffffffffffffffll
#define U64_MAX 0xffffffffffffffffull

typedef struct Pubkey { u64 words[4]; } Pubkey;

/* What an instruction asks of one account; the table of each instruction is generated from the IDL. */
enum { SIGNER = 1, WRITABLE = 2, TOKEN_PROGRAM = 4, SYSTEM_PROGRAM = 8 };

typedef struct ErrorLine { const char *text; u64 length; } ErrorLine;

/* The layout is the one sol_invoke_signed_c reads and updates. */
typedef struct Account {
    Pubkey *key;
    u64 *lamports;
    u64 data_len;
    u8 *data;
    Pubkey *owner;
    u64 rent_epoch;
    u8 is_signer;
    u8 is_writable;
    u8 executable;
} Account;

#define MAX_ACCOUNTS 10

typedef struct Call {
    Account accounts[MAX_ACCOUNTS];
    u64 account_count;
    const u8 *data;
    u64 data_len;
    const u8 *args;
    const Pubkey *program_id;
} Call;

/* Aligned for its type: the VM aligns the data of a call, and the IDL orders the arguments by size. */
#define ARG(type, call, offset) (*(const type *)((call)->args + (offset)))

/* 0 is success; everything else is a code of the IDL and ends the instruction. */
typedef u64 Error;
#define TRY(expression) do { Error error_ = (expression); if (error_) return error_; } while (0)
#define REQUIRE(condition, error) do { if (!(condition)) return (error); } while (0)
