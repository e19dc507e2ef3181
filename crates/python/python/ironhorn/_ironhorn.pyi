from collections.abc import Sequence

__all__ = ["__version__", "main"]

__version__: str

def main(argv: Sequence[str]) -> int:
    """Runs the command with `argv`, the command line without the program's name, and returns the
    exit code. In a worker it does not return.
    """
