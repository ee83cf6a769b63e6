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
from liqctl.localnet.world import Dropped, World

_FEATURE_SET = 3294202862
_PRIORITY_ACCOUNTS_MAX = 128
_PRIORITY_BLOCKS = 150


def get_slot(world: World, params: Params) -> object:
    """Return the slot of the newest block of a commitment level."""
    return params.config(0).bank(world).slot


def get_block_height(world: World, params: Params) -> object:
    """Return the height of the newest block of a commitment level."""
    return params.config(0).bank(world).height


def get_epoch_info(world: World, params: Params) -> object:
    """Return slot and height of one and the same block, with its place in the epoch."""
    block = params.config(0).bank(world)
    in_epoch = world.config.slots_per_epoch
    return {
        "absoluteSlot": block.slot,
        "blockHeight": block.height,
        "epoch": block.slot // in_epoch,
        "slotIndex": block.slot % in_epoch,
        "slotsInEpoch": in_epoch,
        "transactionCount": world.history.total,
    }


def get_latest_blockhash(world: World, params: Params) -> object:
    """Return the newest blockhash of a commitment level and its last valid block height."""
    block = params.config(0).bank(world)
    return with_context(block, blockhash_json(block))


def blockhash_json(block: Block) -> dict[str, object]:
    """Return a blockhash with its last valid block height."""
    return {
        "blockhash": str(block.blockhash),
        "lastValidBlockHeight": block.last_valid_block_height,
    }


def is_blockhash_valid(world: World, params: Params) -> object:
    """Return whether the newest block of a commitment level would accept a blockhash."""
    text, config = params.text(0), params.config(1)
    block = config.bank(world)
    try:
        blockhash = Hash.from_string(text)
    except ParseHashError as error:
        raise invalid_params(f"Invalid param: {error}") from error
    return with_context(block, world.is_blockhash_valid(blockhash, block))


def get_genesis_hash(world: World, _params: Params) -> object:
    """Return the hash that names this chain."""
    return str(world.genesis_hash)


def get_version(_world: World, _params: Params) -> object:
    """Return the release whose answers are modelled."""
    return {"feature-set": _FEATURE_SET, "solana-core": API_VERSION}


def get_health(world: World, _params: Params) -> object:
    """Return `ok`, or an error when the node is made to lag."""
    check_health(world)
    return "ok"


def check_health(world: World) -> None:
    """Refuse with -32005 when the node is made to lag behind the cluster."""
    if world.slots_behind > 0:
        raise Refusal(
            NODE_UNHEALTHY,
            f"Node is behind by {world.slots_behind} slots",
            {"numSlotsBehind": world.slots_behind},
        )


def get_fee_for_message(world: World, params: Params) -> object:
    """Return the fee of a message in lamports, null when its blockhash is not valid any more."""
    text, config = params.text(0), params.config(1)
    block = config.bank(world)
    try:
        message = from_bytes_versioned(decode_base64(text))
    except ValueError as error:
        raise invalid_params(f"failed to deserialize message: {error}") from error
    if not world.is_blockhash_valid(message.recent_blockhash, block):
        return with_context(block, None)
    price = price_of(message)
    return with_context(block, price.base_lamports + price.priority_lamports)


def get_recent_prioritization_fees(world: World, params: Params) -> object:
    """Return for each recent block the lowest unit price that got a transaction in.

    With addresses: the highest of their own lowest prices.
    """
    texts = params.texts(0, count_max=_PRIORITY_ACCOUNTS_MAX) if params.value(0) else []
    keys = [as_pubkey(text) for text in texts]
    rows: list[dict[str, object]] = []
    for block in reversed(world.ledger.newest(_PRIORITY_BLOCKS)):
        landed = world.history.in_slot(block.slot)
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


def get_first_available_block(world: World, _params: Params) -> object:
    """Return the slot of the oldest block still known."""
    return world.ledger.first_block.slot


def get_block_time(world: World, params: Params) -> object:
    """Return the unix time of a block in seconds."""
    slot = params.number(0)
    block = world.ledger.block_at(slot)
    if block is not None:
        return block.unix_ms // 1000
    if slot > world.slot:
        raise Refusal(BLOCK_NOT_AVAILABLE, f"Block not available for slot {slot}")
    raise Refusal(
        SLOT_SKIPPED,
        f"Slot {slot} was skipped, or missing due to ledger jump to recent snapshot",
    )


def get_transaction_count(world: World, _params: Params) -> object:
    """Return how many transactions landed since genesis."""
    return world.history.total


def request_airdrop(world: World, params: Params) -> object:
    """Send lamports from the faucet and return the signature."""
    key, lamports = params.pubkey(0), params.number(1)
    landed = world.airdrop(key, lamports)
    if isinstance(landed, Dropped) or landed.failure is not None:
        raise Refusal(INTERNAL_ERROR, "Internal error")
    return str(landed.signature)
