"""The other servers, pinned, in an environment of their own in target/peers that is made once.

    python -m reliability.peers

installs all of them, and says what could not be had. uWSGI is built from source: that takes gcc and
Python's headers, and a minute.
"""

from __future__ import annotations

import fcntl
import subprocess
import sys
from pathlib import Path

PEERS = Path(__file__).parents[2] / "target" / "peers"
PINNED = {"gunicorn": "27.0.1", "uwsgi": "2.0.31", "granian": "2.8.7"}
INSTALLING = 570
"""Seconds that one of them may take: within what a test is given, were it to install them."""


class Missing(Exception):
    """A server that can't be had, and why."""


def install(*names: str) -> Path:
    """Makes the environment with these servers in it, unless it is there, and gives the directory
    of their commands.

    Tests of several processes may want it at the same time: one of them makes it.
    """
    PEERS.parent.mkdir(exist_ok=True)
    with (PEERS.parent / "peers.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (PEERS / "bin" / "python").exists():
            run(sys.executable, "-m", "venv", "--clear", str(PEERS))
        for name in names:
            stamp = PEERS / f".installed-{name}-{PINNED[name]}"
            if not stamp.exists():
                wanted = f"{name}=={PINNED[name]}"
                pip = [str(PEERS / "bin" / "python"), "-m", "pip", "install", "--quiet"]
                run(*pip, "--disable-pip-version-check", wanted)
                stamp.touch()
    return PEERS / "bin"


def run(*command: str) -> None:
    """Runs a step; raises Missing."""
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=INSTALLING
        )
    except subprocess.TimeoutExpired:
        raise Missing(f"{' '.join(command)}: not over after {INSTALLING} s") from None
    if done.returncode != 0:
        said = "\n".join((done.stdout + done.stderr).splitlines()[-15:])
        raise Missing(
            f"{' '.join(command)} failed. It takes PyPI, and for uWSGI a C compiler and Python's "
            f"headers: apt-get install gcc libc6-dev python3-dev\n{said}"
        )


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
