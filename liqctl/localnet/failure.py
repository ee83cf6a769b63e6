"""Transaction errors in the two forms a node gives them: JSON value and English text."""

from collections.abc import Mapping
from types import MappingProxyType

from solders.transaction_status import (
    InstructionErrorBorshIO,
    InstructionErrorCustom,
    TransactionErrorDuplicateInstruction,
    TransactionErrorInstructionError,
    TransactionErrorInsufficientFundsForRent,
    TransactionErrorProgramExecutionTemporarilyRestricted,
)

_INSTRUCTION_TEXTS: Mapping[str, str] = MappingProxyType(
    {
        "GenericError": "generic instruction error",
        "InvalidArgument": "invalid program argument",
        "InvalidInstructionData": "invalid instruction data",
        "InvalidAccountData": "invalid account data for instruction",
        "AccountDataTooSmall": "account data too small for instruction",
        "InsufficientFunds": "insufficient funds for instruction",
        "IncorrectProgramId": "incorrect program id for instruction",
        "MissingRequiredSignature": "missing required signature for instruction",
        "AccountAlreadyInitialized": "instruction requires an uninitialized account",
        "UninitializedAccount": "instruction requires an initialized account",
        "UnbalancedInstruction": "sum of account balances before and after instruction do not match",
        "ModifiedProgramId": "instruction illegally modified the program id of an account",
        "ExternalAccountLamportSpend": "instruction spent from the balance of an account it does not own",
        "ExternalAccountDataModified": "instruction modified data of an account it does not own",
        "ReadonlyLamportChange": "instruction changed the balance of a read-only account",
        "ReadonlyDataModified": "instruction modified data of a read-only account",
        "NotEnoughAccountKeys": "insufficient account keys for instruction",
        "AccountNotExecutable": "instruction expected an executable account",
        "AccountBorrowFailed": "instruction tries to borrow reference for an account which is already borrowed",
        "InvalidError": "program returned invalid error code",
        "UnsupportedProgramId": "Unsupported program id",
        "CallDepth": "Cross-program invocation call depth too deep",
        "MissingAccount": "An account required by the instruction is missing",
        "ReentrancyNotAllowed": "Cross-program invocation reentrancy not allowed for this instruction",
        "MaxSeedLengthExceeded": "Length of the seed is too long for address generation",
        "InvalidSeeds": "Provided seeds do not result in a valid address",
        "InvalidRealloc": "Failed to reallocate account data",
        "ComputationalBudgetExceeded": "Computational budget exceeded",
        "PrivilegeEscalation": "Cross-program invocation with unauthorized signer or writable account",
        "ProgramFailedToComplete": "Program failed to complete",
        "Immutable": "Account is immutable",
        "IncorrectAuthority": "Incorrect authority provided",
        "AccountNotRentExempt": "An account does not have enough lamports to be rent-exempt",
        "InvalidAccountOwner": "Invalid account owner",
        "ArithmeticOverflow": "Program arithmetic overflowed",
        "UnsupportedSysvar": "Unsupported sysvar",
        "IllegalOwner": "Provided owner is not allowed",
    }
)

_TRANSACTION_TEXTS: Mapping[str, str] = MappingProxyType(
    {
        "AccountInUse": "Account in use",
        "AccountLoadedTwice": "Account loaded twice",
        "AccountNotFound": "Attempt to debit an account but found no record of a prior credit.",
        "ProgramAccountNotFound": "Attempt to load a program that does not exist",
        "InsufficientFundsForFee": "Insufficient funds for fee",
        "InvalidAccountForFee": "This account may not be used to pay transaction fees",
        "AlreadyProcessed": "This transaction has already been processed",
        "BlockhashNotFound": "Blockhash not found",
        "InvalidProgramForExecution": "This program may not be used for executing instructions",
        "SanitizeFailure": "Transaction failed to sanitize accounts offsets correctly",
        "SignatureFailure": "Transaction did not pass signature verification",
        "UnsupportedVersion": "Transaction version is unsupported",
        "TooManyAccountLocks": "Transaction locked too many accounts",
        "AddressLookupTableNotFound": "Transaction loads an address table account that doesn't exist",
        "InvalidAddressLookupTableOwner": "Transaction loads an address table account with an invalid owner",
        "InvalidAddressLookupTableData": "Transaction loads an address table account with invalid data",
        "InvalidAddressLookupTableIndex": "Transaction address table lookup uses an invalid index",
        "MaxLoadedAccountsDataSizeExceeded": "Transaction exceeded max loaded accounts data size cap",
    }
)


def failure_json(err: object) -> object:
    """Return a VM error as a node writes it: a name, or an object with one key."""
    match err:
        case TransactionErrorInstructionError():
            return {"InstructionError": [err.index, _instruction_json(err.err)]}
        case TransactionErrorInsufficientFundsForRent():
            return {"InsufficientFundsForRent": {"account_index": err.account_index}}
        case TransactionErrorProgramExecutionTemporarilyRestricted():
            return {
                "ProgramExecutionTemporarilyRestricted": {"account_index": err.account_index},
            }
        case TransactionErrorDuplicateInstruction():
            return {"DuplicateInstruction": err.index}
        case _:
            return _variant(err)


def failure_text(failure: object) -> str:
    """Return the English text a node shows for an error value of `failure_json`."""
    match failure:
        case str():
            return _TRANSACTION_TEXTS.get(failure, failure)
        case {"InstructionError": [index, inner]}:
            return f"Error processing Instruction {index}: {_instruction_text(inner)}"
        case {"InsufficientFundsForRent": {"account_index": index}}:
            return f"Transaction results in an account ({index}) with insufficient funds for rent"
        case {"DuplicateInstruction": index}:
            return f"Transaction contains a duplicate instruction ({index}) that is not allowed"
        case _:
            return str(failure)


def _instruction_json(err: object) -> object:
    if isinstance(err, InstructionErrorCustom):
        return {"Custom": err.code}
    if isinstance(err, InstructionErrorBorshIO):
        return {"BorshIoError": err.value}
    return _variant(err)


def _instruction_text(inner: object) -> str:
    match inner:
        case {"Custom": int(code)}:
            return f"custom program error: {code:#x}"
        case {"BorshIoError": text}:
            return f"Failed to serialize or deserialize account data: {text}"
        case _:
            return _INSTRUCTION_TEXTS.get(str(inner), str(inner))


def _variant(err: object) -> str:
    # The enums print as `TransactionErrorFieldless.AlreadyProcessed`.
    return str(err).rpartition(".")[2]
