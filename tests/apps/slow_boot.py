"""The toolbox, in a worker whose import waits at the gate `boot`."""

from meeting import meet
from toolbox import app

__all__ = ["app"]

meet("boot")
