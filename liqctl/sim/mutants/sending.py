"""Mutants of sending: what is signed, sent, believed of an answer, and taken up after a restart."""

from contextlib import suppress
from dataclasses import replace

from solders.hash import Hash
from solders.message import MessageV0, to_bytes_versioned

from liqctl.chain.answers import Blockhash
from liqctl.chain.send_answer import SendKind
from liqctl.core import sending
from liqctl.core.intent import Attempt, AttemptState
from liqctl.core.sending import Sending, Stepped
from liqctl.core.sending_events import Answered, LedgerRead, Looked, Proven
from liqctl.errors import RpcError
from liqctl.keeper.gate import Gate
from liqctl.keeper.live import Live
from liqctl.keeper.settle import Settler
from liqctl.keeper.storage import StoreThread
from liqctl.sim.mutants.expiry import LATE, SLOWLY, believed, silence_is_expiry
from liqctl.sim.mutants.layers import ONE_LIVE, Part, all_of, asked, closes_little, schema
from liqctl.sim.mutants.registry import Mutant, Patch, Patches
from liqctl.sim.mutants.worlds import world
from liqctl.sim.swarm import ClusterFaults, NodeFaults, OwnFaults
from liqctl.store import columns

SIGNATURE_END = 65
SIGNED_ANEW = 3
LOOKS = 8
LOOK_S = 0.5
REPRICED_AFTER_MS = 3_000
FOLLOWED_MS = 60_000


def with_hash(message: bytes, blockhash: Blockhash) -> bytes:
    """Return a message with another blockhash."""
    old = MessageV0.from_bytes(message[1:])
    new = MessageV0(
        old.header,
        old.account_keys,
        Hash.from_string(blockhash.hash),
        old.instructions,
        old.address_table_lookups,
    )
    return to_bytes_versioned(new)


async def _anew(gate: Gate, attempt: Attempt) -> Attempt:
    """Return an attempt with a fresh blockhash, signed."""
    blockhash = await gate.chain.latest_blockhash()
    raw, signature = await gate.sign(with_hash(attempt.raw[SIGNATURE_END:], blockhash))
    return replace(
        attempt,
        raw=raw,
        signature=signature,
        blockhash=blockhash.hash,
        last_valid_block_height=blockhash.last_valid_block_height,
        min_context_slot=blockhash.context_slot,
    )


async def _sent(gate: Gate, raw: bytes) -> None:
    with suppress(RpcError):
        await gate.chain.send(raw, first=True, min_context_slot=0)


def _send_then_sign_anew(patches: Patches) -> None:
    async def sign(self: Gate, message: bytes) -> Part:
        signed = await before(self, message)
        for number in range(SIGNED_ANEW):
            if number:
                with suppress(RpcError):
                    blockhash = await self.chain.latest_blockhash()
                    signed = await before(self, with_hash(message, blockhash))
            await _sent(self, signed[0])
            if await _shows(self, signed[1]):
                break
        return signed

    async def _shows(gate: Gate, signature: str) -> bool:
        for _ in range(LOOKS):
            await gate._clock.sleep(LOOK_S)  # noqa: SLF001 - the gate is a stand-in here
            with suppress(RpcError):
                answer = await gate.chain.statuses([signature])
                if answer.statuses[0] is not None:
                    return True
        return False

    before = patches.set(Gate, "sign", sign)


def _send_then_record(patches: Patches) -> None:
    async def sign(self: Gate, message: bytes) -> tuple[bytes, str]:
        signed: tuple[bytes, str] = await before(self, message)
        await _sent(self, signed[0])
        return signed

    before = patches.set(Gate, "sign", sign)


def _final_from(*levels: str) -> Patch:
    """Take these levels for finalized, with or without what the ledger tells."""

    def patch(patches: Patches) -> None:
        def looked(state: Sending, attempt: Attempt, look: Looked) -> Stepped:
            final = look.level in levels
            stepped: Stepped = before(
                state, attempt, replace(look, level="finalized") if final else look
            )
            return stepped

        def read(state: Sending, event: LedgerRead) -> Stepped:
            stepped: Stepped = told(state, replace(event, told=True))
            return stepped

        before = patches.set(sending, "_looked", looked)
        told = patches.set(sending, "_ledger_read", read)

    return patch


def _hash_unknown_is_expiry(patches: Patches) -> None:
    _answer_ends(patches, frozenset({SendKind.UNKNOWN_BLOCKHASH}))


def _refused_is_failure(patches: Patches) -> None:
    kinds = frozenset(
        {SendKind.SEEN_ALREADY, SendKind.HOPELESS, SendKind.BROKE, SendKind.UNKNOWN_BLOCKHASH}
    )
    _answer_ends(patches, kinds)


def _answer_ends(patches: Patches, kinds: frozenset[SendKind]) -> None:
    """Let these answers to a send end the attempt as one that never lands."""

    async def send(self: Part, raw: bytes, **more: Part) -> Part:
        answer = await sent(self, raw, **more)
        answers[raw] = answer.kind
        return answer

    async def perform(self: Part, live: Live, effect: Part) -> Part:
        event = await before(self, live, effect)
        if not isinstance(event, Answered) or answers.get(live.attempt.raw) not in kinds:
            return event
        live.proof = await believed(self._chain, live.attempt)
        return Proven(slot=live.proof.slot)

    answers: dict[bytes, SendKind] = {}
    sent = patches.set(Gate, "send", send)
    before = patches.set(Settler, "_perform", perform)


def _rebuilt_after_restart(patches: Patches) -> None:
    async def recover(self: Part) -> int:
        known = set(self._live)
        taken: int = await before(self)
        for signature, live in self._live.items():
            if signature not in known and self._gate is not None:
                with suppress(RpcError):
                    raw = (await _anew(self._gate, live.attempt)).raw
                    live.state = replace(live.state, attempt=replace(live.attempt, raw=raw))
        return taken

    before = patches.set(Settler, "recover", recover)


def _signed_forgotten(patches: Patches) -> None:
    async def run(self: Part, call: Part, *parts: Part, **more: Part) -> Part:
        found = await before(self, call, *parts, **more)
        if getattr(call, "__name__", "") != "live_attempts":
            return found
        return [each for each in found if each.state is not AttemptState.SIGNED]

    before = patches.set(StoreThread, "run", run)


def _seen_for_ever(patches: Patches) -> None:
    def looked(state: Sending, attempt: Attempt, look: Looked) -> Stepped:
        if look.level is None and attempt.state is AttemptState.SEEN:
            return state, ()
        stepped: Stepped = before(state, attempt, look)
        return stepped

    before = patches.set(sending, "_looked", looked)


def _followed_for_a_minute(patches: Patches) -> None:
    async def follow(self: Part, live: Live, *look: Part) -> None:
        if self._clock.unix_ms() - live.attempt.signed_ms < FOLLOWED_MS:
            await before(self, live, *look)

    before = patches.set(Settler, "_follow", follow)


def _without_retries(params: list[Part]) -> list[Part]:
    return [params[0], {name: it for name, it in params[1].items() if name != "maxRetries"}]


def _signed_beside(patches: Patches) -> None:
    """Sign a second attempt beside one that is not seen after three seconds."""

    async def follow(self: Part, live: Live, status: Part, height: int) -> None:
        await before(self, live, status, height)
        now_ms = self._context.steady.ms()
        attempt = live.attempt
        waited_ms = now_ms - first.setdefault(attempt.signature, now_ms)
        if status is None and waited_ms > REPRICED_AFTER_MS and attempt.intent_id not in second:
            second.add(attempt.intent_id)
            again = replace(await _anew(self._gate, attempt), n=attempt.n + 1)
            store = self._store
            await store.run(store.store.record_attempt, live.claim, again, self._clock.unix_ms())
            beside = Live(state=replace(live.state, attempt=again), request=live.request)
            self._live[again.signature] = beside

    first: dict[str, int] = {}
    second: set[int] = set()
    before = patches.set(Settler, "_follow", follow)


def _key_of_position(patches: Patches) -> None:
    patches.set(
        columns, "intent_key", lambda request, _step: f"{request.program}:{request.position}"
    )


FORKS = ClusterFaults(fork=0.2, fork_depth_max=8)
DEEP = ClusterFaults(fork=0.2, fork_depth_max=31, unconfirmed=1.0)
UNEVEN = world(node=NodeFaults(lag_blocks=(0, 16), answer_lost=0.3), market=SLOWLY)
SENDING: tuple[Mutant, ...] = (
    Mutant(
        name="M01",
        text="sent, looked for, signed anew up to three times, and recorded at last",
        caught_by=("DOUBLE", "ORPHAN_SIG"),
        patch=_send_then_sign_anew,
        swarm=world(cluster=LATE),
    ),
    Mutant(
        name="M07",
        text="processed is final",
        caught_by=("PHANTOM", "NOT_LIVE"),
        patch=_final_from("processed", "confirmed"),
        swarm=world(cluster=FORKS),
        fast=True,
    ),
    Mutant(
        name="M08",
        text="confirmed is final",
        caught_by=("PHANTOM",),
        patch=_final_from("confirmed"),
        swarm=world(cluster=DEEP),
    ),
    Mutant(
        name="M20",
        text="BlockhashNotFound means expired",
        caught_by=("DOUBLE",),
        patch=_hash_unknown_is_expiry,
        unmask=closes_little,
        swarm=UNEVEN,
    ),
    Mutant(
        name="M21",
        text="what a preflight refuses has failed, AlreadyProcessed included",
        caught_by=("LOST_RECORD", "DOUBLE"),
        patch=_refused_is_failure,
        unmask=closes_little,
        swarm=UNEVEN,
    ),
    Mutant(
        name="M22",
        text="confirmed by any one node is final, ten seconds of silence are failure",
        caught_by=("PHANTOM", "DOUBLE"),
        patch=all_of(_final_from("confirmed"), silence_is_expiry),
        unmask=closes_little,
        swarm=world(cluster=LATE, market=SLOWLY, window_blocks=60),
        fast=True,
    ),
    Mutant(
        name="M23",
        text="the bytes leave before they are recorded",
        caught_by=("ORPHAN_SIG",),
        patch=_send_then_record,
        swarm=world(own=OwnFaults(kill=0.005, store=0.01)),
        fast=True,
    ),
    Mutant(
        name="M24",
        text="after a restart the bytes are built anew",
        caught_by=("ORPHAN_SIG", "DOUBLE"),
        patch=_rebuilt_after_restart,
        swarm=world(cluster=LATE, own=OwnFaults(kill=0.005, kill_at_send=0.3), window_blocks=60),
    ),
    Mutant(
        name="M25",
        text="after a restart attempts that are SIGNED are forgotten",
        caught_by=("NOT_LIVE", "LOST_RECORD"),
        patch=_signed_forgotten,
        swarm=world(own=OwnFaults(kill=0.005, kill_at_send=0.5)),
    ),
    Mutant(
        name="M26",
        text="what was seen once stays SEEN",
        caught_by=("NOT_LIVE",),
        patch=_seen_for_ever,
        swarm=world(cluster=FORKS),
    ),
    Mutant(
        name="M27",
        text="an attempt is followed for a minute of the host's clock",
        caught_by=("NOT_LIVE",),
        patch=_followed_for_a_minute,
        swarm=world(
            cluster=ClusterFaults(dropped=0.9),
            own=OwnFaults(clock=4.0),
            window_blocks=150,
            chaos_s=100.0,
        ),
    ),
    Mutant(
        name="M28",
        text="maxRetries is left out",
        caught_by=("WIRE",),
        patch=asked("sendTransaction", _without_retries),
        swarm=world(),
    ),
    Mutant(
        name="M29",
        text="a second attempt is signed while one is live; without index and trigger",
        caught_by=("DOUBLE",),
        patch=_signed_beside,
        unmask=all_of(closes_little, schema(*ONE_LIVE)),
        swarm=world(cluster=LATE, market=SLOWLY),
    ),
    Mutant(
        name="M30",
        text="an intent's key is its position, without generation and step",
        caught_by=("NOT_LIVE",),
        patch=_key_of_position,
        swarm=world(),
    ),
)
