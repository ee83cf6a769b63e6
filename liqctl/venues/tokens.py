"""Associated token accounts: their addresses, and the instruction that makes sure of one."""

from solders.pubkey import Pubkey

from liqctl.core.instruction import AccountMeta, Instruction

SYSTEM_PROGRAM = "11111111111111111111111111111111"
TOKEN_PROGRAM = "TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA"  # noqa: S105 - a program's address
ASSOCIATED_TOKEN_PROGRAM = "ATokenGPvbdGVxr1b2hvZbsiqW5xWH25efTNsLJA8knL"  # noqa: S105 - the same

_CREATE_IDEMPOTENT = b"\x01"


def associated_token_account(owner: str, mint: str, token_program: str = TOKEN_PROGRAM) -> str:
    """Return the address of an owner's associated token account for a mint."""
    seeds = [bytes(Pubkey.from_string(one)) for one in (owner, token_program, mint)]
    program = Pubkey.from_string(ASSOCIATED_TOKEN_PROGRAM)
    return str(Pubkey.find_program_address(seeds, program)[0])


def create_token_account(
    payer: str, owner: str, mint: str, token_program: str = TOKEN_PROGRAM
) -> Instruction:
    """Return the call that creates an owner's associated token account unless it exists."""
    return Instruction(
        program=ASSOCIATED_TOKEN_PROGRAM,
        accounts=(
            AccountMeta(payer, signer=True, writable=True),
            AccountMeta(associated_token_account(owner, mint, token_program), writable=True),
            AccountMeta(owner),
            AccountMeta(mint),
            AccountMeta(SYSTEM_PROGRAM),
            AccountMeta(token_program),
        ),
        data=_CREATE_IDEMPOTENT,
    )
