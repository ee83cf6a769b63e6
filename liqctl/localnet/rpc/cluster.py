"""Methods about the cluster: slots, heights, blockhashes, health, fees."""

from solders.hash import Hash, ParseHashError
from solders.message import from_bytes_versioned

from liqctl.localnet.ledger import Block
from liqctl.localnet.message import price_of
from liqctl.localnet.rpc.encoding import decode_base64
from liqctl.localnet.rpc.errors import (
    BLOCK_NOT_AVAILABLE,
    INTERNAL_ERROR,
    NODE_UNHEALTHY,
    SLOT_SKIPPED,
    Refusal,
    invalid_params,
)
from liqctl.localnet.rpc.params import (
    API_VERSION,
    Params,
    as_pubkey,
    with_context,
)
from liqctl.localnet.rpc.view import View
from liqctl.localnet.world import Dropped

_FEATURE_SET = 3294202862
_PRIORITY_ACCOUNTS_MAX = 128
_PRIORITY_BLOCKS = 150


def get_slot(view: View, params: Params) -> object:
    """Return the slot of the newest block of a commitment level."""
    return params.config(0).bank(view).slot


def get_block_height(view: View, params: Params) -> object:
    """Return the height of the newest block of a commitment level."""
    return params.config(0).bank(view).height


def get_epoch_info(view: View, params: Params) -> object:
    """Return slot and height of one and the same block, with its place in the epoch."""
    block = params.config(0).bank(view)
    in_epoch = view.config.slots_per_epoch
    return {
        "absoluteSlot": block.slot,
        "blockHeight": block.height,
        "epoch": block.slot // in_epoch,
        "slotIndex": block.slot % in_epoch,
        "slotsInEpoch": in_epoch,
        "transactionCount": view.history.total,
    }


def get_latest_blockhash(view: View, params: Params) -> object:
    """Return the newest blockhash of a commitment level and its last valid block height."""
    block = params.config(0).bank(view)
    return with_context(block, blockhash_json(block))


def blockhash_json(block: Block) -> dict[str, object]:
    """Return a blockhash with its last valid block height."""
    return {
        "blockhash": str(block.blockhash),
        "lastValidBlockHeight": block.last_valid_block_height,
    }


def is_blockhash_valid(view: View, params: Params) -> object:
    """Return whether the newest block of a commitment level would accept a blockhash."""
    text, config = params.text(0), params.config(1)
    block = config.bank(view)
    try:
        blockhash = Hash.from_string(text)
    except ParseHashError as error:
        raise invalid_params(f"Invalid param: {error}") from error
    return with_context(block, view.is_blockhash_valid(blockhash, block))


def get_genesis_hash(view: View, _params: Params) -> object:
    """Return the hash that names this chain."""
    return str(view.genesis_hash)


def get_version(_view: View, _params: Params) -> object:
    """Return the release whose answers are modelled."""
    return {"feature-set": _FEATURE_SET, "solana-core": API_VERSION}


def get_health(view: View, _params: Params) -> object:
    """Return `ok`, or an error when the node is made to lag."""
    check_health(view)
    return "ok"


def check_health(view: View) -> None:
    """Refuse with -32005 when the node is made to lag behind the cluster."""
    if view.slots_behind > 0:
        raise Refusal(
            NODE_UNHEALTHY,
            f"Node is behind by {view.slots_behind} slots",
            {"numSlotsBehind": view.slots_behind},
        )


def get_fee_for_message(view: View, params: Params) -> object:
    """Return the fee of a message in lamports, null when its blockhash is not valid any more."""
    text, config = params.text(0), params.config(1)
    block = config.bank(view)
    try:
        message = from_bytes_versioned(decode_base64(text))
    except ValueError as error:
        raise invalid_params(f"failed to deserialize message: {error}") from error
    if not view.is_blockhash_valid(message.recent_blockhash, block):
        return with_context(block, None)
    price = price_of(message)
    return with_context(block, price.base_lamports + price.priority_lamports)


def get_recent_prioritization_fees(view: View, params: Params) -> object:
    """Return for each recent block the lowest unit price that got a transaction in.

    With addresses: the highest of their own lowest prices.
    """
    texts = params.texts(0, count_max=_PRIORITY_ACCOUNTS_MAX) if params.value(0) else []
    keys = [as_pubkey(text) for text in texts]
    rows: list[dict[str, object]] = []
    for block in reversed(view.ledger.newest(_PRIORITY_BLOCKS)):
        landed = view.history.in_slot(block.slot)
        lowest = min((one.price.priority_micro_lamports_per_cu for one in landed), default=0)
        for key in keys:
            own = (
                one.price.priority_micro_lamports_per_cu
                for one in landed
                if key in one.keys.writable
            )
            lowest = max(lowest, min(own, default=0))
        rows.append({"prioritizationFee": lowest, "slot": block.slot})
    return rows


def get_first_available_block(view: View, _params: Params) -> object:
    """Return the slot of the oldest block still known."""
    return view.ledger.first_block.slot


def get_block_time(view: View, params: Params) -> object:
    """Return the unix time of a block in seconds."""
    slot = params.number(0)
    block = view.ledger.block_at(slot)
    if block is not None:
        return block.unix_ms // 1000
    if slot > view.slot:
        raise Refusal(BLOCK_NOT_AVAILABLE, f"Block not available for slot {slot}")
    raise Refusal(
        SLOT_SKIPPED,
        f"Slot {slot} was skipped, or missing due to ledger jump to recent snapshot",
    )


def get_transaction_count(view: View, _params: Params) -> object:
    """Return how many transactions landed since genesis."""
    return view.history.total


def request_airdrop(view: View, params: Params) -> object:
    """Send lamports from the faucet and return the signature."""
    key, lamports = params.pubkey(0), params.number(1)
    landed = view.airdrop(key, lamports)
    if isinstance(landed, Dropped) or landed.failure is not None:
        raise Refusal(INTERNAL_ERROR, "Internal error")
    return str(landed.signature)
