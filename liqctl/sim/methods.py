"""The methods whose answer depends on what one node keeps: statuses and history."""

from collections.abc import Callable, Mapping
from functools import partial

from solders.signature import Signature

from liqctl.localnet.ledger import Commitment
from liqctl.localnet.rpc.answer import METHODS
from liqctl.localnet.rpc.errors import (
    HISTORY_NOT_AVAILABLE,
    METHOD_NOT_FOUND,
    MIN_CONTEXT_SLOT_NOT_REACHED,
    Refusal,
)
from liqctl.localnet.rpc.history import (
    at_least_confirmed,
    get_transaction,
    signatures_page,
    status_json,
)
from liqctl.localnet.rpc.params import Config, Params, as_signature, with_context
from liqctl.sim.tree import ForkBlock
from liqctl.sim.view import NodeView, Standing

_CONFIRMATIONS_MAX = 31
_STATUSES_MAX = 256


class Methods:
    """The methods of one node; those that are not its own are the localnet's."""

    def __init__(self, view: NodeView, standing: Standing) -> None:
        """`has_history` says whether the node was started with its transaction history."""
        self.has_history = True
        self._view = view
        self._standing = standing
        self._own: Mapping[str, Callable[[Params], object]] = {
            "getSignatureStatuses": self._statuses,
            "getSignaturesForAddress": self._signatures,
            "getTransaction": self._transaction,
        }

    def call(self, name: str, params: Params) -> object:
        """Return the result of one request.

        Raises:
            Refusal: the answer is an error object.
        """
        own = self._own.get(name)
        if own is not None:
            return own(params)
        shared = METHODS.get(name)
        if shared is None:
            raise Refusal(METHOD_NOT_FOUND, "Method not found")
        return shared(self._view, params)

    def _statuses(self, params: Params) -> object:
        """Answer from the processed bank's status cache, then from disk up to the root if asked."""
        texts = params.texts(0, count_max=_STATUSES_MAX)
        search = params.config(1).flag("searchTransactionHistory")
        if search:
            self._require_history()
        bank = self._view.ledger.bank(Commitment.PROCESSED)
        status = partial(self._status, bank=bank, search=search)
        return with_context(bank, [status(as_signature(text)) for text in texts])

    def _status(self, signature: Signature, *, bank: ForkBlock, search: bool) -> object:
        place = self._view.history.cached(signature, bank)
        if place is None:
            rooted = self._view.history.rooted(signature) if search else None
            return None if rooted is None else status_json(rooted, Commitment.FINALIZED, None)
        block, landed = place
        if self._standing.root.has(block):
            return status_json(landed, Commitment.FINALIZED, None)
        is_confirmed = self._standing.confirmed.has(block)
        level = Commitment.CONFIRMED if is_confirmed else Commitment.PROCESSED
        return status_json(landed, level, min(bank.height - block.height, _CONFIRMATIONS_MAX))

    def _signatures(self, params: Params) -> object:
        """Answer from the address index, which a finalized request reads up to the root only."""
        self._require_history()
        address, config = params.pubkey(0), params.config(1)
        if config.commitment() is Commitment.FINALIZED:
            self._require_root(config)
        else:
            at_least_confirmed(self._view, config)
        return signatures_page(self._view, config, self._view.history.of_address(address))

    def _transaction(self, params: Params) -> object:
        self._require_history()
        return get_transaction(self._view, params)

    def _require_history(self) -> None:
        if not self.has_history:
            raise Refusal(
                HISTORY_NOT_AVAILABLE, "Transaction history is not available from this node"
            )

    def _require_root(self, config: Config) -> None:
        """Choose the root of the supermajority; the node's own root does not count here."""
        root, least = self._standing.root, config.number("minContextSlot")
        if least is not None and root.slot < least:
            raise Refusal(
                MIN_CONTEXT_SLOT_NOT_REACHED,
                "Minimum context slot has not been reached",
                {"contextSlot": root.slot},
            )
        self._view.ledger.chosen = root
