"""JSON of an RPC node to values: every type, length and range is checked here."""

import binascii
from typing import Annotated, Generic, Literal, TypeVar

import msgspec

from liqctl.chain.answers import Commitment, EntryFault, RefusedEntry, ReturnData, Status
from liqctl.chain.base58 import is_address
from liqctl.chain.text import one_line
from liqctl.core.account import Account
from liqctl.core.instruction import Failure
from liqctl.errors import RpcMalformed

T = TypeVar("T")
Natural = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Base64Pair = tuple[str, Literal["base64"]]
_ERROR_NAME_LENGTH_MAX = 80


class Context(msgspec.Struct):
    """The bank that an answer comes from."""

    slot: Natural


class InContext(msgspec.Struct, Generic[T]):
    """An answer with its bank."""

    context: Context
    value: T


class AccountForm(msgspec.Struct):
    """An account with base64 bytes."""

    owner: str
    lamports: Natural
    data: Base64Pair
    executable: bool = False


class KeyedAccountForm(msgspec.Struct):
    """An account with its address, as a snapshot or a program subscription lists it."""

    pubkey: str
    account: AccountForm


class BlockhashForm(msgspec.Struct, rename="camel"):
    """The value of getLatestBlockhash."""

    blockhash: str
    last_valid_block_height: Natural


class EpochForm(msgspec.Struct, rename="camel"):
    """The result of getEpochInfo."""

    absolute_slot: Natural
    block_height: Natural


class StatusForm(msgspec.Struct, rename="camel"):
    """One entry of getSignatureStatuses."""

    slot: Natural
    confirmation_status: Commitment
    err: object = None


class HistoryForm(msgspec.Struct, rename="camel"):
    """One entry of getSignaturesForAddress."""

    signature: str
    slot: Natural
    err: object = None
    block_time: int | None = None


class ReturnDataForm(msgspec.Struct, rename="camel"):
    """What a program returned."""

    program_id: str
    data: Base64Pair


class SimulationForm(msgspec.Struct, rename="camel"):
    """The value of simulateTransaction."""

    err: object = None
    logs: list[str] | None = None
    units_consumed: Natural | None = None
    return_data: ReturnDataForm | None = None
    accounts: list[AccountForm | None] | None = None


class PreflightForm(msgspec.Struct, rename="camel"):
    """The `data` member of a refused send."""

    err: object = None
    logs: list[str] | None = None


class MetaForm(msgspec.Struct, rename="camel"):
    """What the ledger says about a landed transaction."""

    fee: Natural
    err: object = None
    log_messages: list[str] | None = None
    compute_units_consumed: Natural | None = None
    pre_balances: list[Natural] = msgspec.field(default_factory=list)
    post_balances: list[Natural] = msgspec.field(default_factory=list)


class LandedForm(msgspec.Struct, rename="camel"):
    """The result of getTransaction in base64."""

    slot: Natural
    transaction: Base64Pair
    meta: MetaForm | None = None
    block_time: int | None = None


class PriorityFeeForm(msgspec.Struct, rename="camel"):
    """One entry of getRecentPrioritizationFees."""

    slot: Natural
    prioritization_fee: Natural


def parsed(result: object, form: type[T], method: str) -> T:
    """Return a result in the form that the method promises.

    Raises:
        RpcMalformed: it has another form; the message says where.
    """
    try:
        return msgspec.convert(result, form)
    except (msgspec.ValidationError, RecursionError) as error:
        raise RpcMalformed(
            f"the node answered {method} in a wrong form: {one_line(str(error))}"
        ) from error


def natural_of(result: object, method: str) -> int:
    """Return a result that is one number, a slot for instance.

    Raises:
        RpcMalformed: it is none, or out of range.
    """
    if type(result) is not int or not 0 <= result < 2**63:
        raise RpcMalformed(f"the node answered {method} with something else than a number")
    return result


def bytes_of(pair: Base64Pair) -> bytes:
    """Return base64 bytes.

    Raises:
        RpcMalformed: not strictly base64.
    """
    try:
        return binascii.a2b_base64(pair[0], strict_mode=True)
    except ValueError as error:
        raise RpcMalformed("the node sent bytes that are not base64") from error


def account_of(address: str, form: AccountForm, slot: int) -> Account:
    """Return an account value.

    Raises:
        RpcMalformed: the owner is no address, or the bytes are not base64.
    """
    if not is_address(form.owner):
        raise RpcMalformed("the node named an owner that is no address")
    return Account(
        address=address,
        owner=form.owner,
        lamports=form.lamports,
        data=bytes_of(form.data),
        slot=slot,
        executable=form.executable,
    )


def snapshot_entry(
    entry: object, program_id: str, discriminator: bytes, slot: int
) -> Account | RefusedEntry:
    """Return one entry of a snapshot as an account of the program, or why it is none."""
    address = _address_in(entry)
    try:
        form = parsed(entry, KeyedAccountForm, "getProgramAccounts")
        account = account_of(form.pubkey, form.account, slot)
    except RpcMalformed:
        return RefusedEntry(address=address, fault=EntryFault.MALFORMED)
    if address is None:
        return RefusedEntry(address=None, fault=EntryFault.MALFORMED)
    if account.owner != program_id:
        return RefusedEntry(address=address, fault=EntryFault.WRONG_OWNER)
    if not account.data.startswith(discriminator):
        return RefusedEntry(address=address, fault=EntryFault.WRONG_DISCRIMINATOR)
    return account


def _address_in(entry: object) -> str | None:
    found = entry.get("pubkey") if isinstance(entry, dict) else None
    return found if isinstance(found, str) and is_address(found) else None


def failure_of(err: object, logs: tuple[str, ...] = ()) -> Failure | None:
    """Return a transaction error of a node as a Failure; None is success.

    Raises:
        RpcMalformed: not one of the forms that an error has.

    >>> failure_of({"InstructionError": [2, {"Custom": 6003}]})
    Failure(instruction=2, code=6003, name='Custom', logs=())
    >>> failure_of("BlockhashNotFound")
    Failure(instruction=None, code=None, name='BlockhashNotFound', logs=())
    """
    match err:
        case None:
            return None
        case {"InstructionError": [int(index), inner]} if type(index) is int and index >= 0:
            name, code = _instruction_error(inner)
            return Failure(instruction=index, code=code, name=name, logs=logs)
        case {"InstructionError": _}:
            raise RpcMalformed("the node sent an instruction error in a wrong form")
        case _:
            return Failure(instruction=None, code=None, name=_error_name(err), logs=logs)


def _instruction_error(inner: object) -> tuple[str, int | None]:
    match inner:
        case {"Custom": code, **rest} if not rest:
            if type(code) is not int or not 0 <= code < 2**32:
                raise RpcMalformed("the node sent a custom error code that is no 32-bit number")
            return "Custom", code
        case _:
            return _error_name(inner), None


def _error_name(err: object) -> str:
    """Return the name of an error: a word, or the only key of an object with its details."""
    name = next(iter(err)) if isinstance(err, dict) and len(err) == 1 else err
    if not isinstance(name, str) or not name.isidentifier() or not name.isascii():
        raise RpcMalformed("the node sent a transaction error in a wrong form")
    if len(name) > _ERROR_NAME_LENGTH_MAX:
        raise RpcMalformed("the node sent a transaction error with an endless name")
    return name


def status_of(form: StatusForm) -> Status:
    """Return a status.

    Raises:
        RpcMalformed: the error has a wrong form.
    """
    return Status(slot=form.slot, level=form.confirmation_status, failure=failure_of(form.err))


def return_data_of(form: ReturnDataForm | None) -> ReturnData | None:
    """Return what a program returned.

    Raises:
        RpcMalformed: the program is no address, or the bytes are not base64.
    """
    if form is None:
        return None
    if not is_address(form.program_id):
        raise RpcMalformed("the node named a returning program that is no address")
    return ReturnData(program=form.program_id, data=bytes_of(form.data))
