"""The toolbox, in a worker that is killed by a timer soon after boot for as long as the file
`crash` exists.
"""

import os
import signal

from meeting import DIRECTORY, note
from toolbox import app

__all__ = ["app"]

note("boots", str(os.getpid()))
if os.path.exists(os.path.join(DIRECTORY, "crash")):
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
