"""Records of the server's log, taken apart, whichever format they are in."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from .process import DEADLINE, Log, wait_until

START = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (?P<level>[A-Z]+) [\w:.]+: (?P<rest>.*)"
)
PAIR = re.compile(r'(?P<key>[a-z_]+)=(?P<value>"(?:\\.|[^"\\])*"|[^\s"]+)(?: |$)')


@dataclass(frozen=True)
class Record:
    """One record; `block` is the text that follows the line, or the JSON key for it."""

    level: str
    message: str
    fields: dict[str, str]
    block: str

    def __getitem__(self, key: str) -> str:
        return self.fields[key]

    def get(self, key: str) -> str | None:
        """The value of a key, None if the record has none such."""
        return self.fields.get(key)


def records(log: Log, since: int = 0) -> list[Record]:
    """All records so far, in order."""
    found: list[Record] = []
    block: list[str] = []
    for line in reversed(log.lines(since)):
        record = _read(line, "\n".join(reversed(block)))
        if record is None:
            block.append(line)
        else:
            found.append(record)
            block = []
    return found[::-1]


def wait_record(
    log: Log,
    message: str,
    deadline: float = DEADLINE,
    since: int = 0,
    shows: str = "",
    **fields: str,
) -> Record:
    """Waits for a record with this message and these fields whose block has a text in it."""

    def attempt() -> Record | None:
        for record in records(log, since):
            alike = record.message == message and fields.items() <= record.fields.items()
            if alike and re.search(shows, record.block):
                return record
        return None

    try:
        return wait_until(attempt, deadline)
    except AssertionError:
        text = log.text()
        raise AssertionError(f"no record {message!r} {fields} {shows!r} in\n{text}") from None


def _read(line: str, block: str) -> Record | None:
    if line.startswith("{"):
        keys = {key: str(value) for key, value in json.loads(line).items()}
        blocks = [keys.pop(key) for key in ("traceback", "stacks") if key in keys]
        return Record(keys.pop("level"), keys.pop("message"), keys, "\n".join(blocks))
    start = START.match(line)
    if start is None:
        return None
    rest, fields = start["rest"], {}
    # The actor's keys, the message, the other keys.
    while pair := PAIR.match(rest):
        fields[pair["key"]] = _value(pair["value"])
        rest = rest[pair.end() :]
    message = rest
    if pair := re.search(rf" (?={PAIR.pattern})", rest):
        message = rest[: pair.start()]
        for pair in PAIR.finditer(rest[len(message) + 1 :]):
            fields[pair["key"]] = _value(pair["value"])
    return Record(start["level"], message, fields, block)


def _value(text: str) -> str:
    return json.loads(text) if text.startswith('"') else text
