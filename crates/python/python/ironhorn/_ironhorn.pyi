from collections.abc import Sequence

__all__ = ["__version__", "log", "main"]

__version__: str

def log(level: int, message: str, traceback: str | None = None) -> None:
    """Writes a line with the level of Python's `logging`, and a traceback under it."""

def main(argv: Sequence[str]) -> int:
    """Runs the command with `argv`, the command line without the program's name, and returns the
    exit code. In a worker it does not return.
    """
