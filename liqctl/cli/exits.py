"""How the program ends: one line on stderr and an exit code for every kind of error."""

import errno
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import NoReturn, TextIO

import typer
from typer.exceptions import TyperException

from liqctl.cli.redact import escape, redact
from liqctl.errors import InvariantError, LiqctlError

INTERRUPTED = 130
TERMINATED = 143
BUG = 1
NO_ROOM = {errno.ENOSPC, errno.EDQUOT}


def end(run: Callable[[], object]) -> NoReturn:
    """Run a command and end the program: with the number it returns, or with that of its error."""
    _open_closed_streams()
    sys.exit(exit_code_of(run))


def exit_code_of(run: Callable[[], object]) -> int:
    """Return the exit code of a command; what went wrong is on stderr by then."""
    try:
        returned = run()
        sys.stdout.flush()
    except (typer.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except TyperException as error:
        return _report_usage(error)
    except BaseExceptionGroup as group:
        return _report_all(group, list(_leaves(group)))
    except (Exception, InvariantError) as error:  # noqa: BLE001 - the last boundary: a bug is shown whole
        return _report_all(error, [error])
    return returned if isinstance(returned, int) else 0


def report_unraisable(unraisable: "sys.UnraisableHookArgs") -> None:
    """Show what went wrong where nothing can be raised, such as in a destructor, redacted too."""
    if unraisable.exc_value is not None:
        text = "".join(traceback.format_exception(unraisable.exc_value))
        _say(f"ignored: {text}")


def _report_usage(error: TyperException) -> int:
    context = getattr(error, "ctx", None)
    message = " ".join(error.format_message().split())
    stop = "" if message.endswith((".", "?")) else "."
    hint = f" See `{context.command_path} --help`." if context else ""
    _say(message + stop + hint)
    return error.exit_code


def _report_all(raised: BaseException, leaves: list[BaseException]) -> int:
    """Print each distinct message once; the first error decides the exit code."""
    if any(_is_full(leaf) for leaf in leaves):
        _drop(sys.stdout)
    told = [leaf for leaf in leaves if not isinstance(leaf, BrokenPipeError)]
    if len(told) < len(leaves):
        code = _reader_left()
        if not told:
            return code
    errors = [each for leaf in told if isinstance(each := _told(leaf), LiqctlError)]
    if len(errors) < len(told):
        return _report_bug(raised)
    for message in dict.fromkeys(str(error) for error in errors):
        _say(message)
    return errors[0].exit_code


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for inner in group.exceptions:
        if isinstance(inner, BaseExceptionGroup):
            yield from _leaves(inner)
        else:
            yield inner


def _report_bug(error: BaseException) -> int:
    text = "".join(traceback.format_exception(error))
    print(escape(redact(text), keep="\n\t"), file=sys.stderr, end="")
    _say("this is a bug in liqctl; please report it with the lines above")
    return BUG


def _told(error: BaseException) -> BaseException:
    """Return a full disk as an error with one line: it is nobody's bug."""
    if not _is_full(error):
        return error
    return LiqctlError("cannot write the output: no space is left; make room and try again")


def _is_full(error: BaseException) -> bool:
    return isinstance(error, OSError) and error.errno in NO_ROOM


def _reader_left() -> int:
    _drop(sys.stdout)
    return 1


def _drop(stream: TextIO) -> None:
    """Send what is still buffered nowhere, so that the interpreter does not complain at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _open_closed_streams() -> None:
    """Open what the program was started without: its number must not become that of a database."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode))


def _say(message: str) -> None:
    try:
        print(f"liqctl: {escape(redact(message))}", file=sys.stderr, flush=True)
    except OSError:  # the exit code still tells
        _drop(sys.stderr)
