"""The other servers and the frameworks, pinned, in an environment of their own in target/bench/env.

    python -m bench.peers

installs each by itself, so that one that can't be had is missing alone, and writes into
missing.json why. Ironhorn is run with the same Python and packages, from where it was built.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from harness.packages import Missing, install

HOME = Path(__file__).parents[2] / "target" / "bench"
ENVIRONMENT = HOME / "env"
MISSING = HOME / "missing.json"

FRAMEWORKS = ("flask==3.1.3", "django==5.2.19", "falcon==4.4.0")
PEERS: dict[str, tuple[str, ...]] = {
    "bjoern": ("bjoern==3.2.2",),
    # It asks pkg_resources for its version, which newer setuptools don't have.
    "fastwsgi": ("fastwsgi==0.0.9", "setuptools<81", "click"),
    "granian": ("granian==2.8.9",),
    "uwsgi": ("uwsgi==2.0.31",),
    # Its gevent worker asks for packaging without saying so.
    "gunicorn": ("gunicorn==27.0.1", "packaging"),
    "gevent": ("gevent==26.9.0",),
    "waitress": ("waitress==3.0.2",),
    "cheroot": ("cheroot==11.1.2",),
    "mod_wsgi": ("mod_wsgi==6.1.1",),
}
NEEDED = {
    "bjoern": "gcc libev-dev python3-dev",
    "fastwsgi": "gcc python3-dev",
    "uwsgi": "gcc python3-dev libssl-dev",
    "mod_wsgi": "gcc apache2 apache2-dev python3-dev",
}
INSTALLING = 900
"""Seconds that one of them may take."""


def missing() -> dict[str, str]:
    """What the last installation could not have, and why."""
    found = json.loads(MISSING.read_text()) if MISSING.exists() else {}
    return {str(name): str(why) for name, why in found.items()}


def main() -> int:
    """Each of them; exits with 1 if the environment or a framework is missing."""
    HOME.mkdir(parents=True, exist_ok=True)
    lacking: dict[str, str] = {}
    try:
        install(ENVIRONMENT, *FRAMEWORKS, within=INSTALLING)
    except Missing as why:
        print(f"the environment of the bench is missing: {why}", file=sys.stderr)
        return 1
    for name, wanted in PEERS.items():
        try:
            install(ENVIRONMENT, *wanted, within=INSTALLING)
        except Missing as why:
            lacking[name] = str(why)
            debian = f" (apt-get install {NEEDED[name]})" if name in NEEDED else ""
            print(f"could not be installed: {name}{debian}: {why}", file=sys.stderr)
    MISSING.write_text(json.dumps(lacking, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
