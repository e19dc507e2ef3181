"""What the harness promises of a server's log."""

from __future__ import annotations

import os

from harness.process import Log


def test_what_was_written_before_is_seen_at_once() -> None:
    reading, writing = os.pipe()
    log = Log(reading, "pipe")
    for number in range(2000):
        os.write(writing, b"line %d\n" % number)
        assert log.matching(f"^line {number}$")
        assert log.mark() == number + 1
    os.write(writing, b"the last one, unfinished")
    os.close(writing)
    assert log.wait_for_end()
    assert log.lines(since=2000) == ["the last one, unfinished"]
