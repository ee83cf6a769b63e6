"""What a subscription tells, and the wire form that it comes in."""

from dataclasses import dataclass

import msgspec

from liqctl.chain.base58 import is_address
from liqctl.chain.wire import AccountForm, InContext, KeyedAccountForm, Natural, account_of
from liqctl.core.account import Account
from liqctl.errors import RpcMalformed


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountNotice:
    """An account at a slot; None when it is gone. `received_ns` is monotonic."""

    address: str
    account: Account | None
    slot: int
    received_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotNotice:
    """The node has reached a slot: the heartbeat of the connection."""

    slot: int
    received_ns: int


@dataclass(frozen=True, slots=True)
class StreamUp:
    """Connected and subscribed: from now on changes arrive, so read everything once."""


@dataclass(frozen=True, slots=True)
class StreamDown:
    """The connection is gone; changes are missed until the next StreamUp."""

    reason: str


StreamItem = AccountNotice | SlotNotice | StreamUp | StreamDown


@dataclass(frozen=True, slots=True)
class Topic:
    """One subscription: the method that asks for it and what it is about."""

    method: str
    address: str = ""
    discriminator: bytes = b""


class ErrorForm(msgspec.Struct):
    """A refused subscription."""

    code: int
    message: str = ""


class ParamsForm(msgspec.Struct):
    """The body of a notification; its result is read once the topic is known."""

    subscription: int
    result: msgspec.Raw


class FrameForm(msgspec.Struct):
    """A frame: the answer to a request (`id`) or a notification (`params`)."""

    id: int | None = None
    result: object = None
    error: ErrorForm | None = None
    params: ParamsForm | None = None


class _SlotForm(msgspec.Struct):
    slot: Natural


FRAME = msgspec.json.Decoder(FrameForm)
_ACCOUNT = msgspec.json.Decoder(InContext[AccountForm | None])
_KEYED = msgspec.json.Decoder(InContext[KeyedAccountForm])
_SLOT = msgspec.json.Decoder(_SlotForm)


def notice_of(topic: Topic, raw: msgspec.Raw, received_ns: int) -> AccountNotice | SlotNotice:
    """Return what a notification of a topic says.

    Raises:
        RpcMalformed: it says something else.
    """
    try:
        return _notice(topic, raw, received_ns)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise RpcMalformed(f"a notification of {topic.method} has a wrong form") from error


def _notice(topic: Topic, raw: msgspec.Raw, received_ns: int) -> AccountNotice | SlotNotice:
    match topic.method:
        case "slotSubscribe":
            return SlotNotice(slot=_SLOT.decode(raw).slot, received_ns=received_ns)
        case "accountSubscribe":
            found = _ACCOUNT.decode(raw)
            address, form, slot = topic.address, found.value, found.context.slot
        case _:
            keyed = _KEYED.decode(raw)
            address, form = keyed.value.pubkey, keyed.value.account
            slot = keyed.context.slot
            if not is_address(address):
                raise RpcMalformed("a program notification names no address")
    gone = form is None or form.lamports == 0
    account = None if form is None or gone else account_of(address, form, slot)
    return AccountNotice(address=address, account=account, slot=slot, received_ns=received_ns)
