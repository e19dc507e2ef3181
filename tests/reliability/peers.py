"""The other servers, pinned, in an environment of their own in target/peers that is made once.

    python -m reliability.peers

installs all of them, and says what could not be had. uWSGI is built from source: that takes gcc and
Python's headers, and a minute.
"""

from __future__ import annotations

import sys
from pathlib import Path

from harness import packages
from harness.packages import Missing

PEERS = Path(__file__).parents[2] / "target" / "peers"
PINNED = {"gunicorn": "27.0.1", "uwsgi": "2.0.31", "granian": "2.8.7"}
INSTALLING = 570
"""Seconds that one of them may take: within what a test is given, were it to install them."""


def install(*names: str) -> Path:
    """Makes the environment with these servers in it, unless it is there, and gives the directory
    of their commands; raises Missing."""
    for name in names:
        try:
            packages.install(PEERS, f"{name}=={PINNED[name]}", within=INSTALLING)
        except Missing as missing:
            raise Missing(
                f"{missing}\nIt takes PyPI, and for uWSGI a C compiler and Python's headers: "
                "apt-get install gcc libc6-dev python3-dev"
            ) from None
    return PEERS / "bin"


def main() -> int:
    """Each of them; exits with 1 if one is missing."""
    code = 0
    for name in PINNED:
        try:
            install(name)
        except Missing as missing:
            print(f"{name} is missing: {missing}", file=sys.stderr)
            code = 1
    return code


if __name__ == "__main__":
    sys.exit(main())
