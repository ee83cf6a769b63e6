"""Price accounts of the simulated cluster: right most of the time, wrong in nine ways."""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from solders.pubkey import Pubkey

from liqctl.localnet.account import AccountState
from liqctl.localnet.markets import MarketSpec
from liqctl.localnet.paths import Quote
from liqctl.localnet.publisher import EXPONENT
from liqctl.oracle.price_update import DISCRIMINATOR, RECEIVER_CLASSIC, RECEIVER_UPGRADED
from liqctl.sim.swarm import Dice

_HEAD = struct.Struct("<8s32s")
_BODY = struct.Struct("<32sqQiqqqQQ")
_FULL = b"\x01"
_PARTIAL = b"\x00\x05"
_OWNERS = {
    False: Pubkey.from_string(RECEIVER_CLASSIC),
    True: Pubkey.from_string(RECEIVER_UPGRADED),
}
_LAMPORTS = 1_825_020
_PPM = 1_000_000
_SWINGS_PPM = {"calm": 2_000, "moves": 20_000, "crash": 60_000, "dips": 20_000}
_DIP_SLOTS = 90
_JUMP_SHARE = 0.25
_FAULT_CHANCE = 0.01
_FAULT_SLOTS = (5, 60)
_STALE_SLOTS = (100, 180)
_TOO_OLD_S = 61


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pace:
    """How long at most prices rest and slide; far ways are the rarer, the higher `rarity`."""

    rest_slots_max: int
    slide_slots_max: int
    rarity: float


_PACES = {
    "slow": _Pace(rest_slots_max=80, slide_slots_max=60, rarity=2.0),
    "brisk": _Pace(rest_slots_max=30, slide_slots_max=25, rarity=1.2),
    "restless": _Pace(rest_slots_max=15, slide_slots_max=15, rarity=1.2),
}


@dataclass(slots=True)
class _Fault:
    """What is wrong with a market's price until a slot; `size` says how much, from 0 to 1."""

    kind: str
    until_slot: int
    size: float


@dataclass(slots=True)
class _Way:
    """Where one market's price is, in ppm of its start, and where it goes."""

    level_ppm: int = _PPM
    target_ppm: int = _PPM
    slots_left: int = 0
    rests: bool = False


class Path:
    """Prices that rest, then slide or jump to another level, up or down, around the start price."""

    def __init__(self, kind: str, pace: str, specs: Sequence[MarketSpec], rng: Dice) -> None:
        """Begin at the start prices.

        `kind` is calm, moves, crash, or dips, which last; `pace` is slow, brisk or restless.
        """
        self._swing_ppm = _SWINGS_PPM[kind]
        self._specs = specs
        self._rng = rng
        self._pace = _PACES[pace]
        self._lasts = kind == "dips"
        self._rarity = 0.5 if self._lasts else self._pace.rarity
        self._ways = {one.symbol: _Way(rests=self._lasts) for one in specs}

    def step(self) -> Mapping[str, Quote]:
        """Move on by one slot and return the quotes of all markets."""
        return {one.symbol: self._quote(one, self._ways[one.symbol]) for one in self._specs}

    def _quote(self, spec: MarketSpec, way: _Way) -> Quote:
        if way.slots_left == 0:
            self._turn(way)
        way.level_ppm += (way.target_ppm - way.level_ppm) // way.slots_left
        way.slots_left -= 1
        noise_ppm = int(self._rng.between(-1.0, 1.0) * spec.volatility_ppm)
        return Quote.of(spec.start_price_e8 * (way.level_ppm + noise_ppm) // _PPM)

    def _turn(self, way: _Way) -> None:
        way.rests = not way.rests
        if way.rests:
            way.slots_left = (
                _DIP_SLOTS if self._lasts else self._rng.whole(1, self._pace.rest_slots_max)
            )
            return
        far = int(self._swing_ppm * self._rng.random() ** self._rarity)
        way.target_ppm = _PPM + (far if self._rng.chance(0.5) else -far)
        falls = self._rng.chance(_JUMP_SHARE)
        way.slots_left = 1 if falls else self._rng.whole(2, self._pace.slide_slots_max)


class Prices:
    """The published prices of all markets, slot by slot."""

    def __init__(self, specs: Sequence[MarketSpec], path: Path, rng: Dice) -> None:
        """Nothing is published yet."""
        self.quotes: Mapping[str, Quote] = {}
        self._specs = specs
        self._path = path
        self._rng = rng
        self._faults: dict[str, _Fault] = {}
        self._slot: int | None = None
        self._held = False

    def calm(self) -> None:
        """End what is wrong with the prices now."""
        self._faults.clear()

    def hold(self) -> None:
        """Let the true prices stand still from now on; they go on being published."""
        self._held = True

    def move(self, slot: int) -> None:
        """Let the true prices go on to a slot."""
        steps = 1 if self._slot is None else slot - self._slot
        self._slot = slot
        if self._held and self.quotes:
            return
        for _ in range(steps):
            self.quotes = self._path.step()

    def begin_faults(self, kinds: tuple[str, ...], slot: int) -> list[str]:
        """Draw new faults of these kinds and return those that begin; old ones end by themselves."""
        begun: list[str] = []
        for spec in self._specs:
            fault = self._faults.get(spec.symbol)
            if fault is not None and slot >= fault.until_slot:
                del self._faults[spec.symbol]
            elif fault is None and kinds and self._rng.chance(_FAULT_CHANCE):
                kind = self._rng.pick(kinds)
                lasts = self._rng.whole(*(_STALE_SLOTS if kind == "stale" else _FAULT_SLOTS))
                self._faults[spec.symbol] = _Fault(kind, slot + lasts, self._rng.random())
                begun.append(kind)
        return begun

    def account(self, spec: MarketSpec, slot: int, unix_s: int) -> AccountState | None:
        """Return the market's price account as published now; None when nothing is published."""
        quote = self.quotes[spec.symbol]
        fault = self._faults.get(spec.symbol) or _Fault("", 0, 0.0)
        price, confidence, exponent = quote.price_e8, quote.confidence_e8, EXPONENT
        match fault.kind:
            case "stale":
                return None
            case "future":
                unix_s += 1 + int(fault.size * 3_600)
            case "aged":
                unix_s -= _TOO_OLD_S + int(fault.size * _TOO_OLD_S)
            case "wide":
                confidence = price * int(15_000 + fault.size * 500_000) // _PPM
            case "negative":
                price = -price
            case "exponent_flip":
                exponent = 8 if fault.size < 0.5 else -5
            case "jump":
                price = price * 10 if fault.size < 0.5 else price // 10
            case _:
                pass
        body = _BODY.pack(
            spec.feed, price, confidence, exponent, unix_s, unix_s, quote.price_e8, confidence, slot
        )
        tag, tail = (_PARTIAL, b"") if fault.kind == "partial_verification" else (_FULL, b"\0")
        head = _HEAD.pack(DISCRIMINATOR, bytes(spec.price_account))
        return AccountState(
            lamports=_LAMPORTS,
            data=head + tag + body + tail,
            owner=_OWNERS[fault.kind == "wrong_owner"],
        )
