"""Running transactions on a block of the tree, to keep them there or to see what they would do."""

from collections.abc import Sequence

from solders.message import Message, MessageV0
from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction

from liqctl.localnet.account import AccountState
from liqctl.localnet.history import Landed
from liqctl.localnet.message import Keys, keys_of, price_of
from liqctl.localnet.spl_token import TokenBalance, decimals_of, holding_of
from liqctl.localnet.vm import Execution
from liqctl.localnet.world import Dropped
from liqctl.sim.machine import Machine, Moment
from liqctl.sim.tree import ForkBlock, Tree

_TABLE_MISSING = "AddressLookupTableNotFound"


class Runner:
    """Runs transactions on any block of one tree."""

    def __init__(self, tree: Tree, machine: Machine) -> None:
        self._tree = tree
        self._machine = machine

    def land(self, transaction: VersionedTransaction, block: ForkBlock) -> Landed | Dropped:
        """Put a transaction into a block; age, repetition and funds are judged as a leader does.

        Signatures are not looked at.
        """
        signature = transaction.signatures[0]
        if not self._tree.can_carry(transaction.message.recent_blockhash, block):
            return Dropped(failure="BlockhashNotFound")
        if self._tree.find(signature, block) is not None:
            return Dropped(failure="AlreadyProcessed")
        try:
            keys = self._keys_of(transaction.message, block)
        except LookupError:
            return Dropped(failure=_TABLE_MISSING)
        before = self._states(keys, block)
        execution, changed = self._machine.execute(transaction, keys, self._moment(block))
        if execution.fee_lamports == 0:
            return Dropped(failure=execution.failure)
        for key, state in changed.items():
            self._tree.put(block, key, state)
        after = self._states(keys, block)
        landed = Landed(
            signature=signature,
            transaction=transaction,
            keys=keys,
            price=price_of(transaction.message),
            slot=block.slot,
            unix_s=block.unix_ms // 1000,
            execution=execution,
            pre_lamports=_lamports(before),
            post_lamports=_lamports(after),
            pre_tokens=self._tokens(before, block),
            post_tokens=self._tokens(after, block),
        )
        self._tree.add(block, landed)
        return landed

    def simulate(self, transaction: VersionedTransaction, block: ForkBlock) -> Execution:
        """Return what a transaction would do right after a block."""
        try:
            keys = self._keys_of(transaction.message, block)
        except LookupError:
            return Execution(failure=_TABLE_MISSING)
        return self._machine.simulate(transaction, keys, self._moment(block))

    def _moment(self, block: ForkBlock) -> Moment:
        return Moment(
            account=lambda key: self._tree.account(key, block),
            slot=block.slot,
            unix_s=block.unix_ms // 1000,
        )

    def _keys_of(self, message: Message | MessageV0, block: ForkBlock) -> Keys:
        def table_bytes(key: Pubkey) -> bytes | None:
            state = self._tree.account(key, block)
            return None if state is None else state.data

        return keys_of(message, table_bytes)

    def _states(self, keys: Keys, block: ForkBlock) -> list[AccountState | None]:
        return [self._tree.account(key, block) for key in keys.all]

    def _tokens(
        self, states: Sequence[AccountState | None], block: ForkBlock
    ) -> tuple[TokenBalance, ...]:
        found: list[TokenBalance] = []
        for index, state in enumerate(states):
            holding = holding_of(state)
            if state is None or holding is None:
                continue
            decimals = decimals_of(self._tree.account(holding.mint, block)) or 0
            found.append(
                TokenBalance(
                    account_index=index, program=state.owner, holding=holding, decimals=decimals
                )
            )
        return tuple(found)


def _lamports(states: Sequence[AccountState | None]) -> tuple[int, ...]:
    return tuple(0 if state is None else state.lamports for state in states)
