"""`liqctl doctor`: everything that must be right before money is at stake."""

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from liqctl.cli import command_app
from liqctl.cli.options import Session, with_session
from liqctl.cli.redact import redact
from liqctl.errors import RpcError

if TYPE_CHECKING:
    from liqctl.keeper.checkup import Setup
    from liqctl.keeper.finding import Check
    from liqctl.ports import Venue

app = command_app()

FAILED = 1


@app.command(
    epilog="Examples: liqctl doctor; liqctl doctor -u https://RPC -k ~/keys/liquidator.json "
    "--program-id PROGRAM; liqctl doctor --json"
)
@with_session()
def doctor(*, session: Session) -> int:
    """Check endpoints, program, key and database before real money.

    Nothing is sent, and the database is opened read-only; a key is read to see whether it can
    sign. A check that cannot run because of an earlier one is skipped. Of several venues each has
    a report of its own. Ends with 0 when nothing failed, with 4 when the RPC node does not answer,
    and with 1 otherwise.
    """
    failures = asyncio.run(_examined(session))
    if any(check.name == "rpc" for check in failures):
        return RpcError.exit_code
    return FAILED if failures else 0


async def _examined(session: Session) -> "list[Check]":
    """Report on every venue and return the checks that failed."""
    from dataclasses import replace  # noqa: PLC0415 - with the checks only

    from liqctl.cli.programs import venues_of  # noqa: PLC0415 - 300 ms, not for --help

    failures: list[Check] = []
    venues = venues_of(session.settings)
    async with AsyncExitStack() as stack:
        setup = await _setup(session, venues[0], stack)
        for venue in venues:
            if len(venues) > 1 and not session.as_json:
                session.screen.print(f"{venue.id}:")
            failures += await _report(session, replace(setup, venue=venue))
    return failures


async def _report(session: Session, setup: "Setup") -> "list[Check]":
    """Print all checks of a venue, for people each as it ends; return those that failed."""
    from liqctl.keeper.checkup import checkup  # noqa: PLC0415 - 300 ms, not for --help

    checks: list[Check] = []
    async for check in checkup(setup):
        shown = _redacted(check)
        checks.append(shown)
        if not session.as_json:
            session.screen.print(_line(shown))
    failures = [check for check in checks if check.state == "fail"]
    if session.as_json:
        report = {"venue": setup.venue.id, "ok": not failures, "checks": checks}
        session.screen.json({"type": "doctor", **report})
    elif failures:
        session.screen.note(f"liqctl: {len(failures)} of {len(checks)} checks failed")
    return failures


async def _setup(session: Session, venue: "Venue", stack: AsyncExitStack) -> "Setup":
    """Return what is checked; everything that it opens is closed with the stack."""
    from liqctl.chain.answers import Commitment  # noqa: PLC0415 - 300 ms, not for --help
    from liqctl.chain.client import Chain  # noqa: PLC0415 - as above
    from liqctl.chain.rpc import HttpRpc  # noqa: PLC0415 - as above
    from liqctl.chain.urls import websocket_url  # noqa: PLC0415 - as above
    from liqctl.cli.connect import tuning_of  # noqa: PLC0415 - as above
    from liqctl.cli.hermes import hermes_of  # noqa: PLC0415 - as above
    from liqctl.keeper.checkup import Setup  # noqa: PLC0415 - as above
    from liqctl.keeper.checkup_endpoints import Endpoint  # noqa: PLC0415 - as above
    from liqctl.ports import SystemClock, SystemRng  # noqa: PLC0415 - as above

    settings, clock, rng = session.settings, SystemClock(), SystemRng()

    async def chain_at(url: str) -> Chain:
        rpc = await stack.enter_async_context(HttpRpc(url, clock, rng))
        return Chain(rpc, Commitment(settings.commitment))

    fallbacks, apart = settings.rpc_urls[1:], dict.fromkeys(settings.send_urls)
    return Setup(
        chain=await chain_at(settings.rpc_url),
        clock=clock,
        rng=rng,
        venue=venue,
        ws_url=settings.ws_url,
        keypair=settings.keypair,
        database_url=settings.database_url,
        limits=tuning_of(settings).limits,
        fee_lamports=settings.priority_fee_lamports,
        fallbacks=tuple(
            [Endpoint(chain=await chain_at(url), ws_url=websocket_url(url)) for url in fallbacks]
        ),
        sending=tuple([await chain_at(url) for url in apart if url not in settings.rpc_urls]),
        hermes=await stack.enter_async_context(hermes_of(settings, clock, rng)),
    )


def _redacted(check: "Check") -> "Check":
    from dataclasses import replace  # noqa: PLC0415 - with the checks only

    return replace(check, found=redact(check.found), hint=redact(check.hint))


def _line(check: "Check") -> str:
    hint = f"; {check.hint}" if check.hint else ""
    return f"{check.state:<7}  {check.name:<20}  {check.found}{hint}"
