"""The others on the simulated chain: prices right and wrong, traders, rivals, hostile accounts."""

import pytest
from solders.pubkey import Pubkey

from liqctl.core.account import Gone, Seen, Undecodable
from liqctl.core.position import Market as MarketAccount
from liqctl.core.position import Position
from liqctl.localnet.account import SYSTEM_PROGRAM
from liqctl.localnet.genesis import PROGRAM_ID
from liqctl.oracle.price_update import RECEIVERS, decode_price
from liqctl.sim.cluster import Cluster
from liqctl.sim.market import Market, MarketConfig
from liqctl.sim.planted import planted, seen_account
from liqctl.sim.swarm import rng_for
from liqctl.venues.reference import ReferenceVenue
from tests.sim.small_cluster import new_cluster, run

VENUE = ReferenceVenue(PROGRAM_ID)


def new_market(seed: int = 1, positions: int = 12, **changes: object) -> tuple[Cluster, Market]:
    cluster = new_cluster(seed, positions)
    config = MarketConfig(**{"path": "calm", **changes})  # type: ignore[arg-type]
    return cluster, Market(cluster, rng_for(seed, "market"), config)


def seen(cluster: Cluster, address: str) -> Seen:
    key = Pubkey.from_string(address)
    account = seen_account(key, cluster.account(key), cluster.tip.slot)
    decode = decode_price if account.owner in RECEIVERS else VENUE.decode
    return Seen(address=address, slot=account.slot, value=decode(account))


def mark(cluster: Cluster, symbol: str) -> int | str:
    """Return the price that verdicts would use now, or the word why there is none."""
    market = seen(cluster, cluster.genesis.addresses.markets[symbol]).value
    assert isinstance(market, MarketAccount)
    price = seen(cluster, market.price_account)
    return VENUE.mark_price(market, {price.address: price}, cluster.tip.unix_ms // 1_000)


def test_calm_prices_stay_near_the_start_and_are_fresh_in_every_block():
    cluster, _ = new_market()

    for _ in range(300):
        run(cluster, 1)
        for spec in cluster.genesis.specs:
            price = mark(cluster, spec.symbol)
            assert isinstance(price, int)
            assert abs(price * 100 - spec.start_price_e8) < spec.start_price_e8 // 50


def test_a_crash_makes_some_positions_liquidatable_in_every_seed():
    for seed in range(5):
        cluster, market = new_market(seed, path="crash")
        fell = 0
        for _ in range(40):
            run(cluster, 10)
            for one in cluster.genesis.positions:
                position = seen(cluster, one.position.address).value
                assert isinstance(position, Position)
                fell += market._is_liquidatable(position, cluster.tip)
        assert fell > 2


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        ("stale", "price_stale"),
        ("wide", "price_too_wide"),
        ("negative", "price_not_positive"),
        ("exponent_flip", "price_bad_exponent"),
        ("wrong_owner", "price_wrong_owner"),
        ("partial_verification", "price_not_fully_verified"),
    ],
)
def test_a_wrong_price_is_refused_for_its_own_reason(kind, word):
    cluster, _ = new_market(prices=(kind,))
    words = set()

    for _ in range(1_200):
        run(cluster, 1)
        words |= {mark(cluster, spec.symbol) for spec in cluster.genesis.specs}

    refused = {each for each in words if isinstance(each, str)}
    assert refused == {word}
    assert cluster.faults[f"price_{kind}"] > 1


def test_a_jump_and_a_price_of_the_future_pass_the_program_s_own_rules():
    for kind in ("jump", "future"):
        cluster, _ = new_market(prices=(kind,))
        spec = cluster.genesis.specs[0]
        marks: list[int | str] = []
        ahead = 0
        for _ in range(1_200):
            run(cluster, 1)
            marks.append(mark(cluster, spec.symbol))
            reading = seen(cluster, str(spec.price_account)).value
            ahead += getattr(reading, "publish_time", 0) > cluster.tip.unix_ms // 1_000

        numbers = [one for one in marks if isinstance(one, int)]
        assert len(numbers) == len(marks)
        assert (max(numbers) > 5 * min(numbers)) is (kind == "jump")
        assert (ahead > 0) is (kind == "future")


def test_hostile_accounts_look_like_positions_and_are_none():
    kinds = ("truncated", "other_owner", "other_discriminator")
    cluster, market = new_market(accounts=kinds)

    owned = {
        str(key) for key, _ in cluster.tree.owned_by(Pubkey.from_string(PROGRAM_ID), cluster.tip)
    }
    reasons = {str(seen(cluster, address).value) for address in market.hostile}

    assert len(market.hostile) >= 3
    assert 0 < len(owned & set(market.hostile)) < len(market.hostile)
    assert all(isinstance(seen(cluster, each).value, Undecodable) for each in market.hostile)
    for reason in ("wrong_length", "wrong_owner", "wrong_discriminator"):
        assert any(reason in found for found in reasons)


def test_traders_close_refill_and_open_again_under_a_new_generation():
    cluster, _ = new_market(traders=0.5)
    generations: dict[str, set[int]] = {}
    opened = set()

    for _ in range(200):
        run(cluster, 1)
        opened.add(cluster.tip.slot)
        for one in cluster.genesis.positions:
            found = seen(cluster, one.position.address).value
            if isinstance(found, Position):
                generations.setdefault(found.address, set()).add(found.generation)
            else:
                assert isinstance(found, Gone) or "wrong_owner" in str(found)

    assert max(len(each) for each in generations.values()) > 1
    new = set[int]().union(*generations.values()) - {
        one.position.generation for one in cluster.genesis.positions
    }
    assert len(new) > 5
    assert new <= opened
    for kind in ("account_closed", "account_refilled", "account_reopened"):
        assert cluster.faults[kind] > 3


def test_rivals_take_what_falls_and_shrink_it_when_they_are_told_to():
    for accounts in ((), ("shrunk",)):
        taken = shrunk = 0
        for seed in range(1, 4):
            cluster, _ = new_market(seed, path="crash", rivals=2, accounts=accounts)
            run(cluster, 600)
            taken += cluster.faults["account_taken"]
            shrunk += cluster.faults["account_shrunk"]
        assert taken > 5
        assert bool(shrunk) is bool(accounts)


def paused(cluster: Cluster) -> int:
    """Return how many markets are paused now."""
    values = [seen(cluster, each).value for each in cluster.genesis.addresses.markets.values()]
    return sum(isinstance(one, MarketAccount) and one.paused for one in values)


def test_a_paused_market_opens_again_on_whatever_fork_stays():
    cluster, market = new_market(pauses=0.05)
    cluster.config.fork = 0.2
    counts: list[int] = []
    while len(counts) < 300 or not paused(cluster):
        run(cluster, 1)
        counts.append(paused(cluster))
    assert 0 in counts
    assert cluster.faults["market_paused"] > 5

    market.calm()

    for _ in range(100):
        run(cluster, 1)
        assert paused(cluster) == 0


def test_after_calm_nobody_interferes_any_more():
    cluster, market = new_market(
        path="crash", rivals=2, traders=0.5, pauses=0.1, prices=("stale", "wrong_owner")
    )
    run(cluster, 300)
    symbols = [one.symbol for one in cluster.genesis.specs]
    while all(isinstance(mark(cluster, symbol), int) for symbol in symbols):
        run(cluster, 1)

    market.calm()
    before = dict(cluster.faults)
    run(cluster, 1)

    assert all(isinstance(mark(cluster, symbol), int) for symbol in symbols)
    run(cluster, 300)
    assert dict(cluster.faults) == before


def test_held_prices_stand_still_and_stay_fresh():
    cluster, market = new_market(path="crash")
    run(cluster, 100)

    market.hold()
    run(cluster, 1)
    held = {one.symbol: mark(cluster, one.symbol) for one in cluster.genesis.specs}
    run(cluster, 200)

    assert {one.symbol: mark(cluster, one.symbol) for one in cluster.genesis.specs} == held
    assert all(isinstance(price, int) for price in held.values())


def test_a_selection_leaves_the_other_positions_out():
    whole = planted()
    chosen = whole.selection(rng_for(3, "genesis"), 6)
    kept = {one.position.address for one in chosen.positions}

    assert len(kept) == 6
    for one in whole.positions:
        key = Pubkey.from_string(one.position.address)
        assert (key in chosen.accounts) is (one.position.address in kept)
    assert len(whole.accounts) - len(chosen.accounts) == len(whole.positions) - 6
    assert all(
        one.owner != SYSTEM_PROGRAM for key, one in chosen.accounts.items() if str(key) in kept
    )
