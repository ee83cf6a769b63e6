"""Vectors files: what a real program answered on known accounts, against what we compute."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from liqctl.core.account import Account
from liqctl.core.price import PriceReading
from liqctl.errors import SettingsError
from liqctl.oracle.legacy_price import ACCOUNT_SIZE, LEGACY_OWNER, decode_legacy_price
from liqctl.venues import perpetuals_replay as perpetuals
from liqctl.venues.perpetuals_math import Refused
from liqctl.venues.perpetuals_oracle import OracleAccount

Json = Mapping[str, Any]

_CODE = re.compile(r"Custom\((?:InstructionErrorCustom\()?(\d+)\)|custom program error: (0x\w+)")
# Of the token program, which is asked for the payout.
_TOO_FEW_TOKENS = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One answer of the program that ours is not: by its name in the file, `code` for an error."""

    field: str
    expected: object
    computed: object


def replay(venue: str, document: object) -> Iterator[tuple[int, list[Difference]]]:
    """Yield each vector's number in the file and where our answers differ from the program's.

    Raises:
        SettingsError: no such venue has vectors, or the file is not in their format.
    """
    if venue not in _REPLAYS:
        known = ", ".join(sorted(_REPLAYS))
        raise SettingsError(f"vectors of the venue {venue!r} cannot be replayed; those of: {known}")
    members = document if isinstance(document, dict) else {}
    program, vectors = members.get("program"), members.get("vectors")
    if not isinstance(program, str) or not isinstance(vectors, list):
        raise SettingsError("not a vectors file: it needs `program` and the array `vectors`")
    for number, vector in enumerate(vectors):
        try:
            found = _REPLAYS[venue](program, vector)
        except (KeyError, TypeError, ValueError) as error:
            raise SettingsError(f"vector {number} cannot be read: {_said(error)}") from error
        yield number, found


def _said(error: Exception) -> str:
    return f"{error} is missing" if isinstance(error, KeyError) else str(error)


def _perpetuals(program: str, vector: Json) -> list[Difference]:
    accounts = _accounts(program, vector)
    expect = vector["expect"]
    state = _answer(lambda: perpetuals.liquidation_state(accounts))
    reported = _answer(lambda: perpetuals.liquidation_price(accounts))
    gain = _answer(lambda: perpetuals.profit_and_loss(accounts))
    computed = {
        "state": None if isinstance(state, Refused) else state,
        "state_err": state.code if isinstance(state, Refused) else None,
        "liq_price": None if isinstance(reported, Refused) else reported,
        "pnl": None if isinstance(gain, Refused) else list(gain),
    }
    wanted = {**expect, "state_err": _code_in(expect.get("state_err"))}
    found = _differences(wanted, computed, "")
    return found + _liquidate(accounts, expect["liquidate"])


def _liquidate(accounts: perpetuals.Accounts, expect: Json) -> list[Difference]:
    payout = _answer(lambda: perpetuals.liquidate(accounts))
    codes = expect.get("code") or []
    wanted = {**expect, "code": int(codes[0]) if codes else None}
    if isinstance(payout, Refused):
        computed: dict[str, object] = {"ok": False, "code": payout.code}
    elif wanted["code"] == _TOO_FEW_TOKENS and payout.reward + payout.owner > 0:
        return []  # the file does not say what the pool's token account held
    else:
        computed = {"ok": True, "reward": payout.reward, "user": payout.owner, "code": None}
    return _differences(wanted, computed, "liquidate.")


def _differences(
    wanted: Mapping[str, object], computed: Mapping[str, object], prefix: str
) -> list[Difference]:
    return [
        Difference(field=prefix + name, expected=wanted[name], computed=value)
        for name, value in computed.items()
        if name in wanted and wanted[name] != value
    ]


def _answer(ask: Callable[[], object]) -> Any:  # noqa: ANN401 - the answer or a Refused
    try:
        return ask()
    except Refused as refused:
        return refused


def _code_in(text: object) -> int | None:
    """Return the program's error code in the VM's text of an error; other errors have none."""
    found = _CODE.search(text) if isinstance(text, str) else None
    return None if found is None else int(found[1] or found[2], 0)


def _accounts(program: str, vector: Json) -> perpetuals.Accounts:
    legacy = vector["oracle"] == "pyth_legacy"
    publisher = LEGACY_OWNER if legacy else program
    size = ACCOUNT_SIZE if legacy else 0

    def planted(name: str) -> Account | None:
        return _account(vector[name], program, vector[f"{name}_data"])

    def published(name: str) -> OracleAccount | None:
        account = _account(name, publisher, vector[name], size)
        if account is None:
            return None
        legacy = decode_legacy_price(account)
        return OracleAccount(
            account=account, legacy=legacy if isinstance(legacy, PriceReading) else None
        )

    return perpetuals.Accounts(
        program_id=program,
        position=planted("position"),
        custody=planted("custody"),
        collateral_custody=planted("collateral_custody"),
        custody_oracle=published("custody_oracle"),
        collateral_oracle=published("collateral_oracle"),
        now_s=vector["now"],
    )


def _account(address: str, owner: str, blob: str, size: int = 0) -> Account | None:
    """Return an account of at least that size, zeros at its end; empty bytes are no account."""
    raw = bytes.fromhex(blob)
    if not raw:
        return None
    return Account(address=address, owner=owner, lamports=1, data=raw.ljust(size, b"\0"), slot=0)


_REPLAYS: Mapping[str, Callable[[str, Json], list[Difference]]] = {"perpetuals": _perpetuals}
