"""The perpetuals program once more, written along its source with an operation for each of its own.

Slow and literal on purpose: every checked operation of the program is one call here, in its
integer type, and nothing is shared with the product's arithmetic.
"""

import hashlib
import struct
from dataclasses import dataclass
from types import SimpleNamespace as Record

U32, U64, U128 = (0, 2**32 - 1), (0, 2**64 - 1), (0, 2**128 - 1)
I32, I64 = (-(2**31), 2**31 - 1), (-(2**63), 2**63 - 1)
BPS, RATE = 10_000, 1_000_000_000
LONG, SHORT = 1, 2
OVERFLOW = 6003


class Err(Exception):
    def __init__(self, code):
        super().__init__(code)
        self.code = code


def require(condition, code):
    if not condition:
        raise Err(code)


def fit(value, kind):
    require(kind[0] <= value <= kind[1], OVERFLOW)
    return value


def add(a, b, kind=U64):
    return fit(fit(a, kind) + fit(b, kind), kind)


def sub(a, b, kind=U64):
    return fit(fit(a, kind) - fit(b, kind), kind)


def mul(a, b, kind=U64):
    return fit(fit(a, kind) * fit(b, kind), kind)


def div(a, b, kind=U64):
    require(b != 0, OVERFLOW)
    return fit(a, kind) // fit(b, kind)


def ceil_div(a, b, kind=U64):
    if a > 0:
        if a == b and b != 0:
            return 1
        require(b != 0, OVERFLOW)
        return (a - 1) // b + 1
    return div(a, b, kind)


def pow10(exponent, kind):
    result = 1
    for _ in range(min(exponent, 60)):
        result = mul(result, 10, kind)
    return result


def decimal_mul(c1, e1, c2, e2, target, ceil=False):
    if c1 == 0 or c2 == 0:
        return 0
    power = sub(add(e1, e2, I32), target, I32)
    product = mul(c1, c2, U128)
    if power >= 0:
        return fit(mul(product, pow10(power, U128), U128), U64)
    down = pow10(-power, U128)
    return fit(ceil_div(product, down, U128) if ceil else div(product, down, U128), U64)


def decimal_div(c1, e1, c2, e2, target):
    require(c2 != 0, OVERFLOW)
    if c1 == 0:
        return 0
    scale = 0
    power = sub(sub(e1, e2, I32), target, I32)
    if e1 > 0:
        scale = add(scale, e1, I32)
    if e2 < 0:
        scale = sub(scale, e2, I32)
        power = add(power, e2, I32)
    if target < 0:
        scale = sub(scale, target, I32)
        power = add(power, target, I32)
    scaled = mul(c1, pow10(scale, U128), U128) if scale > 0 else c1
    quotient = div(scaled, c2, U128)
    if power >= 0:
        return fit(mul(quotient, pow10(power, U128), U128), U64)
    return fit(div(quotient, pow10(-power, U128), U128), U64)


def scale_to(price, exponent, target):
    if target == exponent:
        return price
    delta = sub(target, exponent, I32)
    if delta > 0:
        return div(price, pow10(delta, U64))
    return mul(price, pow10(-delta, U64))


def asset_usd(price, amount, decimals):
    if amount == 0 or price[0] == 0:
        return 0
    return decimal_mul(amount, -decimals, price[0], price[1], -6)


def token_amount(price, usd, decimals):
    if usd == 0 or price[0] == 0:
        return 0
    return decimal_div(usd, -6, price[0], price[1], -decimals)


def min_price(one, other, is_stable):
    lowest = one if one[0] < other[0] else other
    if not is_stable:
        return lowest
    if lowest[1] > 0:
        return lowest if lowest[0] == 0 else (1_000_000, -6)
    one_usd = pow10(-lowest[1], U64)
    return (one_usd, lowest[1]) if lowest[0] > one_usd else lowest


def fee_amount(fee, amount):
    if fee == 0 or amount == 0:
        return 0
    return fit(ceil_div(mul(amount, fee, U128), BPS, U128), U64)


_POSITION = struct.Struct("<8x32s32s32s32sqqB6Q16sQQB")
_POSITION_NAMES = (
    "owner",
    "pool",
    "custody",
    "collateral_custody",
    "open_time",
    "update_time",
    "side",
    "price",
    "size_usd",
    "borrow_size_usd",
    "collateral_usd",
    "unrealized_profit_usd",
    "unrealized_loss_usd",
    "cumulative_interest_snapshot",
    "locked_amount",
    "collateral_amount",
    "bump",
)
_STATS_NAMES = (
    "open_positions",
    "collateral_usd",
    "size_usd",
    "borrow_size_usd",
    "locked_amount",
    "weighted_price",
    "total_quantity",
    "cumulative_interest_usd",
    "cumulative_interest_snapshot",
)


def _head(blob, name, size):
    require(len(blob) >= 8, 3001)
    require(blob[:8] == hashlib.sha256(f"account:{name}".encode()).digest()[:8], 3002)
    require(len(blob) >= size, 3003)


def position_of(blob):
    _head(blob, "Position", 234)
    record = Record(**dict(zip(_POSITION_NAMES, _POSITION.unpack_from(blob), strict=True)))
    record.cumulative_interest_snapshot = int.from_bytes(
        record.cumulative_interest_snapshot, "little"
    )
    require(record.side <= 2, 3003)
    return record


def _stats(blob, at):
    read = struct.unpack_from("<5Q16s16sQ16s", blob, at)
    values = [int.from_bytes(one, "little") if isinstance(one, bytes) else one for one in read]
    return Record(**dict(zip(_STATS_NAMES, values, strict=True)))


def custody_of(blob):
    _head(blob, "Custody", 805)
    require(max(blob[105], blob[106], blob[184], blob[185], *blob[266:274]) <= 1, 3003)
    require(blob[139] <= 2 and blob[274] <= 2, 3003)

    def u64(at):
        return int.from_bytes(blob[at : at + 8], "little")

    return Record(
        pool=blob[8:40],
        mint=blob[40:72],
        token_account=blob[72:104],
        decimals=blob[104],
        is_stable=blob[105] == 1,
        is_virtual=blob[106] == 1,
        oracle_type=blob[139],
        max_price_error=u64(172),
        max_price_age_sec=int.from_bytes(blob[180:184], "little"),
        use_ema=blob[184] == 1,
        trade_spread_long=u64(186),
        trade_spread_short=u64(194),
        max_leverage=u64(226),
        allow_close_position=blob[270] == 1,
        close_position=u64(347),
        liquidation=u64(355),
        protocol_share=u64(363),
        base_rate=u64(387),
        slope1=u64(395),
        slope2=u64(403),
        optimal_utilization=u64(411),
        collateral=u64(419),
        protocol_fees=u64(427),
        owned=u64(435),
        locked=u64(443),
        volume_liquidation_usd=u64(539),
        long_positions=_stats(blob, 579),
        short_positions=_stats(blob, 675),
        current_rate=u64(771),
        cumulative_interest=int.from_bytes(blob[779:795], "little"),
        last_update=int.from_bytes(blob[795:803], "little", signed=True),
        bump=blob[803],
        token_account_bump=blob[804],
    )


@dataclass
class Case:
    """What an instruction is given: bytes (None for no account), keys as bytes, the clock."""

    program: bytes
    now: int
    position_key: bytes
    custody_key: bytes
    collateral_key: bytes
    position: bytes | None
    custody: bytes | None
    collateral: bytes | None
    oracle: bytes | None
    collateral_oracle: bytes | None
    oracle_is_custom: bool


def read_price(case, custody, blob, use_ema):
    if custody.oracle_type == 1:
        require(blob is not None, 6005)
        require(case.oracle_is_custom, 3007)
        require(len(blob) >= 8, 3001)
        require(blob[:8] == hashlib.sha256(b"account:CustomOracle").digest()[:8], 3002)
        require(len(blob) >= 44, 3003)
        price, expo, conf, ema, published = struct.unpack_from("<QiQQq", blob, 8)
        require(sub(case.now, published, I64) <= custody.max_price_age_sec, 6007)
        value = ema if use_ema else price
        require(value != 0, 6008)
        require(div(mul(conf, BPS, U128), value, U128) <= custody.max_price_error, 6008)
        return value, expo
    require(custody.oracle_type == 2, 6004)
    require(blob is not None, 6005)
    require(len(blob) >= 3312, 6005)
    require(struct.unpack_from("<III", blob) == (0xA1B2C3D4, 2, 3), 6005)
    (expo,) = struct.unpack_from("<i", blob, 20)
    trading = struct.unpack_from("<I", blob, 224)[0] == 1
    (published,) = struct.unpack_from("<q", blob, 96 if trading else 200)
    value, conf = struct.unpack_from("<qQ", blob, 208 if trading else 184)
    if use_ema:
        (value,) = struct.unpack_from("<q", blob, 48)
        (conf,) = struct.unpack_from("<Q", blob, 72)
    require(sub(case.now, published, I64) <= custody.max_price_age_sec, 6007)
    require(value > 0, 6008)
    require(div(mul(conf, BPS, U128), value, U128) <= custody.max_price_error, 6008)
    return value, expo


def get_price(token, ema, long_side, spread):
    if long_side:
        highest = token if token[0] > ema[0] else ema
        extra = decimal_mul(highest[0], highest[1], spread, -4, highest[1], ceil=True)
        return add(highest[0], extra), highest[1]
    lowest = token if token[0] < ema[0] else ema
    less = decimal_mul(lowest[0], lowest[1], spread, -4, lowest[1])
    return (sub(lowest[0], less) if less < lowest[0] else 0), lowest[1]


def exit_price(token, ema, side, custody):
    spread = custody.trade_spread_short if side == LONG else custody.trade_spread_long
    price = get_price(token, ema, side != LONG, spread)
    return scale_to(price[0], price[1], -6)


def cumulative(custody, now):
    if now > custody.last_update:
        elapsed = sub(now, custody.last_update, I64)
        more = ceil_div(mul(elapsed, custody.current_rate, U128), 3600, U128)
        return add(custody.cumulative_interest, more, U128)
    return custody.cumulative_interest


def interest(custody, borrow_size_usd, snapshot, now):
    if borrow_size_usd == 0 or custody.is_virtual:
        return 0
    total = cumulative(custody, now)
    if total <= snapshot:
        return 0
    owed = mul(sub(total, snapshot, U128), borrow_size_usd, U128)
    return fit(div(owed, RATE, U128), U64)


def interest_of(custody, position, now):
    return interest(custody, position.borrow_size_usd, position.cumulative_interest_snapshot, now)


def profit_cap(position, spot, ema, collateral, now):
    price = (1_000_000, -6)
    if not collateral.is_virtual:
        price = min_price(spot, ema, collateral.is_stable)
    if now <= position.open_time:
        return 0
    return asset_usd(price, position.locked_amount, collateral.decimals)


def pnl(position, prices, custody, collateral, now, liquidation):
    token, ema, col, col_ema = prices
    if position.size_usd == 0 or position.price == 0:
        return 0, 0, 0
    at = exit_price(token, ema, position.side, custody)
    size = token_amount(ema, position.size_usd, custody.decimals)
    fee = fee_amount(custody.liquidation if liquidation else custody.close_position, size)
    fee_usd = asset_usd(ema, fee, custody.decimals)
    charges = add(
        add(fee_usd, interest_of(collateral, position, now)), position.unrealized_loss_usd
    )
    gained = lost = 0
    if position.side == LONG:
        if at > position.price:
            gained = sub(at, position.price)
        else:
            lost = sub(position.price, at)
    elif at < position.price:
        gained = sub(position.price, at)
    else:
        lost = sub(at, position.price)
    if gained > 0:
        potential = fit(div(mul(position.size_usd, gained, U128), position.price, U128), U64)
        potential = add(potential, position.unrealized_profit_usd)
        if potential >= charges:
            current = sub(potential, charges)
            return min(profit_cap(position, col, col_ema, collateral, now), current), 0, fee
        return 0, sub(charges, potential), fee
    potential = fit(ceil_div(mul(position.size_usd, lost, U128), position.price, U128), U64)
    potential = add(potential, charges)
    if potential >= position.unrealized_profit_usd:
        return 0, sub(potential, position.unrealized_profit_usd), fee
    current = sub(position.unrealized_profit_usd, potential)
    return min(profit_cap(position, col, col_ema, collateral, now), current), 0, fee


def leverage(position, prices, custody, collateral, now):
    profit, loss, _ = pnl(position, prices, custody, collateral, now, liquidation=False)
    if profit > 0:
        margin = add(position.collateral_usd, profit)
    elif loss <= position.collateral_usd:
        margin = sub(position.collateral_usd, loss)
    else:
        margin = 0
    if margin > 0:
        return fit(div(mul(position.size_usd, BPS, U128), margin, U128), U64)
    return U64[1]


def _derived(seeds, case, key):
    text = b"".join(seeds) + case.program + b"ProgramDerivedAddress"
    return hashlib.sha256(text).digest() == key


def load(case):
    require(case.position is not None, 3012)
    position = position_of(case.position)
    require(case.custody is not None, 3012)
    custody = custody_of(case.custody)
    require(case.collateral is not None, 3012)
    collateral = custody_of(case.collateral)
    tail = [case.custody_key, bytes([position.side]), bytes([position.bump])]
    seeds = [b"position", position.owner, custody.pool, *tail]
    require(_derived(seeds, case, case.position_key), 2006)
    return position, custody, collateral


def load_view(case):
    position, custody, collateral = load(case)
    seeds = [b"custody", custody.pool, custody.mint, bytes([custody.bump])]
    require(_derived(seeds, case, case.custody_key), 2006)
    require(position.collateral_custody == case.collateral_key, 2003)
    require(case.now > 0, None)
    return position, custody, collateral


def read_prices(case, custody, collateral):
    return (
        read_price(case, custody, case.oracle, use_ema=False),
        read_price(case, custody, case.oracle, use_ema=custody.use_ema),
        read_price(case, collateral, case.collateral_oracle, use_ema=False),
        read_price(case, collateral, case.collateral_oracle, use_ema=collateral.use_ema),
    )


def get_liquidation_state(case):
    position, custody, collateral = load_view(case)
    prices = read_prices(case, custody, collateral)
    healthy = leverage(position, prices, custody, collateral, case.now) <= custody.max_leverage
    return 0 if healthy else 1


def get_pnl(case):
    position, custody, collateral = load_view(case)
    prices = read_prices(case, custody, collateral)
    return pnl(position, prices, custody, collateral, case.now, liquidation=False)[:2]


def get_liquidation_price(case):
    position, custody, collateral = load_view(case)
    ema = read_price(case, custody, case.oracle, use_ema=custody.use_ema)
    col = read_price(case, collateral, case.collateral_oracle, use_ema=False)
    col_ema = read_price(case, collateral, case.collateral_oracle, use_ema=collateral.use_ema)
    min_price(col, col_ema, collateral.is_stable)
    if position.size_usd == 0 or position.price == 0:
        return 0
    size = token_amount(ema, position.size_usd, custody.decimals)
    fee_usd = asset_usd(ema, fee_amount(custody.close_position, size), custody.decimals)
    owed = interest_of(collateral, position, case.now)
    loss = add(add(fee_usd, owed), position.unrealized_loss_usd)
    loss_max = fit(div(mul(position.size_usd, BPS, U128), custody.max_leverage, U128), U64)
    loss_max = add(loss_max, loss)
    margin = add(position.collateral_usd, position.unrealized_profit_usd)
    apart = sub(loss_max, margin) if loss_max >= margin else sub(margin, loss_max)
    apart = fit(div(mul(apart, position.price, U128), position.size_usd, U128), U64)
    if (position.side == LONG) == (loss_max >= margin):
        return add(position.price, apart)
    return sub(position.price, apart) if position.price > apart else 0


def available(amount, custody):
    return sub(add(custody.owned, custody.collateral), custody.locked) >= amount


def load_liquidate(case):
    position, custody, collateral = load(case)
    require(position.custody == case.custody_key, 2003)
    require(position.collateral_custody == case.collateral_key, 2003)
    seeds = [b"custody_token_account", collateral.pool, collateral.mint]
    seeds.append(bytes([collateral.token_account_bump]))
    require(_derived(seeds, case, collateral.token_account), 2006)
    require(custody.allow_close_position, 6024)
    require(case.now > 0, None)
    return position, custody, collateral


def liquidate(case):
    position, custody, collateral = load_liquidate(case)
    now = case.now
    prices = read_prices(case, custody, collateral)
    _, ema, col, col_ema = prices
    require(leverage(position, prices, custody, collateral, now) > custody.max_leverage, 6013)

    profit, loss, fee = pnl(position, prices, custody, collateral, now, liquidation=True)
    if profit > 0:
        left = add(position.collateral_usd, profit)
    elif loss < position.collateral_usd:
        left = sub(position.collateral_usd, loss)
    else:
        left = 0
    highest = col if col[0] > col_ema[0] else col_ema
    close_amount = token_amount(highest, left, collateral.decimals)
    most = add(max(0, position.locked_amount - fee), position.collateral_amount)
    out = min(most, close_amount)

    fee_usd = asset_usd(ema, fee, custody.decimals)
    if position.side == SHORT or custody.is_virtual:
        fee = token_amount(col_ema, fee_usd, collateral.decimals)
    reward = fee_amount(custody.liquidation, out)
    user = sub(out, reward)

    unlock_and_pay(position, custody, collateral, out, fee)
    count_out(position, custody, collateral, now)
    return reward, user


def unlock_and_pay(position, custody, collateral, out, fee):
    require(not collateral.is_virtual, 6012)
    locked = position.locked_amount
    collateral.locked = 0 if locked > collateral.locked else sub(collateral.locked, locked)
    require(available(out, collateral), 6020)
    if out > position.collateral_amount:
        collateral.owned = sub(collateral.owned, out - position.collateral_amount)
    else:
        collateral.owned = add(collateral.owned, position.collateral_amount - out)
    collateral.collateral = sub(collateral.collateral, position.collateral_amount)
    protocol_fee = fee_amount(custody.protocol_share, fee)
    if available(protocol_fee, collateral):
        collateral.protocol_fees = add(collateral.protocol_fees, protocol_fee)
        collateral.owned = sub(collateral.owned, protocol_fee)


def count_out(position, custody, collateral, now):
    if position.side == LONG and not custody.is_virtual:
        add(collateral.volume_liquidation_usd, position.size_usd)
        remove_position(collateral, position, now, None)
    else:
        add(custody.volume_liquidation_usd, position.size_usd)
        remove_position(custody, position, now, collateral)
    update_borrow_rate(collateral, now)


def _side(custody, position):
    return custody.long_positions if position.side == LONG else custody.short_positions


def collective_interest(custody, stats, now):
    if stats.open_positions == 0:
        return 0
    if stats.total_quantity > 0:
        fit(div(stats.weighted_price, stats.total_quantity, U128), U64)
    return interest(custody, stats.borrow_size_usd, stats.cumulative_interest_snapshot, now)


def remove_position(custody, position, now, lender):
    stats = _side(custody, position)
    accrued = collective_interest(custody, stats, now)
    cumulative(custody, now)
    interest_of(custody, position, now)
    if stats.open_positions == 1:
        return
    if lender is None:
        add(stats.cumulative_interest_usd, accrued)
        sub(stats.borrow_size_usd, position.borrow_size_usd)
    sub(stats.open_positions, 1)
    sub(stats.size_usd, position.size_usd)
    sub(stats.locked_amount, position.locked_amount)
    quantity = div(mul(position.size_usd, BPS, U128), position.price, U128)
    sub(stats.weighted_price, mul(position.price, quantity, U128), U128)
    sub(stats.total_quantity, quantity, U128)
    if lender is not None:
        stats = _side(lender, position)
        accrued = collective_interest(lender, stats, now)
        if stats.open_positions == 1:
            return
        add(stats.cumulative_interest_usd, accrued)
        sub(stats.open_positions, 1)
        sub(stats.borrow_size_usd, position.borrow_size_usd)


def update_borrow_rate(custody, now):
    if custody.owned == 0:
        return
    if now > custody.last_update:
        cumulative(custody, now)
    used = div(mul(custody.locked, RATE, U128), custody.owned, U128)
    optimal = custody.optimal_utilization
    if used < optimal or optimal >= RATE:
        rate = div(mul(used, custody.slope1, U128), optimal, U128)
    else:
        excess = mul(sub(used, optimal, U128), custody.slope2, U128)
        rate = add(custody.slope1, div(excess, RATE - optimal, U128), U128)
    add(fit(rate, U64), custody.base_rate)
