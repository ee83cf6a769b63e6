"""A mapping file to fill in, from an IDL: what is certain is written, the rest is a question."""

from collections.abc import Callable, Iterable, Iterator

from liqctl.errors import LayoutError
from liqctl.venues.idl import AccountRole, Idl
from liqctl.venues.mapping_places import INTEGERS

OPEN = "?"
SHOWN_FIELDS_MAX = 60
_MARKETS = ("market", "custody", "perp_market", "pool")


def skeleton(idl: Idl, name: str) -> str:
    """Return a commented mapping; every "?" is to be replaced, and is refused until it is.

    A field is proposed only where a single one has the usual name and type.
    """
    position = _account(idl, ("position",))
    market = _account(idl, _MARKETS)
    lines = [
        f"# What the accounts of {name} mean. Replace every {OPEN!r}, then try it:",
        "#   liqctl venues check --idl IDL --mapping THIS_FILE -u URL",
        "",
        "version = 1",
        f'name = "{name}"',
        f'idl_sha256 = "{idl.sha256}"  # another IDL is refused',
        *([] if idl.address else [f'program_id = "{OPEN}"  # the IDL does not say']),
        "# verified = 2026-11-25  # when you last compared verdicts with the program",
        "exact = false  # true when [maintenance] is the program's own arithmetic; until then watch-only",
        'reward = "token"  # token, rent or none',
        "",
        *_kinds(idl),
        "",
        *_position(idl, position),
        "",
        *_market(idl, market),
        "",
        *_PRICE,
        "",
        *_RULES,
        "",
        *_calls(idl),
        "",
        *_errors(idl),
        "",
        *_events(idl),
    ]
    return "\n".join(lines) + "\n"


_PRICE = [
    "[price]",
    'kind = "pyth"  # pyth (PriceUpdateV2), pyth_legacy, or account (one of the program itself)',
    f'owner = "{OPEN}"  # program that owns the price account: a key, or a field such as market.FIELD',
    f'feed_id = "{OPEN}"  # 64 hexadecimal digits, or a field such as market.FIELD',
    "age_s_max = 60  # the program's own limit, or a field",
    "confidence_bps_max = 100  # the program's own limit, or a field",
    '# For kind = "account": account, price, exponent, confidence, publish_time (fields of it).',
]
_RULES = [
    "# Without [maintenance] positions are only watched and every verdict stays unknown.",
    "# [maintenance]",
    '# kind = "fixed"  # fixed (ratio = 500), field (ratio = "market.FIELD"), or tiers',
    "# ratio = 500",
    '# unit = "bps"  # or decimals = N for a ratio with N decimals',
    '# rounding = "up"  # of the maintenance margin',
    '# liquidatable = "below"  # equity below the margin; or at_or_below',
    "",
    "# [closing]",
    '# model = "full"  # full, or restore: a part, up to target_health_bps',
    "# liquidation_fee_bps = 50  # a number or a field",
    "# liquidator_share_bps = 10_000",
    "",
    "# Further accounts that addresses are made of; `account` only where fields are needed.",
    "# [accounts.vault]",
    '# address = { seeds = [{ text = "vault" }, "market"] }',
]


def _account(idl: Idl, names: Iterable[str]) -> str | None:
    """Return the one account that has one of these names, or contains the first in its name."""
    wanted = list(names)
    for name in wanted:
        exact = [one for one in idl.account_names if one.lower() == name.replace("_", "")]
        if len(exact) == 1:
            return exact[0]
    near = [one for one in idl.account_names if wanted[0] in one.lower()]
    return near[0] if len(near) == 1 else None


def _kinds(idl: Idl) -> Iterator[str]:
    yield "# Accounts of the IDL, with the bytes of those of fixed size:"
    for name in idl.account_names:
        try:
            size = idl.account_size(name)
        except LayoutError as error:
            yield f"#   {name}: cannot be used, {error}"
            continue
        yield f"#   {name}: {'varies' if size is None else size}"


def _fields(idl: Idl, account: str | None) -> dict[str, str]:
    try:
        return {} if account is None else idl.fields(account)
    except LayoutError:
        return {}


def _listed(fields: dict[str, str], account: str | None) -> Iterator[str]:
    if account is not None:
        yield f"# Fields of {account}:"
    for number, (path, kind) in enumerate(fields.items()):
        if number == SHOWN_FIELDS_MAX:
            yield f"#   and {len(fields) - number} more"
            return
        yield f"#   {path}: {kind}"


def _proposed(fields: dict[str, str], names: Iterable[str], fits: Callable[[str], bool]) -> str:
    found = [name for name in names if name in fields and fits(fields[name])]
    return found[0] if len(found) == 1 else OPEN


def _whole(kind: str) -> bool:
    return kind in INTEGERS


def _key(kind: str) -> bool:
    return kind == "pubkey"


def _position(idl: Idl, account: str | None) -> Iterator[str]:
    fields = _fields(idl, account)
    size = _proposed(fields, ("size", "size_usd", "base_amount", "base_asset_amount"), _whole)
    entry = _proposed(fields, ("entry_price", "price", "avg_entry_price"), _whole)
    money = _proposed(fields, ("collateral", "collateral_usd", "margin"), _whole)
    sign = fields.get(size, "u")[:1] == "i"
    yield "[position]"
    yield f'account = "{account or OPEN}"'
    yield from _listed(fields, account)
    yield f'owner = "{_proposed(fields, ("owner", "authority", "user"), _key)}"'
    yield f'market = "{_proposed(fields, ("market", "custody", "perp_market"), _key)}"'
    yield "# base: tokens of the market; quote: money, as in size_usd"
    yield f'size = {{ field = "{size}", unit = "{OPEN}", decimals = 9 }}'
    yield f'entry_price = {{ field = "{entry}", decimals = 6 }}'
    yield f'collateral = {{ field = "{money}", decimals = 6 }}'
    if sign:
        yield 'side = "sign"  # negative sizes are short'
    else:
        side = _proposed(fields, ("side", "direction", "is_long"), lambda _: True)
        yield f'side = {{ field = "{side}", long = 1, short = 2 }}'
    yield '# open = "FIELD"  # a flag: zero is closed, as a size of zero always is'
    yield '# leverage = "FIELD"  # whole times, where tiers are chosen by it'
    yield '# generation = "FIELD"  # tells a position from an earlier one at its address'
    yield '# zero = ["padding"]  # fields that must be zero; others are another version'
    yield "# extra_bytes = 6  # zeros that accounts have behind their fields"


def _market(idl: Idl, account: str | None) -> Iterator[str]:
    fields = _fields(idl, account)
    symbol = _proposed(fields, ("symbol", "name"), lambda kind: kind in {"bytes", "string"})
    price = _proposed(
        fields, ("price_account", "oracle", "oracle_account", "oracle.oracle_account"), _key
    )
    yield "[market]"
    yield f'account = "{account or OPEN}"'
    yield from _listed(fields, account)
    yield f'price_account = "{f"market.{price}" if price != OPEN else OPEN}"'
    if symbol != OPEN:
        yield f'symbol = "{symbol}"'
    else:
        yield '# symbols = { MARKET_ADDRESS = "SOL" }'
    yield '# paused = "FIELD"'


def _calls(idl: Idl) -> Iterator[str]:
    named = [name for name in idl.instruction_names if "liquidate" in name]
    if not named:
        yield "# The IDL has no instruction with `liquidate` in its name:"
        yield "# [liquidate]"
        return
    yield f"# Instructions that liquidate, by their names: {', '.join(named)}"
    yield "[liquidate]"
    yield f'instruction = "{named[0]}"'
    yield "compute_units = 200_000"
    try:
        args, roles = idl.arguments(named[0]), idl.roles(named[0])
    except LayoutError as error:
        yield f"# cannot be used: {error}"
        return
    if args:
        yield "[liquidate.args]  # numbers, fields, max_size, none"
        for name, kind in args:
            value = '"max_size"' if name == "max_size" else f'"{OPEN}"'
            compound = isinstance(kind, dict) and "defined" in kind
            yield f"{name} = {{}}  # a struct" if compound else f"{name} = {value}"
    yield "[liquidate.accounts]"
    for role in roles:
        yield _role(role)


def _role(role: AccountRole) -> str:
    flags = ", ".join(
        word for word, is_so in (("signer", role.signer), ("writable", role.writable)) if is_so
    )
    note = f"  # {flags}" if flags else ""
    if role.address is not None:
        return f"# {role.name}: {role.address} by the IDL"
    if role.pda is not None:
        return f"# {role.name} is derived by the IDL; give it here if that is refused"
    if role.optional:
        return f'{role.name} = "program"{note or "  #"} optional: the program stands for none'
    return f'{role.name} = "{_place(role)}"{note}'


def _place(role: AccountRole) -> str:
    if role.signer:
        return "signer"
    if role.name == "position":
        return "position"
    return "market" if role.name in _MARKETS else OPEN


def _errors(idl: Idl) -> Iterator[str]:
    yield "# What errors mean; those that are not named are taken for bugs and stop the keeper:"
    for code, name in idl.errors.items():
        yield f"#   {code} {name}"
    yield "[errors]"
    for outcome in ("healthy", "gone", "oracle", "paused", "no_funds", "setup", "retry"):
        yield f"{outcome} = []"


def _events(idl: Idl) -> Iterator[str]:
    named = [name for name in idl.event_names if "liquidat" in name.lower()]
    yield f"# Events that tell of liquidations, by their names: {', '.join(named) or 'none'}"
    yield "# [event]"
    yield f'# name = "{named[0] if named else OPEN}"'
    yield '# closed_size = "FIELD"'
    yield '# reward = "FIELD"'
