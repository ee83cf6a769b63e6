"""The keeper's complete pass over a perpetuals program, out of accounts that only lie there."""

import base64
import struct

import pytest

from liqctl.chain.answers import Blockhash
from liqctl.chain.base58 import decode
from liqctl.chain.client import Chain
from liqctl.core.account import Account
from liqctl.core.instruction import Plan
from liqctl.keeper.context import Context
from liqctl.keeper.decode import CLOCK_SYSVAR
from liqctl.keeper.draft import Draft
from liqctl.keeper.service import Keeper, Tuning
from liqctl.keeper.storage import StoreThread
from liqctl.keeper.survey import survey
from liqctl.ports import SystemClock, SystemRng
from liqctl.store.open import open_store
from liqctl.venues.registry import open_venue
from tests.venues.perpetuals_cases import PROGRAM, VECTORS, Planted
from tests.venues.test_perpetuals import accounts_of

SLOT = 7


class Shelf:
    """A node that has nothing but accounts."""

    def __init__(self, accounts):
        self.accounts = {one.address: one for one in accounts}

    async def call(self, method, params):
        match method:
            case "getMultipleAccounts":
                found = [self.accounts.get(address) for address in params[0]]
                value = [None if one is None else form(one) for one in found]
            case "getProgramAccounts":
                wanted = params[1]["filters"][0]["memcmp"]["bytes"]
                value = [
                    {"pubkey": one.address, "account": form(one)}
                    for one in self.accounts.values()
                    if one.owner == params[0] and starts(one, wanted)
                ]
            case _:
                raise AssertionError(method)
        return {"context": {"slot": SLOT}, "value": value}


def starts(account, base58):
    return account.data.startswith(decode(base58))


def form(account):
    text = base64.b64encode(account.data).decode()
    return {"owner": account.owner, "lamports": account.lamports, "data": [text, "base64"]}


def clock_account(now_s):
    blob = struct.pack("<QqQQq", SLOT, 0, 0, 0, now_s)
    owner = "Sysvar1111111111111111111111111111111111111"
    return Account(address=CLOCK_SYSVAR, owner=owner, lamports=1, data=blob, slot=SLOT)


async def scanned(place, planted):
    shelf = Shelf([*accounts_of(planted), clock_account(planted.now)])
    context = Context(
        venue=open_venue("perpetuals", str(PROGRAM)),
        chain=Chain(shelf),
        store=StoreThread(open_store(f"sqlite:{place / 'k.db'}")),
        clock=SystemClock(),
        rng=SystemRng(),
        owner="scan",
    )
    keeper = Keeper(context, gate=None, liquidator=None, streams=None, tuning=Tuning())
    try:
        return await survey(keeper, context)
    finally:
        await context.store.close()


def one_of(side, oracle, state):
    found = [
        one
        for one in VECTORS
        if (one["side"], one["oracle"], one["expect"]["state"]) == (side, oracle, state)
    ]
    return Planted(found[0]), found[0]


@pytest.mark.parametrize("side", ["long", "short"])
@pytest.mark.parametrize("oracle", ["custom", "pyth_legacy"])
@pytest.mark.parametrize("state", [0, 1])
async def test_a_scan_finds_what_the_program_calls_liquidatable(tmp_path, side, oracle, state):
    planted, vector = one_of(side, oracle, state)

    found = await scanned(tmp_path, planted)

    assert (found.coverage.evaluated, found.coverage.unknown) == (1, {})
    expected = [vector["position"]] if state else []
    assert [finding.position.address for finding in found.findings] == expected


def test_the_rent_of_the_closed_position_counts_against_the_cost():
    plan = Plan(
        instructions=(), liquidate_index=0, compute_units=1, creates=("a",), returns_lamports=7
    )
    draft = Draft(
        position="p",
        plan=plan,
        message=b"",
        blockhash=Blockhash(hash="h", last_valid_block_height=1, context_slot=1),
        compute_unit_limit=1,
        price_micro_lamports=0,
        ceiling_lamports=0,
    )

    assert draft.lost_lamports({}) == draft.cost_lamports({}) - 7


async def test_a_stale_price_counts_as_unknown(tmp_path):
    planted, _ = one_of("short", "custom", None)

    found = await scanned(tmp_path, planted)

    assert (found.coverage.evaluated, found.coverage.unknown) == (0, {"price_stale": 1})


async def test_a_custody_that_is_missing_counts_as_unknown(tmp_path):
    planted, _ = one_of("short", "custom", 1)
    planted.missing.add("collateral_custody")

    found = await scanned(tmp_path, planted)

    assert (found.findings, found.coverage.unknown) == ((), {"collateral_missing": 1})


async def test_a_position_that_is_cut_off_counts_as_unknown(tmp_path):
    planted, _ = one_of("long", "custom", 1)
    del planted.data["position"][100:]

    found = await scanned(tmp_path, planted)

    assert (found.findings, found.coverage.unknown) == ((), {"wrong_length": 1})
