"""No account is taken for another: every slot of every instruction against forgeries."""

import struct

import pytest
from solders.account import Account
from solders.pubkey import Pubkey

from tests.localnet.program_world import (
    ERRORS,
    FUND,
    INSTRUCTIONS,
    PROGRAM,
    TOKEN_PROGRAM,
    VAULT,
    ProgramWorld,
    encode_account,
    instruction,
)

BASE = 10**9
QUOTE = 10**6
ONLY_STORED = {("initialize_market", "price_account"), ("update_market", "price_account")}
SLOTS = [
    (name, account["name"])
    for name, described in INSTRUCTIONS.items()
    for account in described["accounts"]
    if not account.get("signer") and (name, account["name"]) not in ONLY_STORED
]
FLAGGED = [
    (name, account["name"], flag)
    for name, described in INSTRUCTIONS.items()
    for account in described["accounts"]
    for flag in ("signer", "writable")
    if account.get(flag)
]


class Scene:
    """A world where every instruction would succeed: a liquidatable position, a healthy one, a free market."""

    def __init__(self) -> None:
        self.world = world = ProgramWorld().setup()
        self.owner, self.liquidator = world.person(10**12), world.person()
        self.healthy, self.falling = world.market(symbol=b"A"), world.market(symbol=b"B")
        self.free = world.market_accounts(symbol=b"C")
        for market in (self.healthy, self.falling):
            opened = world.open(self.owner, market, size=10 * BASE, collateral=100 * QUOTE)
            assert opened.error is None
        world.set_price(self.falling, 80 * QUOTE)

    def call(self, name):
        """World, signer, accounts and arguments of an instruction that would succeed."""
        world, owner = self.world, self.owner
        authority = world.authority
        if name == "initialize_insurance_fund":
            fresh = ProgramWorld()
            return fresh, fresh.authority, fresh.fund_accounts(), {}
        params = {"params": self.free.params}
        update = {"params": self.healthy.params, "paused": False}
        opening = {"id": 1, "size": 10 * BASE, "collateral": 100 * QUOTE, "leverage": 10}
        funding = {"funder": owner.key, "funder_token": owner.token}
        return {
            "initialize_market": (world, authority, world.market_call(self.free), params),
            "update_market": (world, authority, world.market_call(self.healthy), update),
            "fund_insurance": (world, owner, funding, {"amount": 5}),
            "open_position": (world, owner, world.open_call(owner, self.healthy, 1), opening),
            "add_collateral": (world, owner, world.open_call(owner, self.healthy), {"amount": 5}),
            "close_position": (world, owner, world.open_call(owner, self.healthy), {}),
            "liquidate": (world, self.liquidator,
                          world.liquidate_call(self.liquidator, owner, self.falling), {"max_size": 2**64 - 1}),
            "assess": (world, authority, world.open_call(owner, self.falling), {"max_size": 2**64 - 1}),
        }[name]  # fmt: skip


@pytest.fixture
def scene() -> Scene:
    return Scene()


@pytest.mark.parametrize("name", INSTRUCTIONS)
def test_the_untouched_call_succeeds(scene, name):
    world, signer, accounts, args = scene.call(name)

    assert world.call(name, [signer], accounts, **args).error is None


@pytest.mark.parametrize(("name", "slot", "flag"), FLAGGED)
def test_a_missing_signature_or_write_permission_is_refused(scene, name, slot, flag):
    world, signer, accounts, args = scene.call(name)
    described = next(
        account for account in INSTRUCTIONS[name]["accounts"] if account["name"] == slot
    )
    flags = {
        slot: (
            described.get("signer", False) and flag != "signer",
            described.get("writable", False) and flag != "writable",
        )
    }
    payer = world.person()
    signers = [payer] if flag == "signer" else [payer, signer]
    if not any(account.get("signer") for account in INSTRUCTIONS[name]["accounts"]):
        signers = [payer]

    result = world.send([instruction(name, accounts, flags=flags, **args)], signers)

    assert result.error == {"signer": "MissingSignature", "writable": "AccountNotWritable"}[flag]


def _forgeries(original: Account | None) -> list[Account | None]:
    """Nothing at all; the same bytes of another owner; the same bytes and owner at another address."""
    if original is None or not original.data:
        return [None, Account(10**9, bytes(200), PROGRAM)]
    body = bytes(original.data)
    spoiled = b"\xff" + body[1:]
    if len(body) == 82:
        spoiled = body[:45] + b"\0" + body[46:]  # a mint that is not initialized
    return [
        None,
        Account(10**9, body, TOKEN_PROGRAM if original.owner == PROGRAM else PROGRAM),
        Account(10**9, body[:-1], original.owner),
        Account(10**9, spoiled, original.owner),
        Account(10**9, body, original.owner),
    ]


AS_GOOD = {"mint", "funder_token", "liquidator_token", "owner_token"}
"""A perfect copy of these is no forgery."""


@pytest.mark.parametrize(("name", "slot"), SLOTS)
def test_a_substituted_account_is_refused_with_a_name(scene, name, slot):
    world, signer, accounts, args = scene.call(name)
    place = [account["name"] for account in INSTRUCTIONS[name]["accounts"]].index(slot)
    original = instruction(name, accounts, **args).accounts[place].pubkey
    forgeries = _forgeries(world.svm.get_account(original))
    errors = []
    for forgery in forgeries[: -1 if slot in AS_GOOD else None]:
        key = Pubkey.new_unique()
        if forgery is not None:
            world.svm.set_account(key, forgery)
        errors.append(world.call(name, [signer], {**accounts, slot: key}, **args).error)

    assert set(errors) <= set(ERRORS.values()), errors
    assert len(errors) >= 2


@pytest.mark.parametrize("slot", ["insurance_fund", "market", "position"])
def test_a_perfect_copy_at_another_address_is_refused(scene, slot):
    world, signer, accounts, args = scene.call("liquidate")
    original = {"insurance_fund": FUND, **accounts}[slot]
    copy = Pubkey.new_unique()
    world.put(copy, world.raw(original))

    result = world.call("liquidate", [signer], {**accounts, slot: copy}, **args)

    assert result.error == ("WrongMarket" if slot == "market" else "AccountWrongAddress")


@pytest.mark.parametrize("slot", ["insurance_fund", "market", "position"])
def test_the_right_bytes_at_the_right_address_need_the_right_owner(scene, slot):
    world, signer, accounts, args = scene.call("liquidate")
    key = {"insurance_fund": FUND, **accounts}[slot]
    world.put(key, world.raw(key), TOKEN_PROGRAM)

    assert world.call("liquidate", [signer], accounts, **args).error == "AccountWrongOwner"


@pytest.mark.parametrize("slot", ["insurance_fund", "market", "position"])
@pytest.mark.parametrize("change", ["longer", "shorter", "discriminator"])
def test_the_right_address_needs_the_right_type(scene, slot, change):
    world, signer, accounts, args = scene.call("liquidate")
    key = {"insurance_fund": FUND, **accounts}[slot]
    body = world.raw(key)
    wrong = {"longer": body + b"\0", "shorter": body[:-1], "discriminator": bytes(8) + body[8:]}
    world.put(key, wrong[change])

    assert world.call("liquidate", [signer], accounts, **args).error == "AccountWrongType"


def test_a_position_with_a_forged_owner_does_not_fit_its_address(scene):
    world, signer, accounts, args = scene.call("close_position")
    thief = world.person()
    fields = world.read("Position", accounts["position"])
    forged = Pubkey.new_unique()
    world.put(forged, encode_account("Position", {**fields, "owner": thief.key}))
    stolen = {**accounts, "owner": thief.key, "owner_token": thief.token, "position": forged}

    assert world.call("close_position", [thief], stolen, **args).error == "AccountWrongAddress"
    assert signer is scene.owner


@pytest.mark.parametrize("name", ["add_collateral", "close_position"])
def test_only_the_owner_changes_a_position(scene, name):
    world, _, accounts, args = scene.call(name)
    thief = world.person(10**9)
    stolen = {**accounts, "owner": thief.key, "owner_token": thief.token}

    assert world.call(name, [thief], stolen, **args).error == "WrongPositionOwner"


@pytest.mark.parametrize("name", ["initialize_market", "update_market"])
def test_only_the_authority_changes_markets(scene, name):
    world, _, accounts, args = scene.call(name)
    thief = world.person()

    assert (
        world.call(name, [thief], {**accounts, "authority": thief.key}, **args).error
        == "WrongAuthority"
    )


def test_positions_and_markets_cannot_be_crossed(scene):
    world, signer, accounts, args = scene.call("liquidate")
    other = {"market": scene.healthy.key, "price_account": scene.healthy.price}
    swapped = {"market": accounts["position"], "position": accounts["market"]}
    closing = {**world.open_call(scene.owner, scene.healthy), "market": scene.falling.key}

    assert world.call("liquidate", [signer], {**accounts, **other}, **args).error == "WrongMarket"
    assert (
        world.call("liquidate", [signer], {**accounts, **swapped}, **args).error
        == "AccountWrongType"
    )
    assert world.call("close_position", [scene.owner], closing).error == "WrongMarket"


def test_the_fund_and_a_market_are_not_taken_for_each_other(scene):
    world, signer, accounts, args = scene.call("liquidate")

    assert world.call("liquidate", [signer], {**accounts, "insurance_fund": scene.healthy.key},
                      **args).error == "AccountWrongType"  # fmt: skip
    assert (
        world.call("liquidate", [signer], {**accounts, "position": FUND}, **args).error
        == "AccountWrongType"
    )


@pytest.mark.parametrize(
    ("slot", "error"),
    [
        ("liquidator_token", "LiquidatorTokenMismatch"),
        ("owner_token", "OwnerTokenMismatch"),
    ],
)
def test_tokens_go_to_the_right_people_in_the_right_mint(scene, slot, error):
    world, signer, accounts, args = scene.call("liquidate")
    person = {"liquidator_token": scene.liquidator, "owner_token": scene.owner}[slot]
    other_mint = Pubkey.new_unique()
    world.put_mint(other_mint)
    wrong = [
        world.token_account(world.authority.key),
        world.token_account(person.key, mint=other_mint),
        VAULT,
    ]

    errors = [
        world.call("liquidate", [signer], {**accounts, slot: key}, **args).error for key in wrong
    ]

    assert errors == [error] * 3


def test_an_uninitialized_token_account_is_refused(scene):
    world, signer, accounts, args = scene.call("liquidate")
    body = bytearray(world.raw(accounts["liquidator_token"]))
    body[108] = 0
    key = Pubkey.new_unique()
    world.put(key, bytes(body), TOKEN_PROGRAM)

    result = world.call("liquidate", [signer], {**accounts, "liquidator_token": key}, **args)

    assert result.error == "InvalidTokenAccount"


@pytest.mark.parametrize(
    "name", ["fund_insurance", "open_position", "add_collateral", "close_position", "liquidate"]
)
def test_another_vault_is_refused_even_when_the_fund_owns_it(scene, name):
    world, signer, accounts, args = scene.call(name)
    vault = world.token_account(FUND, 10**15)

    assert world.call(name, [signer], {**accounts, "vault": vault}, **args).error == "WrongVault"


def test_a_position_is_created_only_at_the_address_of_its_own_seeds(scene):
    world, signer, accounts, args = scene.call("open_position")
    seeds = [b"position", bytes(signer.key), bytes(scene.falling.key), struct.pack("<Q", 1)]
    elsewhere = [
        Pubkey.find_program_address(seeds, PROGRAM)[0],
        world.position(signer, scene.healthy, 2),
        world.position(scene.liquidator, scene.healthy, 1),
        signer.key,
    ]

    errors = [
        world.call("open_position", [signer], {**accounts, "position": key}, **args).error
        for key in elsewhere
    ]

    assert errors == ["AccountWrongAddress"] * 4


def test_the_same_token_account_may_serve_owner_and_liquidator(scene):
    world, _, accounts, args = scene.call("liquidate")
    own = {**accounts, "liquidator": scene.owner.key, "liquidator_token": scene.owner.token}

    result = world.call("liquidate", [scene.owner], own, **args)

    assert result.error is None
