"""Black-box harness: starts the shipped command, talks to it on raw sockets, watches its processes
and its log.

Everything waits on events (a log line, a byte in a FIFO, a process that is gone) up to a deadline;
nothing sleeps for a guessed time. Deadlines scale with IRONHORN_TEST_SCALE, for machines that are
slower than a laptop.
"""

from .load import Load, Report
from .process import Gate, Log, children_of, descendants, is_alive, scaled, wait_until
from .records import Record, records, wait_record
from .server import Flavour, Server, Stage, run_once
from .wire import BadResponse, Response, Wire, request

__all__ = [
    "BadResponse",
    "Flavour",
    "Gate",
    "Load",
    "Log",
    "Record",
    "Report",
    "Response",
    "Server",
    "Stage",
    "Wire",
    "children_of",
    "descendants",
    "is_alive",
    "records",
    "request",
    "run_once",
    "scaled",
    "wait_record",
    "wait_until",
]
