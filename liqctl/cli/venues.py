"""`liqctl venues`: which programs are known, and how to bring one's own."""

import asyncio
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from liqctl.cli import command_app
from liqctl.cli.options import Json, NoColor, Session, whole_number, with_session
from liqctl.errors import SettingsError

if TYPE_CHECKING:
    from liqctl.venues.facts import Facts

app = command_app(help="Show the venues, or map a program of your own.")

MISFIT = 1
SHOWN_HASH = 12


@app.command("list", epilog="Examples: liqctl venues list; liqctl venues list --json")
@with_session()
def list_venues(*, session: Session) -> None:
    """Show each venue with what it can do and the interface that it was verified against.

    With --idl and --mapping the user's own program stands last; what it can do is what the
    mapping claims.
    """
    from liqctl.cli.programs import mapping_of  # noqa: PLC0415 - 300 ms, not for --help
    from liqctl.venues.facts import FACTS, facts_of  # noqa: PLC0415 - 200 ms, not for --help

    mapped = mapping_of(session.settings)
    facts = [*FACTS.values(), *([] if mapped is None else [facts_of(mapped)])]
    if session.as_json:
        session.screen.json([_as_json(one) for one in facts])
        return
    columns = ("venue", "liquidates", "verdict", "reward", "fund", "verified", "IDL sha256")
    session.screen.table(columns, [_row(one) for one in facts])
    for one in facts:
        if one.why_not is not None:
            session.screen.note(f"{one.venue} is watch-only: {one.why_not}")


def _row(facts: "Facts") -> tuple[object, ...]:
    return (
        facts.venue,
        "yes" if facts.can_liquidate else "no",
        facts.verdict,
        facts.reward,
        "yes" if facts.insurance_fund else "no",
        "never" if facts.verified_on is None else facts.verified_on.isoformat(),
        facts.idl_sha256[:SHOWN_HASH],
    )


def _as_json(facts: "Facts") -> dict[str, object]:
    return {
        "type": "venue",
        "venue": facts.venue,
        "can_liquidate": facts.can_liquidate,
        "why_not": facts.why_not,
        "verdict": facts.verdict,
        "reward": facts.reward,
        "insurance_fund": facts.insurance_fund,
        "idl_sha256": facts.idl_sha256,
        "verified_on": None if facts.verified_on is None else facts.verified_on.isoformat(),
        "account_bytes": facts.account_bytes,
    }


@app.command(epilog="Examples: liqctl venues init --idl idl.json > mapping.toml")
def init(
    *,
    idl: Annotated[
        str, typer.Option("--idl", metavar="FILE", help="The IDL of the program, of any Anchor.")
    ],
    name: Annotated[
        str | None,
        typer.Option(
            "--name", metavar="NAME", help="What to call the venue; the file's name else."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "-o", "--out", metavar="FILE", help="Write to this new file, not to standard output."
        ),
    ] = None,
    as_json: Json = False,
    no_color: NoColor = False,
) -> None:
    """Write a commented mapping to fill in: what accounts and fields of an IDL mean.

    Where the IDL leaves a choice there is a "?", which no command takes for an answer.
    """
    from liqctl.cli.programs import read_idl  # noqa: PLC0415 - 300 ms, not for --help
    from liqctl.cli.render import Screen  # noqa: PLC0415 - 40 ms, not for --help
    from liqctl.venues.skeleton import skeleton  # noqa: PLC0415 - 200 ms, not for --help

    screen = Screen(no_color=no_color)
    text = skeleton(read_idl(idl), name or _proposed_name(idl))
    if out is not None:
        _write_new(out, text)
    if as_json:
        screen.json({"type": "mapping", "file": None if out is None else str(out), "text": text})
    elif out is None:
        print(text, end="")
    else:
        screen.note(f"wrote {out}; replace every '?' and run `liqctl venues check`")


def _proposed_name(idl: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", Path(idl).stem.lower()).strip("-0123456789") or "my-program"


def _write_new(path: Path, text: str) -> None:
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise SettingsError(f"{path} is there already; name another file with --out") from None
    except OSError as error:
        raise SettingsError(f"cannot write {path}: {error.strerror}") from error


@app.command(
    epilog="Examples: liqctl venues check --idl idl.json --mapping mapping.toml -u URL; "
    "liqctl venues check --idl idl.json --mapping mapping.toml --accounts DIR"
)
@with_session()
def check(
    *,
    session: Session,
    accounts: Annotated[
        Path | None,
        typer.Option(
            "--accounts",
            metavar="DIR",
            help="Read account dumps of `solana account --output json`, no node.",
        ),
    ] = None,
    simulate: Annotated[
        str | None,
        typer.Option(
            "--simulate",
            metavar="PUBKEY",
            help="Try the instruction on this position by simulation; nothing is sent.",
        ),
    ] = None,
    limit: Annotated[
        int,
        typer.Option("--limit", metavar="N", help="Judge at most so many positions of a node."),
    ] = 100,
) -> int:
    """Decode real accounts by a mapping, list what does not fit, and try the instruction.

    Ends with 1 when an account does not fit or the program does not do what our verdict expects.
    The simulation needs no key: it runs as --keypair where that is a public key, else as the owner.
    """
    from liqctl.cli.venues_check import checked, show  # noqa: PLC0415 - 300 ms, not for --help

    whole_number("--limit", limit, 1, 100_000)
    if session.settings.mapping is None or session.settings.idl is None:
        raise SettingsError("`venues check` needs --idl and --mapping; see `liqctl venues init`")
    if accounts is not None and simulate is not None:
        raise SettingsError("--simulate needs a node; leave out --accounts")
    report = asyncio.run(checked(session, accounts, simulate, limit))
    show(session, report)
    return 0 if report.fits else MISFIT
