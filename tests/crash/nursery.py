"""A process that has everything imported and forks a `liqctl` for each order on its input.

Each fork is a process of its own with its own loop, sockets and files; only the second of imports
is spared. One order a line, `{"argv": [...], "env": {...}, "out": FILE, "err": FILE}`; the answer is
its process id. An empty line waits for the last one, and the answer is how it ended.
"""

import importlib
import json
import os
import sys
import traceback
from typing import Any, NoReturn

# Everything that `liqctl watch` loads while it starts.
LOADED = (
    "liqctl.cli.connect",
    "liqctl.cli.logs",
    "liqctl.cli.render",
    "liqctl.cli.stream",
    "liqctl.cli.summary",
    "liqctl.cli.watch",
    "liqctl.store.postgres",
    "liqctl.store.schema",
)
WRITTEN = os.O_WRONLY | os.O_CREAT | os.O_APPEND


def main() -> None:
    for name in LOADED:
        importlib.import_module(name)
    answer(0)
    child = 0
    for line in sys.stdin:
        if not line.strip():
            answer(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
            continue
        order = json.loads(line)
        # Opened before the fork: whoever reads there finds a writer as soon as it has the answer.
        outputs = [os.open(order[name], WRITTEN, 0o600) for name in ("out", "err")]
        child = os.fork()
        if not child:
            live(order, outputs)
        for output in outputs:
            os.close(output)
        answer(child)


def answer(number: int) -> None:
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()


def live(order: dict[str, Any], outputs: list[int]) -> NoReturn:
    """Become a `liqctl` with these arguments; ends with its exit code."""
    code = 70
    try:
        # The orders are for the parent: a fork has nothing to read.
        for source, target in zip(
            [os.open(os.devnull, os.O_RDONLY), *outputs], range(3), strict=True
        ):
            os.dup2(source, target)
            os.close(source)
        os.environ.update(order["env"])
        sys.argv = ["liqctl", *order["argv"]]
        importlib.import_module("liqctl.__main__").main()
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:  # noqa: BLE001 - a fork must never go on as its parent
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
