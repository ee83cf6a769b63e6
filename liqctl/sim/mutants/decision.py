"""Mutants of decisions: prices, accounts and verdicts that are taken for more than they are."""

from collections.abc import Mapping
from dataclasses import replace

from liqctl.chain import client
from liqctl.chain.wire import KeyedAccountForm, account_of, parsed
from liqctl.core import sending
from liqctl.core.account import Decoded, Seen, Undecodable
from liqctl.core.health import Assessment
from liqctl.core.position import Market, Position
from liqctl.core.price import PriceReading, PriceRules, refusal
from liqctl.errors import RpcMalformed
from liqctl.keeper import doubting, executor, feeds, reading
from liqctl.oracle.price_update import RECEIVER_CLASSIC as CLASSIC
from liqctl.sim.mutants.judges import Judge, judged_by, no_guard, no_trial, prices_taken_for
from liqctl.sim.mutants.registry import Mutant, Part, Patches
from liqctl.sim.mutants.worlds import World, world
from liqctl.sim.swarm import MarketFaults, NodeFaults, OwnFaults
from liqctl.venues.reference_layout import MarketRecord

IMPOSTORS = ("wrong_owner", "partial_verification", "exponent_flip")


class LastPrice(Judge):
    """Takes the last good price where there is none now."""

    def __init__(self, *parts: Part) -> None:
        """Know no price yet."""
        super().__init__(*parts)
        self._last: dict[str, PriceReading] = {}
        self._rules: dict[str, PriceRules] = {}

    def lens(self, view: Mapping[str, Seen], now_s: int) -> Mapping[str, Seen]:
        """Learn the rules of all markets on the way."""
        for seen in view.values():
            if isinstance(seen.value, Market) and isinstance(seen.value.record, MarketRecord):
                self._rules[seen.value.price_account] = seen.value.record.rules
        return super().lens(view, now_s)

    def taken_for(self, seen: Seen, now_s: int) -> Decoded:
        """Return the last good price in place of a bad one."""
        rules = self._rules.get(seen.address)
        if rules is None:
            return seen.value
        reading = seen.value
        if isinstance(reading, PriceReading) and refusal(reading, rules, now_s) is None:
            self._last[seen.address] = reading
            return reading
        last = self._last.get(seen.address)
        return seen.value if last is None else replace(last, publish_time=now_s)


def _divided(reading: PriceReading) -> PriceReading:
    factor = 10 ** max(-2 * reading.exponent, 0)
    return replace(
        reading, mantissa=reading.mantissa * factor, confidence=reading.confidence * factor
    )


def _tenth(reading: PriceReading) -> PriceReading:
    return replace(reading, exponent=reading.exponent - 1)


def _certain(reading: PriceReading) -> PriceReading:
    return replace(reading, confidence=0)


def _vouched_for(reading: PriceReading) -> PriceReading:
    return replace(reading, owner=CLASSIC, fully_verified=True)


class HostTime(Judge):
    """Tells the age of a price by the host's clock."""

    def time(self, now_s: int) -> int:  # noqa: ARG002 - that is the fault
        """Return the host's time."""
        return self.clock.unix_ms() // 1_000


class Hasty(Judge):
    """Takes an unknown verdict for the worst."""

    def assess(self, position: Position, view: Mapping[str, Seen], now_s: int) -> Assessment:
        """Return the verdict, with that changed."""
        verdict = super().assess(position, view, now_s)
        if verdict.liquidatable is None:
            return replace(verdict, liquidatable=True, unknown_reason=None)
        return verdict


class Prophet(Judge):
    """Uses prices from the future."""

    def assess(self, position: Position, view: Mapping[str, Seen], now_s: int) -> Assessment:
        """Return the verdict, with that changed."""
        verdict = super().assess(position, view, now_s)
        return replace(verdict, blockers=())


def _two_reads(patches: Patches) -> None:
    async def read(
        venue: Part, chain: Part, position: Part, view: Part, *rest: Part, **more: Part
    ) -> Part:
        fresh = await fresh_read(venue, chain, position, view, *rest, **more)
        known = view.get(position.address)
        if known is None or not isinstance(known.value, Position):
            return fresh
        mixed = {**fresh.view, position.address: known}
        verdict = venue.assess(known.value, mixed, fresh.now_s)
        return replace(fresh, view=mixed, position=known.value, assessment=verdict)

    fresh_read = patches.set(executor, "read_fresh", read)


def _no_fresh_read(patches: Patches) -> None:
    async def read(
        venue: Part, chain: Part, position: Part, view: Part, *rest: Part, **more: Part
    ) -> Part:
        fresh = await fresh_read(venue, chain, position, view, *rest, **more)
        addresses = [position.address, *venue.dependencies(position, view)]
        known = {address: view[address] for address in addresses if address in view}
        verdict = venue.assess(position, known, fresh.now_s)
        return replace(fresh, view=known, position=position, assessment=verdict)

    fresh_read = patches.set(executor, "read_fresh", read)


def _one_aborts_all(patches: Patches) -> None:
    def decode(*parts: Part) -> Part:
        seen = decoded(*parts)
        if isinstance(seen.value, Undecodable):
            raise RpcMalformed(f"{seen.address} is no account of the program")
        return seen

    decoded = patches.set(feeds, "decode", decode)


def _unchecked(patches: Patches) -> None:
    """Decode what begins with the wrong bytes, or belongs to somebody else, all the same."""

    def decode(venue: Part, address: str, account: Part, slot: int) -> Part:
        seen = decoded(venue, address, account, slot)
        if account is None or not isinstance(seen.value, Undecodable):
            return seen
        head = venue.discriminators()["position"]
        forged = replace(account, owner=venue.program_id, data=head + account.data[len(head) :])
        return decoded(venue, address, forged, slot)

    decoded = patches.set(feeds, "decode", decode)
    patches.set(reading, "decode", decode)


def _unfiltered(patches: Patches) -> None:
    """Let the client take whatever a list of a program's accounts has in it."""

    def entry(each: Part, _program: str, _head: bytes, slot: int) -> Part:
        return account_of(each["pubkey"], parsed(each, KeyedAccountForm, "").account, slot)

    patches.set(client, "snapshot_entry", entry)
    no_trial(patches)


def _any_generation(patches: Patches) -> None:
    def objection(state: Part, read: Part) -> Part:
        return before(state, replace(read, generation=None))

    before = patches.set(sending, "objection", objection)


def _any_confidence(patches: Patches) -> None:
    """Liquidate although the position is healthy at the owner's end of the confidence."""

    def guard(venue: Part, limits: Part, **more: Part) -> object:
        return before(venue, limits, **{**more, "program_decides": True})

    before = patches.set(doubting, "PriceGuard", guard)


def _prices(**more: Part) -> World:
    return world(market=MarketFaults(**more))


DECISION: tuple[Mutant, ...] = (
    Mutant(
        name="M42",
        text="a price that is refused is replaced by the last good one; no trial, no guard",
        caught_by=("ORACLE",),
        patch=judged_by(LastPrice),
        unmask=no_guard,
        swarm=_prices(prices=("negative", "wrong_owner", "partial_verification", "exponent_flip")),
    ),
    Mutant(
        name="M43",
        text="a price is divided by the power of ten",
        caught_by=("NOT_LIVE",),
        patch=prices_taken_for(_divided),
        swarm=world(),
    ),
    Mutant(
        name="M44",
        text="the confidence of a price is ignored; no trial, no guard",
        caught_by=("ORACLE",),
        patch=prices_taken_for(_certain),
        unmask=no_guard,
        swarm=_prices(prices=("wide",)),
    ),
    Mutant(
        name="M45",
        text="position and market come from two reads; no trial",
        caught_by=("HEALTHY", "STALE"),
        patch=_two_reads,
        unmask=no_trial,
        swarm=world(market=MarketFaults(traders=0.5), node=NodeFaults(push=0.5)),
    ),
    Mutant(
        name="M46",
        text="one account that cannot be decoded aborts the scan",
        caught_by=("COVERAGE", "NOT_LIVE", "STALL"),
        patch=_one_aborts_all,
        swarm=_prices(accounts=("truncated",)),
        fast=True,
    ),
    Mutant(
        name="M47",
        text="owner and first bytes of an account are not checked; nor by the client, no trial",
        caught_by=("HOSTILE",),
        patch=_unchecked,
        unmask=_unfiltered,
        swarm=world(
            market=MarketFaults(accounts=("other_owner", "other_discriminator")),
            node=NodeFaults(unfiltered=1.0),
        ),
    ),
    Mutant(
        name="X64",
        text="a position that was opened again is taken for the earlier one",
        caught_by=("STALE", "DOUBLE"),
        patch=_any_generation,
        swarm=world(market=MarketFaults(traders=1.0), node=NodeFaults(push=1.0)),
    ),
    Mutant(
        name="M55",
        text="the age of a price is told by the host's clock; no trial, no guard",
        caught_by=("ORACLE", "STALE"),
        patch=judged_by(HostTime),
        unmask=no_guard,
        swarm=world(market=MarketFaults(prices=("aged",)), own=OwnFaults(clock=6.0)),
    ),
    Mutant(
        name="M56",
        text="an unknown verdict is taken for True; no trial, no guard",
        caught_by=("HEALTHY", "ORACLE"),
        patch=judged_by(Hasty),
        unmask=no_guard,
        swarm=world(
            market=MarketFaults(prices=IMPOSTORS, traders=0.5), own=OwnFaults(kill_at_await=2.0)
        ),
        fast=True,
    ),
    Mutant(
        name="X43",
        text="a price is taken for a tenth of what it is; no trial",
        caught_by=("HEALTHY",),
        patch=prices_taken_for(_tenth),
        unmask=no_trial,
        swarm=world(),
    ),
    Mutant(
        name="X44",
        text="whoever publishes a price, and however well it is verified, it is used; no trial, no guard",
        caught_by=("ORACLE",),
        patch=prices_taken_for(_vouched_for),
        unmask=no_guard,
        swarm=_prices(prices=("wrong_owner", "partial_verification")),
    ),
    Mutant(
        name="X55",
        text="a price from the future is used, which no program refuses; no guard",
        caught_by=("ORACLE",),
        patch=judged_by(Prophet),
        unmask=no_guard,
        swarm=_prices(prices=("future",)),
    ),
    Mutant(
        name="X45",
        text="what was known is not read again before a decision is carried out; no trial",
        caught_by=("HEALTHY", "STALE"),
        patch=_no_fresh_read,
        unmask=no_trial,
        swarm=world(market=MarketFaults(traders=0.5), node=NodeFaults(push=0.5)),
    ),
    Mutant(
        name="X66",
        text="a position is liquidated although its owner's end of the confidence keeps it healthy",
        caught_by=("HEALTHY",),
        patch=_any_confidence,
        swarm=world(),
    ),
)
