"""The subscriptions of one WebSocket connection, without the socket."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import TypeVar

import msgspec
from solders.pubkey import Pubkey
from solders.signature import Signature

from liqctl.localnet.account import CLOSED
from liqctl.localnet.history import Landed
from liqctl.localnet.ledger import Commitment
from liqctl.localnet.rpc.accounts import AccountFilter, filter_of
from liqctl.localnet.rpc.answer import answer_with, encode, refused
from liqctl.localnet.rpc.encoding import AccountFormat, Encoding
from liqctl.localnet.rpc.errors import METHOD_NOT_FOUND, PARSE_ERROR, Refusal, invalid_params
from liqctl.localnet.rpc.params import (
    Params,
    as_list,
    as_pubkey,
    as_signature,
    context_of,
)
from liqctl.localnet.rpc.view import View
from liqctl.localnet.world import BankUpdate, SlotUpdate

_K = TypeVar("_K")
_V = TypeVar("_V")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Program:
    layout: AccountFormat
    accept: AccountFilter


@dataclass(frozen=True, slots=True, kw_only=True)
class _Logs:
    commitment: Commitment
    mentioned: Pubkey | None


class Session:
    """Takes requests and chain updates, and sends answers and notifications."""

    def __init__(self, view: View, send: Callable[[bytes], None]) -> None:
        self._view = view
        self._send = send
        self._ids = count(1)
        self._enders: dict[int, tuple[str, Callable[[], None]]] = {}
        self._after_reply: list[Callable[[], None]] = []
        self._accounts: dict[tuple[Commitment, Pubkey], dict[int, AccountFormat]] = {}
        self._programs: dict[tuple[Commitment, Pubkey], dict[int, _Program]] = {}
        self._signatures: dict[tuple[Commitment, Signature], dict[int, bool]] = {}
        self._logs: dict[int, _Logs] = {}
        self._slots: dict[int, None] = {}
        self._roots: dict[int, None] = {}
        self._root_slot = view.ledger.bank(Commitment.FINALIZED).slot
        self._methods: Mapping[str, Callable[[Params], object]] = {
            "accountSubscribe": self._account_subscribe,
            "programSubscribe": self._program_subscribe,
            "logsSubscribe": self._logs_subscribe,
            "signatureSubscribe": self._signature_subscribe,
            "slotSubscribe": lambda _: self._open("slot", self._slots, None),
            "rootSubscribe": lambda _: self._open("root", self._roots, None),
        }
        self._end_listening = view.listen(self._on_update)

    def receive(self, text: str | bytes) -> None:
        """Handle one message of the client; the answer is sent before any notification."""
        try:
            request = msgspec.json.decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self._send(encode(refused(None, Refusal(PARSE_ERROR, "Parse error"))))
            return
        reply = answer_with(request, self._call)
        if reply is not None:
            self._send(encode(reply))
        pending, self._after_reply = self._after_reply, []
        for step in pending:
            step()

    def close(self) -> None:
        """Stop listening to the chain."""
        self._end_listening()

    def _call(self, name: str, params: Params) -> object:
        if name.endswith("Unsubscribe"):
            return self._unsubscribe(name.removesuffix("Unsubscribe"), params)
        method = self._methods.get(name)
        if method is None:
            raise Refusal(METHOD_NOT_FOUND, "Method not found")
        return method(params)

    def _account_subscribe(self, params: Params) -> int:
        key, config = params.pubkey(0), params.config(1)
        layout = AccountFormat.of(config, Encoding.BINARY)
        return self._open_at("account", self._accounts, (config.commitment(), key), layout)

    def _program_subscribe(self, params: Params) -> int:
        key, config = params.pubkey(0), params.config(1)
        program = _Program(
            layout=AccountFormat.of(config, Encoding.BINARY), accept=filter_of(config)
        )
        return self._open_at("program", self._programs, (config.commitment(), key), program)

    def _logs_subscribe(self, params: Params) -> int:
        params.require(1)
        commitment = params.config(1).commitment()
        mentioned = _mentioned(params.value(0))
        return self._open("logs", self._logs, _Logs(commitment=commitment, mentioned=mentioned))

    def _signature_subscribe(self, params: Params) -> int:
        signature, config = as_signature(params.text(0)), params.config(1)
        commitment = config.commitment()
        wants_received = config.flag("enableReceivedNotification")
        place = (commitment, signature)
        identity = self._open_at("signature", self._signatures, place, wants_received)
        landed = self._view.history.find(signature)
        bank = self._view.ledger.bank(commitment)
        if landed is not None and landed.slot <= bank.slot:
            self._after_reply.append(lambda: self._signature_reached(place, landed, bank.slot))
        return identity

    def _open(self, kind: str, table: dict[int, _V], value: _V) -> int:
        identity = next(self._ids)
        table[identity] = value
        self._enders[identity] = (kind, lambda: _remove(table, identity))
        return identity

    def _open_at(self, kind: str, tables: dict[_K, dict[int, _V]], place: _K, value: _V) -> int:
        identity = next(self._ids)
        tables.setdefault(place, {})[identity] = value
        self._enders[identity] = (kind, lambda: _drop(tables, place, identity))
        return identity

    def _unsubscribe(self, kind: str, params: Params) -> bool:
        identity = params.number(0)
        if kind not in _KINDS:
            raise Refusal(METHOD_NOT_FOUND, "Method not found")
        known = self._enders.get(identity)
        if known is None or known[0] != kind:
            raise invalid_params("Invalid subscription id.")
        del self._enders[identity]
        known[1]()
        return True

    def _on_update(self, update: BankUpdate | SlotUpdate) -> None:
        if isinstance(update, SlotUpdate):
            self._on_slot(update)
            return
        by_program = any(level is update.commitment for level, _ in self._programs)
        for key in update.written:
            if by_program or (update.commitment, key) in self._accounts:
                self._on_written(update, key)
        for landed in update.landed:
            self._on_landed(update, landed)

    def _on_slot(self, update: SlotUpdate) -> None:
        for identity in self._slots:
            body = {"parent": update.parent_slot, "root": update.root_slot, "slot": update.slot}
            self._notify("slot", identity, body)
        if update.root_slot != self._root_slot:
            self._root_slot = update.root_slot
            for identity in self._roots:
                self._notify("root", identity, update.root_slot)

    def _on_written(self, update: BankUpdate, key: Pubkey) -> None:
        state = self._view.account_at(key, update.block)
        slot = update.block.slot
        for identity, layout in self._accounts.get((update.commitment, key), {}).items():
            self._notify_value("account", identity, slot, layout.render(state or CLOSED))
        if state is None:
            return
        for identity, program in self._programs.get((update.commitment, state.owner), {}).items():
            if program.accept(state.data):
                body = {"account": program.layout.render(state), "pubkey": str(key)}
                self._notify_value("program", identity, slot, body)

    def _on_landed(self, update: BankUpdate, landed: Landed) -> None:
        for identity, logs in self._logs.items():
            if logs.commitment is not update.commitment:
                continue
            if logs.mentioned is None or logs.mentioned in landed.keys.all:
                body = {
                    "err": landed.failure,
                    "logs": landed.execution.logs,
                    "signature": str(landed.signature),
                }
                self._notify_value("logs", identity, update.block.slot, body)
        if update.commitment is Commitment.PROCESSED:
            self._signature_received(landed)
        place = (update.commitment, landed.signature)
        self._signature_reached(place, landed, update.block.slot)

    def _signature_received(self, landed: Landed) -> None:
        for commitment in Commitment:
            waiting = self._signatures.get((commitment, landed.signature), {})
            for identity, wants_received in waiting.items():
                if wants_received:
                    self._notify_value("signature", identity, landed.slot, "receivedSignature")

    def _signature_reached(
        self, place: tuple[Commitment, Signature], landed: Landed, slot: int
    ) -> None:
        for identity in self._signatures.pop(place, {}):
            # A signature is reported once; the subscription ends by itself.
            del self._enders[identity]
            self._notify_value("signature", identity, slot, {"err": landed.failure})

    def _notify_value(self, kind: str, identity: int, slot: int, value: object) -> None:
        self._notify(kind, identity, {"context": context_of(slot), "value": value})

    def _notify(self, kind: str, identity: int, result: object) -> None:
        params = {"result": result, "subscription": identity}
        self._send(encode({"jsonrpc": "2.0", "method": f"{kind}Notification", "params": params}))


_KINDS: Sequence[str] = ("account", "program", "logs", "signature", "slot", "root")


def _remove(table: dict[int, _V], identity: int) -> None:
    del table[identity]


def _drop(tables: dict[_K, dict[int, _V]], place: _K, identity: int) -> None:
    table = tables.get(place, {})
    table.pop(identity, None)
    if not table:
        tables.pop(place, None)


def _mentioned(wanted: object) -> Pubkey | None:
    match wanted:
        case "all" | "allWithVotes":
            return None
        case {"mentions": listed}:
            texts = as_list(listed, "mentions")
            if len(texts) != 1 or not isinstance(texts[0], str):
                raise invalid_params("Invalid Request: Only 1 address supported")
            return as_pubkey(texts[0])
        case _:
            raise invalid_params(
                "Invalid params: expected `all`, `allWithVotes` or an object with `mentions`."
            )
