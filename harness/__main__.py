"""Where `harness` and `python -m harness` begin."""

import sys

from harness.own_packages import in_the_way
from harness.signals import hold_signals


def main() -> None:
    """Runs a command, unless a file of the user's own would be imported in place of this project's."""
    held = hold_signals()
    line = in_the_way()
    if line is not None:
        sys.stderr.write(f"error: {line}\n")
        sys.exit(2)
    from harness.cli import main as run

    run(held)


if __name__ == "__main__":
    main()
