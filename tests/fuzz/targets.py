"""Everything that reads what others wrote: a valid input for each, how it is spoiled and judged."""

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from liqctl.chain.client import Chain
from liqctl.chain.notice import FRAME, AccountNotice, SlotNotice, notice_of
from liqctl.chain.send_answer import SendAnswer, classify_send_error
from liqctl.chain.wallet import KeySigner, _from_json
from liqctl.core.account import Account, Gone, Seen, Undecodable
from liqctl.core.health import Assessment
from liqctl.core.instruction import Instruction, Plan
from liqctl.core.insurance import InsuranceState
from liqctl.core.intent import IntentRequest
from liqctl.core.position import Market, Position
from liqctl.core.price import PriceReading, PriceRules, confidence_bps, from_future, refusal
from liqctl.errors import (
    LayoutError,
    LiqctlError,
    RpcError,
    RpcMalformed,
    RpcRefused,
    SettingsError,
)
from liqctl.oracle.price_update import RECEIVER_CLASSIC, decode_price
from liqctl.venues.idl import Idl
from liqctl.venues.logs import logged_by
from liqctl.venues.reference import ProgramAssessment, ReferenceVenue
from liqctl.venues.reference_layout import REFERENCE_IDL
from tests.chain.scripted import ADDRESSES
from tests.fuzz import samples
from tests.fuzz.mutate import json_value, spoiled_bytes, spoiled_json, spoiled_text, word
from tests.fuzz.soundness import driven, expect, sound
from tests.venues.program_cases import NOW

Chance = random.Random
_DECODED = (Position, Market, PriceReading, InsuranceState, Undecodable, Gone)
_VENUE = ReferenceVenue(str(REFERENCE_IDL.address))


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One decoder: `attempt` spoils an input and decodes it; only `allowed` may be raised."""

    name: str
    attempt: Callable[[Chance], object]
    allowed: tuple[type[BaseException], ...] = ()
    weight: int = 10


def _spoiled_account(valid: Account, chance: Chance) -> Account:
    changes: dict[str, Any] = {"data": spoiled_bytes(valid.data, chance)}
    if chance.random() < 0.05:
        changes["owner"] = chance.choice([*ADDRESSES, "", "\0"])
    return replace(valid, **changes)


def account(chance: Chance) -> None:
    """Every kind of account of the program."""
    valid = chance.choice(samples.accounts(chance.randrange(samples.CASES)))
    expect(_VENUE.decode(_spoiled_account(valid, chance)), *_DECODED)


def verdict(chance: Chance) -> None:
    """Whatever was decoded, the venue has an answer to it."""
    found = samples.accounts(chance.randrange(samples.CASES))
    at = chance.randrange(len(found))
    view: dict[str, Seen] = {}
    for number, valid in enumerate(found):
        seen = _spoiled_account(valid, chance) if number == at else valid
        read = decode_price if number == samples.PRICE_AT else _VENUE.decode
        view[valid.address] = Seen(address=valid.address, slot=1, value=read(seen))
    position = view[found[0].address].value
    market = view[found[1].address].value
    now_s = chance.choice((NOW, NOW + 61, 0, -1, 2**63 - 1))
    if isinstance(market, Market):
        expect(_VENUE.mark_price(market, view, now_s), int, str)
    if not isinstance(position, Position):
        return
    expect(_VENUE.assess(position, view, now_s), Assessment)
    expect(_VENUE.dependencies(position, view), tuple)
    expect(_VENUE.symbol(position, view), str)
    expect(_VENUE.bound_price_e6(position, view), int, type(None))
    expect(_VENUE.liquidation_price_e6(position, view), int, type(None))
    expect(_VENUE.confirmation(position, view), Instruction, type(None))
    if chance.random() < 0.2:
        expect(_VENUE.plan(position, view, ADDRESSES[0], max_size=word(chance)), Plan)


def price_update(chance: Chance) -> None:
    """A price account, and what the rules say about the price in it."""
    valid = samples.accounts(chance.randrange(samples.CASES))[samples.PRICE_AT]
    found = decode_price(_spoiled_account(valid, chance))
    expect(found, PriceReading, Undecodable)
    if isinstance(found, PriceReading):
        rules = PriceRules(
            owner=RECEIVER_CLASSIC,
            feed_id=found.feed_id,
            age_s_max=word(chance),
            confidence_bps_max=word(chance),
        )
        expect(refusal(found, rules, NOW), str, type(None))
        expect(from_future(found, NOW), bool)
        expect(confidence_bps(found), int)


class _Told:
    """An endpoint that answers with what it was given."""

    def __init__(self, answer: object) -> None:
        self.answer = answer

    async def call(self, method: str, params: object) -> object:
        return self.answer


def chain_method(name: str) -> Callable[[Chance], None]:
    """Return a target that lets one method of Chain read spoiled answers."""
    valid, call = samples.CALLS[name]

    def attempt(chance: Chance) -> None:
        answer = json_value(chance) if chance.random() < 0.1 else spoiled_json(valid, chance)
        while chance.random() < 0.3:
            answer = spoiled_json(answer, chance)
        sound(driven(call(Chain(_Told(_arrived(answer))))))

    return attempt


def _arrived(answer: object) -> object:
    """Return the answer as it comes out of JSON.

    Raises:
        RpcMalformed: it is none there, NaN for instance; see the target `envelope`.
    """
    try:
        return msgspec.json.decode(json.dumps(answer))
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise RpcMalformed from error


def envelope(chance: Chance) -> None:
    """The body of an HTTP answer."""
    valid = chance.choice(samples.ENVELOPES)
    body = spoiled_bytes(valid, chance) if chance.random() < 0.6 else _text(valid, chance)
    if chance.random() < 0.5:
        samples.rpc()._result("getSlot", 7, body)
    else:
        retry_after = chance.choice(
            [None, "5", "-1", "9" * 12, "Wed, 21 Oct 2026 07:28:00 GMT", "x"]
        )
        raise samples.rpc()._http_refusal("getSlot", chance.choice((429, 503)), retry_after, body)


def _text(valid: bytes, chance: Chance) -> bytes:
    return json.dumps(spoiled_json(json.loads(valid), chance)).encode("utf-8", "surrogatepass")


def notice(chance: Chance) -> None:
    """A WebSocket frame, read as the stream reads it."""
    valid, topic = chance.choice(samples.NOTICES)
    frame = spoiled_bytes(valid, chance) if chance.random() < 0.5 else _text(valid, chance)
    try:
        form = FRAME.decode(frame)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return
    if form.params is not None:
        expect(notice_of(topic, form.params.result, 1), AccountNotice, SlotNotice)


def idl(chance: Chance) -> None:
    """An IDL in either format, and all that can be asked of it."""
    raw = spoiled_json(chance.choice(samples.idls()), chance)
    found = Idl(raw)
    for name in (*found._types, *found._accounts):
        sound(list(found.type_layout(name).read(bytes(found.type_layout(name).size)).values())[:0])
    for name in found._accounts:
        expect(found.account_discriminator(name), bytes)
    for name in found._instructions:
        found._call(name)


def effects(chance: Chance) -> None:
    """Log lines of a transaction."""
    logs = list(chance.choice(samples.LOGS))
    for _ in range(chance.choice((1, 1, 2, 4))):
        at = chance.randrange(len(logs))
        match chance.randrange(4):
            case 0:
                del logs[at]
                logs = logs or [""]
            case 1:
                logs.insert(at, chance.choice(logs))
            case _:
                logs[at] = spoiled_text(logs[at], chance)
    found = _VENUE.effects(logs)
    expect(found, dict, type(None))
    for blob in logged_by(_VENUE.program_id, logs):
        expect(blob, bytes)


def assessment(chance: Chance) -> None:
    """What the program returned."""
    expect(_VENUE.decode_assessment(spoiled_bytes(bytes(58), chance)), ProgramAssessment)


def send_answer(chance: Chance) -> None:
    """The answer to a send."""
    code = chance.choice((-32002, -32002, -32002, -32003, -32602, -32005, 429, 0))
    try:
        detail = _arrived(spoiled_json(chance.choice(samples.PREFLIGHTS), chance))
    except RpcMalformed:
        detail = None
    expect(classify_send_error(RpcRefused("no", code=code, detail=detail)), SendAnswer)


def key_file(chance: Chance) -> None:
    """The content of a key file."""
    content = (
        spoiled_bytes(samples.KEY, chance) if chance.random() < 0.7 else _text(samples.KEY, chance)
    )
    expect(_from_json(content, "the file"), KeySigner)


def settings_file(chance: Chance) -> None:
    """Settings as text: ours, Solana's, an environment file, or values alone."""
    samples.settings(chance)


def snapshot(chance: Chance) -> None:
    """What an intent remembers of its decision, read back from the database."""
    from liqctl.keeper.rows import liquidate_index_of, liquidation_row

    text = json.dumps(spoiled_json(samples.SNAPSHOT, chance))
    request = IntentRequest(
        venue="reference",
        program="program",
        position="position",
        generation=1,
        decision_slot=1,
        snapshot_json=spoiled_text(text, chance) if chance.random() < 0.3 else text,
    )
    expect(liquidate_index_of(request), int)
    row = liquidation_row(samples.ATTEMPT, request, None, None, now_ms=1, latency_us=None)
    sound(row)


def _targets() -> Iterator[Target]:
    layout, rpc = (LayoutError,), (RpcError,)
    yield Target(name="account", attempt=account, weight=50)
    yield Target(name="verdict", attempt=verdict, allowed=layout, weight=8)
    yield Target(name="price_update", attempt=price_update, weight=30)
    for name in samples.CALLS:
        yield Target(name=name, attempt=chain_method(name), allowed=rpc, weight=10)
    yield Target(name="envelope", attempt=envelope, allowed=rpc, weight=20)
    yield Target(name="notice", attempt=notice, allowed=rpc, weight=30)
    yield Target(name="idl", attempt=idl, allowed=layout, weight=1)
    yield Target(name="effects", attempt=effects, weight=20)
    yield Target(name="assessment", attempt=assessment, allowed=layout, weight=5)
    yield Target(name="send_answer", attempt=send_answer, weight=20)
    yield Target(name="key_file", attempt=key_file, allowed=(SettingsError,), weight=5)
    yield Target(name="settings", attempt=settings_file, allowed=(SettingsError,), weight=1)
    yield Target(name="snapshot", attempt=snapshot, allowed=(LiqctlError,), weight=10)


TARGETS = {target.name: target for target in _targets()}
# Decoders that still let other errors out; they are left out of the counted runs.
RAISING: dict[str, str] = {}
