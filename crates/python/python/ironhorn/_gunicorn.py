"""Reads a ``gunicorn.conf.py``: runs it, and takes settings, warnings and hooks from its names.

A name that is no setting of Gunicorn's is a variable of the file, as it is to Gunicorn; one that
looks like a misspelt setting gets a warning.
"""

from __future__ import annotations

import ast
import difflib
import inspect
import os
import sys
import traceback
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from ironhorn import _gunicorn_settings as settings
from ironhorn._limits import Overdue, limited
from ironhorn._modules import execute, flush, forget_app, import_fresh, renewing

#: What Gunicorn calls the module that a configuration file becomes.
MODULE = "__config__"


class Unreadable(Exception):
    """The file can't be taken; the text says why, and where if a line is to blame."""


@dataclass
class Conf:
    """What a configuration file says."""

    name: str
    module: ModuleType
    #: Our key, its texts, and where it was set.
    settings: list[tuple[str, list[str], str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    #: Gunicorn's name of each hook, and its function.
    hooks: dict[str, Any] = field(default_factory=dict)
    #: Every setting by Gunicorn's name, as the file has it.
    given: dict[str, Any] = field(default_factory=dict)
    #: Modules that were there when it had run.
    imported: frozenset[str] = frozenset()


def read(name: str, file: os.PathLike[str] | None, start: os.PathLike[str]) -> Conf:
    """Runs the `file`, or the module `name`. `start` is where the server was started: what the file
    imports is looked for there first.
    """
    directory = os.fspath(start)
    path = None if file is None else os.fspath(file)
    with renewing():
        if directory in sys.path:
            sys.path.remove(directory)
        sys.path.insert(0, directory)
        try:
            module = _run(name, path)
        finally:
            flush()
    conf = Conf(name, module, imported=frozenset(sys.modules))
    forget_app()
    lines = _lines(module)
    faults: list[str] = []
    for key, value in vars(module).items():
        place = f"{name}:{lines[key]}: {key}" if key in lines else f"{name}: {key}"
        fate = settings.TABLE.get(key)
        if fate is None:
            conf.warnings.extend(_misspelt(key, value, place))
            continue
        conf.given[key] = value
        try:
            _take(conf, key, value, fate, place)
        except ValueError as error:
            at = f"line {lines[key]}: {key}" if key in lines else key
            faults.append(f"{at}: {error}")
    if faults:
        raise Unreadable(f"\n{name}: ".join(faults))
    return conf


def _run(name: str, path: str | None) -> ModuleType:
    try:
        if path is None:
            return limited(import_fresh, name)
        return limited(execute, MODULE, path)
    except SyntaxError as error:
        if error.filename and path and os.path.realpath(error.filename) == os.path.realpath(path):
            raise Unreadable(f"line {error.lineno}: not valid Python: {error.msg}") from None
        raise Unreadable(_told(error, path)) from None
    except OSError as error:
        if path and error.filename == path:
            raise Unreadable(f"cannot read: {error.strerror}") from None
        raise Unreadable(_told(error, path)) from None
    except BaseException as error:
        raise Unreadable(_told(error, path)) from None


def _told(error: BaseException, path: str | None) -> str:
    """The exception, with the line of the file that led to it and the place where it was raised."""
    if isinstance(error, Overdue):
        what = str(error)
    else:
        what = "".join(traceback.format_exception_only(type(error), error)).strip()
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith("<frozen") and os.path.dirname(frame.filename) != _HERE
    ]
    here = [frame for frame in frames if path is not None and frame.filename == path]
    told = f"line {here[-1].lineno}: {what}" if here else what
    if frames and (not here or frames[-1] is not here[-1]):
        told += f" (raised in {frames[-1].filename}:{frames[-1].lineno})"
    return told


_HERE = os.path.dirname(__file__)


def _take(conf: Conf, key: str, value: Any, fate: settings.Fate, place: str) -> None:
    match fate:
        case settings.Hook(arguments=arguments, spare=spare):
            if not callable(value):
                raise ValueError(f"found {value!r}, expected a function")
            if not any(
                _takes(value, arguments[: len(arguments) - few]) for few in range(spare + 1)
            ):
                raise ValueError(f"it is called as {key}({', '.join(arguments)})")
            conf.hooks[key] = value
        case settings.Idle():
            pass
        case settings.Missing(why=why, default=default):
            if not _is_one_of(value, default):
                conf.warnings.append(f"{place}: no effect: {why}")
        case settings.Refused(why=why, default=default):
            if not _is_one_of(value, default):
                raise ValueError(why)
        case settings.Mapped(setting=setting, convert=convert):
            if value is None:
                return
            try:
                converted = convert(value)
            except ValueError as error:
                raise ValueError(f"found {value!r}, expected {error}") from None
            if converted.warning is not None:
                conf.warnings.append(f"{place}: {converted.warning}")
            if converted.texts is not None:
                conf.settings.append((setting, converted.texts, place))


def _takes(function: Any, arguments: tuple[str, ...]) -> bool:
    try:
        inspect.signature(function).bind(*arguments)
    except TypeError:
        return False
    except ValueError:
        # A builtin that doesn't say.
        pass
    return True


def _is_one_of(value: Any, values: tuple[Any, ...]) -> bool:
    """Whether it is equal to one of them; True and 1 are two."""
    return any(
        isinstance(value, bool) == isinstance(other, bool) and value == other for other in values
    )


def _misspelt(key: str, value: Any, place: str) -> list[str]:
    if key.startswith("_") or isinstance(value, ModuleType | type):
        return []
    if getattr(value, "__module__", MODULE) != MODULE:
        return []
    close = difflib.get_close_matches(key, settings.TABLE, 1, 0.8)
    return [f"{place}: no setting of Gunicorn's; did you mean {close[0]}?"] if close else []


def _lines(module: ModuleType) -> dict[str, int]:
    """The line on which each name of the module was set last."""
    try:
        with open(module.__file__ or "", "rb") as file:
            tree = ast.parse(file.read())
    except (OSError, SyntaxError, ValueError):
        return {}
    lines: dict[str, int] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            lines[node.name] = node.lineno
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            lines[node.id] = max(node.lineno, lines.get(node.id, 0))
        elif isinstance(node, ast.alias):
            lines[(node.asname or node.name).partition(".")[0]] = node.lineno
    return lines
