"""The command: ``ironhorn`` and ``python -m ironhorn``."""

import sys

from ironhorn._ironhorn import main as _main


def main() -> int:
    """Runs the command with the arguments of this process; returns the exit code."""
    return _main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
