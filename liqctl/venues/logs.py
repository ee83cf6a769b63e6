"""What a program logged itself, out of the log lines of a whole transaction."""

import base64
import binascii
from collections.abc import Iterator, Sequence


def logged_by(program_id: str, logs: Sequence[str]) -> Iterator[bytes]:
    """Yield the data that the program logged, not what others did inside or around it.

    Lines that are no base64 are skipped; texts of programs cannot pass for lines of the runtime.
    """
    running: list[str] = []
    for line in logs:
        match line.split(" "):
            case ["Program", "data:", text] if running[-1:] == [program_id]:
                try:
                    yield base64.b64decode(text, validate=True)
                except binascii.Error:
                    continue
            case ["Program", subject, "invoke", *_] if not subject.endswith(":"):
                running.append(subject)
            case ["Program", subject, "success" | "failed:", *_] if not subject.endswith(":"):
                del running[-1:]
            case _:
                continue
