"""Complete passes over Adrena and Jupiter, and their programs' own answers, out of forged accounts."""

import base64
import json

import pytest

from liqctl.chain.client import Chain
from liqctl.chain.clusters import MAINNET_GENESIS
from liqctl.cli.connect import Connection, keeper_of, pool_of, signer_of
from liqctl.cli.options import Session
from liqctl.cli.render import Screen
from liqctl.config import Settings
from liqctl.core.account import Gone
from liqctl.core.position import Market
from liqctl.errors import LayoutError
from liqctl.keeper.asking import ask_program, ask_view
from liqctl.keeper.context import Context
from liqctl.keeper.explanation import read_whole
from liqctl.keeper.reading import FreshRead
from liqctl.keeper.service import Keeper, Tuning
from liqctl.keeper.storage import StoreThread
from liqctl.keeper.survey import survey
from liqctl.ports import SystemClock, SystemRng
from liqctl.store.open import open_store
from liqctl.venues.adrena import AdrenaVenue
from tests.keeper.test_perpetuals_scan import Shelf, clock_account
from tests.venues import adrena_cases as adrena
from tests.venues import test_jupiter as jupiter
from tests.venues.forged import ADRENA, NOW, address

PAYER = address(60)


class Answering(Shelf):
    """A shelf whose simulations all end in the same way."""

    def __init__(self, accounts, *, returned=None, program=ADRENA, code=None):
        super().__init__(accounts)
        self.returned, self.program, self.code = returned, program, code
        self.simulated = 0

    async def call(self, method, params):
        if method == "getEpochInfo":
            return {"absoluteSlot": 7, "blockHeight": 7}
        if method == "getLatestBlockhash":
            value = {"blockhash": PAYER, "lastValidBlockHeight": 100}
        elif method == "simulateTransaction":
            self.simulated += 1
            at = {"InstructionError": [2, {"Custom": self.code}]}
            told = None
            if self.returned is not None:
                text = base64.b64encode(self.returned).decode()
                told = {"programId": self.program, "data": [text, "base64"]}
            value = {
                "err": None if self.code is None else at,
                "logs": [],
                "unitsConsumed": 30_000,
                "returnData": told,
                "accounts": None,
            }
        else:
            return await super().call(method, params)
        return {"context": {"slot": 7}, "value": value}


def shelf(accounts, **more):
    return Answering([*accounts.values(), clock_account(NOW)], **more)


def context_of(place, venue, accounts):
    return Context(
        venue=venue,
        chain=Chain(shelf(accounts)),
        store=StoreThread(open_store(f"sqlite:{place / 'k.db'}")),
        clock=SystemClock(),
        rng=SystemRng(),
        owner="scan",
    )


async def scanned(place, venue, accounts):
    context = context_of(place, venue, accounts)
    keeper = Keeper(context, gate=None, liquidator=None, streams=None, tuning=Tuning())
    try:
        return await survey(keeper, context)
    finally:
        await context.store.close()


async def test_an_adrena_scan_finds_by_estimate_and_says_that_it_is_one(tmp_path):
    low = adrena.oracle(145 * adrena.DOLLAR)

    found = await scanned(tmp_path, adrena.VENUE, adrena.world(low))

    assert [one.position.address for one in found.findings] == [adrena.LONG_AT]
    assert [one.assessment.exact for one in found.findings] == [False]
    assert (found.coverage.evaluated, found.coverage.unknown, found.estimates) == (2, {}, ())


async def test_a_jupiter_scan_finds_nothing_to_liquidate_and_lists_estimates(tmp_path):
    high = jupiter.price(120_000_000_000)

    found = await scanned(tmp_path, jupiter.VENUE, jupiter.world(high))

    assert found.findings == ()
    assert found.coverage.unknown == {"estimate_only": 2}
    assert [one.position.address for one in found.estimates] == [jupiter.SHORT_AT]


async def test_a_watch_only_venue_gets_no_key_and_no_drafts(tmp_path):
    context = context_of(tmp_path, jupiter.VENUE, jupiter.world())
    settings = Settings(venue=("jupiter",), keypair=str(tmp_path / "none.json"))
    session = Session(settings=settings, origins={}, screen=Screen(), yes=True)

    connection = Connection(
        settings=settings,
        venue=context.venue,
        chain=context.chain,
        rpc=pool_of(settings, context.clock, context.rng),
        clock=context.clock,
        genesis=MAINNET_GENESIS,
    )
    try:
        async with signer_of(session, connection) as signer:
            assert signer is None
        keeper = keeper_of(context, settings, signer=None, liquidator=PAYER, streams=False)
        assert keeper.liquidator is None
    finally:
        await context.store.close()


@pytest.mark.parametrize(
    "node, liquidatable, outcome",
    [
        ({"returned": b"\1"}, True, "ok"),
        ({"returned": b"\0"}, False, "ok"),
        ({"returned": b""}, False, "ok"),
        ({"returned": None}, False, "ok"),
        # What another program returned is no answer of this one.
        ({"returned": b"\1", "program": PAYER}, False, "ok"),
        ({"returned": b"\7"}, None, "layout"),
        ({"code": 6021}, False, "healthy"),
        ({"code": 6004}, None, "oracle"),
        ({"code": 6108}, None, "paused"),
    ],
)
async def test_the_programs_own_view_is_read_with_care(node, liquidatable, outcome):
    position, view = (
        adrena.view_of(adrena.world())[adrena.LONG_AT].value,
        adrena.view_of(adrena.world()),
    )
    chain = shelf(adrena.world(), **node)

    answer = await ask_view(adrena.VENUE, Chain(chain), position, view, PAYER)

    assert answer is not None
    assert (answer.by, answer.liquidatable, answer.outcome) == ("view", liquidatable, outcome)
    assert chain.simulated == 1
    assert (await ask_program(adrena.VENUE, Chain(chain), position, view, PAYER)) == answer


async def test_without_a_view_the_liquidation_itself_is_tried():
    view = adrena.view_of(adrena.world())
    position = view[adrena.LONG_AT].value

    class Silent(AdrenaVenue):
        def confirmation(self, position, view):
            return None

    venue = Silent(ADRENA)
    refused = shelf(adrena.world(), code=6021)
    refused_at_setup = await ask_program(venue, Chain(refused), position, view, PAYER)

    # Instruction 2 of the message is the set-up, so the code is not the program's.
    assert refused_at_setup is not None
    assert (refused_at_setup.by, refused_at_setup.outcome) == ("liquidation", "setup")
    passed = await ask_program(venue, Chain(shelf(adrena.world())), position, view, PAYER)
    assert passed is not None
    assert (passed.liquidatable, passed.by) == (True, "liquidation")


async def test_a_watch_only_program_is_asked_nothing():
    position, view = jupiter.seen()
    node = shelf(jupiter.world())

    assert await ask_program(jupiter.VENUE, Chain(node), position, view, PAYER) is None
    assert node.simulated == 0
    with pytest.raises(LayoutError, match="keeper-only"):
        jupiter.VENUE.plan(position, view, PAYER)
    assert json.dumps(list(jupiter.VENUE.discriminators())) == '["position", "market"]'


@pytest.mark.parametrize("venue, accounts, where, named", [
    (adrena.VENUE, adrena.world(adrena.profile()), adrena.SHORT_AT, {adrena.USDC_AT, adrena.ORACLE_AT, adrena.PROFILE_AT}),
    (jupiter.VENUE, jupiter.world(), jupiter.SHORT_AT, {jupiter.USDC_AT, jupiter.PRICE_AT}),
])  # fmt: skip
async def test_one_position_is_read_with_all_that_its_accounts_name(venue, accounts, where, named):
    read = await read_whole(venue, Chain(shelf(accounts)), where)

    assert isinstance(read, FreshRead)
    assert read.position is not None
    assert (read.position.address, read.now_s) == (where, NOW)
    assert read.view.keys() >= named


async def test_what_is_no_position_comes_back_as_what_it_is():
    node = Chain(shelf(jupiter.world()))

    assert isinstance(await read_whole(jupiter.VENUE, node, jupiter.SOL_AT), Market)
    assert isinstance(await read_whole(jupiter.VENUE, node, PAYER), Gone)
