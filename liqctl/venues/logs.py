"""What a program logged itself, out of the log lines of a whole transaction."""

import base64
from collections.abc import Iterator, Sequence

_TEXT = "Program log: "


def logged_by(program_id: str, logs: Sequence[str]) -> Iterator[bytes]:
    """Yield the data that the program logged, not what others did inside or around it.

    Lines that are no base64 are skipped; texts of programs cannot pass for lines of the runtime.
    """
    for line in _lines_of(program_id, logs):
        match line.split(" "):
            case ["Program", "data:", text]:
                try:
                    yield base64.b64decode(text, validate=True)
                except ValueError:
                    continue
            case _:
                continue


def told_by(program_id: str, logs: Sequence[str]) -> Iterator[str]:
    """Yield the texts that the program logged, not what others did inside or around it."""
    for line in _lines_of(program_id, logs):
        if line.startswith(_TEXT):
            yield line.removeprefix(_TEXT)


def _lines_of(program_id: str, logs: Sequence[str]) -> Iterator[str]:
    """Yield the lines that were logged while the program itself ran."""
    running: list[str] = []
    for line in logs:
        match line.split(" "):
            case ["Program", "data:" | "log:", *_]:
                if running[-1:] == [program_id]:
                    yield line
            case ["Program", subject, "invoke", *_] if not subject.endswith(":"):
                running.append(subject)
            case ["Program", subject, "success" | "failed:", *_] if not subject.endswith(":"):
                del running[-1:]
            case _:
                continue
