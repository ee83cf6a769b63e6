"""Typed calls of an RPC node: every answer is checked before it becomes a value."""

import asyncio
import base64
import itertools
from collections.abc import Sequence
from typing import TypeVar

from liqctl.chain.answers import (
    Accounts,
    Blockhash,
    BlockhashValidity,
    Commitment,
    EntryFault,
    Epoch,
    HistoryEntry,
    Landed,
    PriorityFee,
    RefusedEntry,
    Simulation,
    Snapshot,
    Status,
    Statuses,
)
from liqctl.chain.base58 import encode, is_address, is_signature
from liqctl.chain.pool import Pool, Single
from liqctl.chain.rpc import HttpRpc
from liqctl.chain.wire import (
    AccountForm,
    BlockhashForm,
    EpochForm,
    HistoryForm,
    InContext,
    LandedForm,
    MetaForm,
    Natural,
    PriorityFeeForm,
    SimulationForm,
    StatusForm,
    account_of,
    bytes_of,
    failure_of,
    natural_of,
    parsed,
    return_data_of,
    snapshot_entry,
    status_of,
)
from liqctl.core.account import Account
from liqctl.core.cluster_time import SLOTS_AHEAD_MAX
from liqctl.errors import RpcMalformed
from liqctl.ports import Rpc

T = TypeVar("T")
ACCOUNTS_PER_CALL = 100
STATUSES_PER_CALL = 256
HISTORY_PER_CALL = 1000
ENTRIES_PER_TURN = 500


class Chain:
    """The cluster as one RPC endpoint shows it.

    Every method raises RpcUnreachable, RpcRefused or RpcMalformed and nothing else. An answer
    from a bank below an asked `min_context_slot` is RpcMalformed: the node broke its promise.
    """

    def __init__(self, rpc: Rpc, commitment: Commitment = Commitment.CONFIRMED) -> None:
        """Read at a commitment; calls that need a certain one choose it themselves."""
        self._rpc = rpc
        self.commitment = commitment

    def endpoints(self) -> "tuple[Chain, ...]":
        """Return the cluster as each endpoint of a pool shows it; without a pool, this one."""
        if not isinstance(self._rpc, Pool):
            return (self,)
        return tuple(Chain(one, self.commitment) for one in self._rpc.endpoints())

    @property
    def shown_url(self) -> str:
        """The endpoint as it may be printed, or nothing where it has no URL."""
        return self._rpc.shown_url if isinstance(self._rpc, Single | HttpRpc) else ""

    def counts(self) -> dict[str, dict[str, int]]:
        """Return by endpoint, as it may be printed, how often what happened; {} without a pool."""
        if not isinstance(self._rpc, Pool):
            return {}
        return {name: dict(counted) for name, counted in self._rpc.counts().items()}

    @property
    def trusted(self) -> bool:
        """Whether no circuit breaker of a pool speaks against this endpoint."""
        return not isinstance(self._rpc, Single) or self._rpc.closed

    async def accounts(
        self, addresses: Sequence[str], *, min_context_slot: int | None = None
    ) -> Accounts:
        """Return accounts by address; up to 100 of them are read in one slot."""
        found: dict[str, Account | None] = {}
        slots: list[int] = []
        for start in range(0, len(addresses), ACCOUNTS_PER_CALL):
            batch = list(addresses[start : start + ACCOUNTS_PER_CALL])
            config = self._config(min_context_slot, encoding="base64")
            answer = await self._in_context(
                "getMultipleAccounts",
                [batch, config],
                InContext[list[AccountForm | None]],
                min_context_slot,
            )
            slot = answer.context.slot
            found.update(_paired(batch, answer.value, slot))
            slots.append(slot)
        return Accounts(slot=min(slots, default=min_context_slot or 0), by_address=found)

    async def program_accounts(
        self, program_id: str, discriminator: bytes, *, min_context_slot: int | None = None
    ) -> Snapshot:
        """Return the accounts of a program that begin with a discriminator, in one slot.

        An entry that is not such an account is listed as refused and hides no other. There is no
        filter by length: it would silently drop accounts with padding.
        """
        match_start = {"memcmp": {"offset": 0, "bytes": encode(discriminator)}}
        config = self._config(
            min_context_slot, encoding="base64", withContext=True, filters=[match_start]
        )
        answer = await self._in_context(
            "getProgramAccounts", [program_id, config], InContext[list[object]], min_context_slot
        )
        accounts: dict[str, Account] = {}
        refused: list[RefusedEntry] = []
        for number, entry in enumerate(answer.value):
            if number % ENTRIES_PER_TURN == 0:
                await asyncio.sleep(0)  # prices get their turn while a large answer is read
            found = snapshot_entry(entry, program_id, discriminator, answer.context.slot)
            if isinstance(found, RefusedEntry):
                refused.append(found)
            elif found.address in accounts:
                refused.append(RefusedEntry(address=found.address, fault=EntryFault.REPEATED))
            else:
                accounts[found.address] = found
        return Snapshot(
            slot=answer.context.slot, accounts=tuple(accounts.values()), refused=tuple(refused)
        )

    async def latest_blockhash(self, *, min_context_slot: int | None = None) -> Blockhash:
        """Return the newest confirmed blockhash, its last valid block height and context slot."""
        config = self._config(min_context_slot, commitment=Commitment.CONFIRMED)
        answer = await self._in_context(
            "getLatestBlockhash", [config], InContext[BlockhashForm], min_context_slot
        )
        if not is_address(answer.value.blockhash):
            raise RpcMalformed("the node sent a blockhash that is none")
        return Blockhash(
            hash=answer.value.blockhash,
            last_valid_block_height=answer.value.last_valid_block_height,
            context_slot=answer.context.slot,
        )

    async def epoch_info(
        self, commitment: Commitment, *, min_context_slot: int | None = None
    ) -> Epoch:
        """Return slot and block height of one bank."""
        method = "getEpochInfo"
        config = self._config(min_context_slot, commitment=commitment)
        form = parsed(await self._rpc.call(method, [config]), EpochForm, method)
        _check_slot(method, form.absolute_slot, min_context_slot)
        return Epoch(slot=form.absolute_slot, block_height=form.block_height)

    async def is_blockhash_valid(
        self, blockhash: str, commitment: Commitment, *, min_context_slot: int | None = None
    ) -> BlockhashValidity:
        """Return whether a bank still takes a blockhash."""
        config = self._config(min_context_slot, commitment=commitment)
        answer = await self._in_context(
            "isBlockhashValid", [blockhash, config], InContext[bool], min_context_slot
        )
        return BlockhashValidity(context_slot=answer.context.slot, valid=answer.value)

    async def statuses(self, signatures: Sequence[str], *, search_history: bool = True) -> Statuses:
        """Return what the node knows of transactions, its history searched as well.

        Without the history only some 300 blocks are looked at, which proves no absence.
        """
        method = "getSignatureStatuses"
        found: list[Status | None] = []
        slots: list[int] = []
        for start in range(0, len(signatures), STATUSES_PER_CALL):
            batch = list(signatures[start : start + STATUSES_PER_CALL])
            params = [batch, {"searchTransactionHistory": search_history}]
            answer = await self._in_context(
                method, params, InContext[list[StatusForm | None]], None
            )
            _check_length(method, len(answer.value), len(batch))
            _check_reached(answer.value, answer.context.slot)
            found.extend(None if form is None else status_of(form) for form in answer.value)
            slots.append(answer.context.slot)
        return Statuses(context_slot=min(slots, default=0), statuses=tuple(found))

    async def signatures_for_address(
        self,
        address: str,
        *,
        commitment: Commitment = Commitment.FINALIZED,
        min_context_slot: int | None = None,
        before: str | None = None,
        limit: int = HISTORY_PER_CALL,
    ) -> tuple[HistoryEntry, ...]:
        """Return one page of the history of an address, newest first."""
        method = "getSignaturesForAddress"
        config = self._config(min_context_slot, commitment=commitment, limit=limit)
        if before is not None:
            config["before"] = before
        forms = parsed(await self._rpc.call(method, [address, config]), list[HistoryForm], method)
        if len(forms) > limit:
            raise RpcMalformed(f"the node sent {len(forms)} signatures, at most {limit} were asked")
        page = tuple(_history_entry(form) for form in forms)
        if any(newer.slot < older.slot for newer, older in itertools.pairwise(page)):
            raise RpcMalformed("the node sent a history that is not newest first")
        return page

    async def first_available_block(self) -> int:
        """Return the lowest slot that the node has not deleted from its ledger."""
        method = "getFirstAvailableBlock"
        return natural_of(await self._rpc.call(method, []), method)

    async def simulate(
        self, raw: bytes, *, accounts: Sequence[str] = (), min_context_slot: int | None = None
    ) -> Simulation:
        """Return what a transaction would do; signatures are not checked, the blockhash is fresh."""
        method = "simulateTransaction"
        config = self._config(
            min_context_slot, encoding="base64", sigVerify=False, replaceRecentBlockhash=True
        )
        if accounts:
            config["accounts"] = {"encoding": "base64", "addresses": list(accounts)}
        answer = await self._in_context(
            method, [_base64(raw), config], InContext[SimulationForm], min_context_slot
        )
        form, slot = answer.value, answer.context.slot
        logs = tuple(form.logs or ())
        failure = failure_of(form.err, logs)
        after: dict[str, Account | None] = {}
        if failure is None and accounts:
            after = _paired(accounts, form.accounts or [], slot)
        return Simulation(
            slot=slot,
            failure=failure,
            compute_units=form.units_consumed,
            logs=logs,
            return_data=return_data_of(form.return_data),
            accounts=after,
        )

    async def send(self, raw: bytes, *, first: bool, min_context_slot: int) -> str:
        """Send signed bytes once and return their signature.

        The first send asks the node for a preflight at the bank that told the blockhash; a
        rebroadcast skips it, so that a lagging node forwards the bytes too. The node never
        repeats them by itself. Whatever comes back, the transaction may land.
        """
        method = "sendTransaction"
        config: dict[str, object] = {"encoding": "base64", "skipPreflight": not first}
        config["maxRetries"] = 0
        if first:
            config["preflightCommitment"] = Commitment.CONFIRMED
            config["minContextSlot"] = min_context_slot
        answer = parsed(await self._rpc.call(method, [_base64(raw), config]), str, method)
        if answer != encode(raw[1:65]):
            raise RpcMalformed("the node answered sendTransaction with another signature")
        return answer

    async def transaction(
        self, signature: str, commitment: Commitment = Commitment.FINALIZED
    ) -> Landed | None:
        """Return a landed transaction, or None while the node does not tell it."""
        method = "getTransaction"
        config = {
            "encoding": "base64",
            "commitment": commitment,
            "maxSupportedTransactionVersion": 0,
        }
        result = await self._rpc.call(method, [signature, config])
        form = None if result is None else parsed(result, LandedForm, method)
        if form is None or form.meta is None:
            return None
        if encode(bytes_of(form.transaction)[1:65]) != signature:
            raise RpcMalformed("the node answered getTransaction with another transaction")
        logs = tuple(form.meta.log_messages or ())
        return Landed(
            signature=signature,
            slot=form.slot,
            block_time_s=form.block_time,
            fee_lamports=form.meta.fee,
            cost_lamports=_fallen_lamports(form.meta),
            compute_units=form.meta.compute_units_consumed,
            failure=failure_of(form.meta.err, logs),
            logs=logs,
        )

    async def slot(self, commitment: Commitment | None = None) -> int:
        """Return the current slot."""
        method = "getSlot"
        config = {"commitment": self.commitment if commitment is None else commitment}
        return natural_of(await self._rpc.call(method, [config]), method)

    async def balance(self, address: str, *, min_context_slot: int | None = None) -> int:
        """Return the lamports of an address; 0 is no account too."""
        config = self._config(min_context_slot)
        answer = await self._in_context(
            "getBalance", [address, config], InContext[Natural], min_context_slot
        )
        return answer.value

    async def genesis_hash(self) -> str:
        """Return what tells clusters apart."""
        method = "getGenesisHash"
        found = parsed(await self._rpc.call(method, []), str, method)
        if not is_address(found):
            raise RpcMalformed("the node sent a genesis hash that is none")
        return found

    async def recent_priority_fees(self, addresses: Sequence[str] = ()) -> tuple[PriorityFee, ...]:
        """Return the lowest sufficient priority price of recent slots that lock these accounts."""
        method = "getRecentPrioritizationFees"
        result = await self._rpc.call(method, [list(addresses)])
        return tuple(
            PriorityFee(slot=form.slot, price_micro_lamports=form.prioritization_fee)
            for form in parsed(result, list[PriorityFeeForm], method)
        )

    async def health(self) -> None:
        """Return when the node calls itself healthy; RpcRefused says what is wrong."""
        if await self._rpc.call("getHealth", []) != "ok":
            raise RpcMalformed("the node answered getHealth with something else than ok")

    def _config(self, min_context_slot: int | None, **more: object) -> dict[str, object]:
        config: dict[str, object] = {"commitment": self.commitment, **more}
        if min_context_slot is not None:
            config["minContextSlot"] = min_context_slot
        return config

    async def _in_context(
        self,
        method: str,
        params: Sequence[object],
        form: type[InContext[T]],
        min_context_slot: int | None,
    ) -> InContext[T]:
        answer = parsed(await self._rpc.call(method, params), form, method)
        _check_slot(method, answer.context.slot, min_context_slot)
        return answer


def _check_slot(method: str, slot: int, min_context_slot: int | None) -> None:
    if min_context_slot is not None and slot < min_context_slot:
        raise RpcMalformed(
            f"the node answered {method} at slot {slot}, slot {min_context_slot} or later was asked"
        )


def _check_reached(statuses: list[StatusForm | None], slot: int) -> None:
    """Refuse a transaction far ahead of the bank: nothing newer than it would ever be seen."""
    newest = max((form.slot for form in statuses if form is not None), default=0)
    if newest > slot + SLOTS_AHEAD_MAX:
        raise RpcMalformed(f"the node sent a status of slot {newest} at slot {slot}")


def _check_length(method: str, found: int, expected: int) -> None:
    if found != expected:
        raise RpcMalformed(f"the node answered {method} with {found} entries for {expected}")


def _paired(
    addresses: Sequence[str], forms: list[AccountForm | None], slot: int
) -> dict[str, Account | None]:
    _check_length("a question about accounts", len(forms), len(addresses))
    return {
        address: None if form is None else account_of(address, form, slot)
        for address, form in zip(addresses, forms, strict=True)
    }


def _fallen_lamports(meta: MetaForm) -> int | None:
    """Return by how much the payer's balance fell, None where the node does not tell it."""
    if not (meta.pre_balances and meta.post_balances):
        return None
    return meta.pre_balances[0] - meta.post_balances[0]


def _history_entry(form: HistoryForm) -> HistoryEntry:
    if not is_signature(form.signature):
        raise RpcMalformed("the node sent a history with an entry that is no signature")
    return HistoryEntry(
        signature=form.signature,
        slot=form.slot,
        failure=failure_of(form.err),
        block_time_s=form.block_time,
    )


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode("ascii")
