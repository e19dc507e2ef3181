"""The app's side of a gate: says that it is here and waits until the test lets it pass."""

import os

DIRECTORY = os.environ.get("TEST_DIR", ".")


def meet(name):
    """Blocks in read(2) until the test lets one pass."""
    arrived = os.open(os.path.join(DIRECTORY, name + ".arrived"), os.O_WRONLY)
    passed = os.open(os.path.join(DIRECTORY, name + ".passed"), os.O_RDONLY)
    try:
        os.write(arrived, b".")
        os.read(passed, 1)
    finally:
        os.close(arrived)
        os.close(passed)


def note(name, text):
    """Appends one line to a file that the test reads (one write(2), so lines of several workers do
    not mix).
    """
    fd = os.open(os.path.join(DIRECTORY, name), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(fd, (text + "\n").encode())
    finally:
        os.close(fd)
