"""What one check of a set-up found, and what to do about it."""

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from liqctl.errors import LiqctlError

SOL_DIGITS = 9


class State(StrEnum):
    """How a check ended; a skipped one could not run because an earlier one failed."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One result; `hint` says what to do, and is empty where there is nothing to do."""

    name: str
    state: State
    found: str
    hint: str = ""


def passed(name: str, found: str) -> Check:
    """Return a check that found nothing wrong."""
    return Check(name=name, state=State.OK, found=found)


def doubtful(name: str, found: str, hint: str) -> Check:
    """Return a check that found something to know before real money is used."""
    return Check(name=name, state=State.WARN, found=found, hint=hint)


def failed(name: str, found: str, hint: str) -> Check:
    """Return a check that found something that keeps liqctl from working."""
    return Check(name=name, state=State.FAIL, found=found, hint=hint)


def skipped(name: str, cause: str) -> Check:
    """Return a check that could not run, with the cause."""
    return Check(name=name, state=State.SKIPPED, found=cause)


def refused(name: str, error: LiqctlError, *, hint: str = "") -> Check:
    """Return the check that an error ended: what failed stands before its first semicolon.

    `hint` is for an error that says nothing after it.
    """
    found, _, said = str(error).partition("; ")
    return failed(name, found, said or hint)


def exact(units: int, digits: int) -> str:
    """Return an amount in 10^-digits as a decimal, nothing rounded away.

    >>> exact(50_000_000, 9), exact(-1_500_000_000, 6)
    ('0.05', '-1,500')
    """
    return f"{Decimal(units).scaleb(-digits).normalize():,f}"


def lamports(amount: int) -> str:
    """Return an amount in both units.

    >>> lamports(205_000)
    '205,000 lamports (0.000205 SOL)'
    """
    return f"{amount:,} lamports ({exact(amount, SOL_DIGITS)} SOL)"
