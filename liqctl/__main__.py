"""`python -m liqctl` and the installed command."""

import signal
import sys
from types import FrameType

from liqctl.cli import app
from liqctl.cli.exits import TERMINATED, report_unraisable


def main() -> None:
    """Run the command line; a command with work to finish replaces the reaction to SIGTERM."""
    signal.signal(signal.SIGTERM, _terminate)
    sys.unraisablehook = report_unraisable
    app(prog_name="liqctl")


def _terminate(_number: int, _frame: FrameType | None) -> None:
    sys.exit(TERMINATED)


if __name__ == "__main__":
    main()
