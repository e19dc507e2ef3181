"""Modules that the master runs for its operator: configuration files and hooks.

Each generation runs its own, from the source as it is on disk then. What they import from beside
them stays in ``sys.modules`` as long as nothing of it has changed on disk, and is imported anew
otherwise; what comes from the standard library or from site-packages stays for good, as much of it
can't be imported twice. The app's own package never stays, wherever it comes from: workers would
begin with that version of it.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import site
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.abc import Loader
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType
from weakref import WeakKeyDictionary

#: What was imported before anything of the operator's was: it stays.
_BEFORE = frozenset(sys.modules)

#: Modules that hooks and configuration files have imported, with their files as they were then.
_seen: WeakKeyDictionary[ModuleType, tuple[int, int]] = WeakKeyDictionary()

#: Those that are run anew for each generation.
_executed: set[str] = set()

#: The top-level package of the app, once it is known.
_app: str | None = None


def execute(name: str, path: str) -> ModuleType:
    """Runs the file at `path` as the module `name`."""
    loader = SourceFileLoader(name, path)
    spec = importlib.util.spec_from_file_location(name, path, loader=loader)
    assert spec is not None
    return _load(spec)


def import_fresh(name: str) -> ModuleType:
    """Imports the module `name`, also if it was imported before."""
    old = sys.modules.pop(name, None)
    try:
        spec = importlib.util.find_spec(name)
    finally:
        if old is not None:
            sys.modules[name] = old
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    module = _load(spec)
    parent, _, child = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], child, module)
    return module


def _load(spec: ModuleSpec) -> ModuleType:
    module = importlib.util.module_from_spec(spec)
    old = sys.modules.get(spec.name)
    _executed.add(spec.name)
    sys.modules[spec.name] = module
    try:
        if isinstance(spec.loader, SourceFileLoader):
            # Not from __pycache__, which tells versions of the same second and size apart by luck.
            path = spec.loader.path
            code = spec.loader.source_to_code(spec.loader.get_data(path), path)
            exec(code, module.__dict__)
        else:
            assert spec.loader is not None
            spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(spec.name, None)
        if old is not None:
            sys.modules[spec.name] = old
        raise
    return sys.modules.get(spec.name, module)


@contextmanager
def renewing() -> Iterator[None]:
    """Within it, what has changed on disk is imported anew; if it fails, all is as it was."""
    forget_app()
    before = dict(sys.modules)
    path = list(sys.path)
    importlib.invalidate_caches()
    local = [name for name, module in before.items() if _is_local(name, module)]
    if any(_seen.get(before[name]) != _stamp(before[name]) for name in local):
        for name in local:
            del sys.modules[name]
    try:
        yield
    except BaseException:
        for name in set(sys.modules) - set(before):
            del sys.modules[name]
        sys.modules.update(before)
        sys.path[:] = path
        raise
    for name, module in list(sys.modules.items()):
        if _is_local(name, module):
            _seen.setdefault(module, _stamp(module))


def keep_out(package: str) -> None:
    """Forgets the app's `package`, now and whenever something of the operator's was run."""
    global _app
    _app = package
    forget_app()


def forget_app() -> None:
    """Forgets what was imported of the app's package."""
    for name in list(sys.modules):
        if name not in _BEFORE and name.partition(".")[0] == _app:
            del sys.modules[name]


class Given(Loader):
    """Has the import system find `modules` as they are, and put them into their packages."""

    def __init__(self, modules: Mapping[str, ModuleType]) -> None:
        self._modules = modules

    def find_spec(self, name: str, *_: object) -> ModuleSpec | None:
        """See :class:`importlib.abc.MetaPathFinder`."""
        module = self._modules.get(name)
        if module is None:
            return None
        return importlib.util.spec_from_file_location(name, module.__file__, loader=self)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """See :class:`importlib.abc.Loader`."""
        return self._modules[spec.name]

    def exec_module(self, module: ModuleType) -> None:
        """It was executed in the master."""


def forget(kept: frozenset[str]) -> None:
    """Forgets what was imported of the operator's besides the `kept`."""
    for name, module in list(sys.modules.items()):
        if name not in kept and _is_local(name, module):
            del sys.modules[name]


def _is_local(name: str, module: ModuleType) -> bool:
    """Whether it came with the operator's files, and can be imported twice."""
    if name in _BEFORE or name in _executed or name.partition(".")[0] == "ironhorn":
        return False
    file = getattr(module, "__file__", None)
    if not isinstance(file, str) or not file.endswith(".py"):
        return False
    return not os.path.realpath(file).startswith(_INSTALLED)


def _installed() -> tuple[str, ...]:
    paths = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    paths.update(site.getsitepackages())
    paths.add(site.getusersitepackages())
    return tuple(os.path.join(os.path.realpath(path), "") for path in paths)


_INSTALLED = _installed()


def _stamp(module: ModuleType) -> tuple[int, int]:
    try:
        status = os.stat(module.__file__ or "")
    except OSError:
        return (0, 0)
    return (status.st_mtime_ns, status.st_size)


def file_of(name: str) -> str | None:
    """The file of the module `name`, found without importing anything."""
    spec: ModuleSpec | None = None
    path = None
    whole = ""
    for part in name.split("."):
        whole = f"{whole}.{part}" if whole else part
        spec = PathFinder.find_spec(whole, path)
        if spec is None:
            return None
        path = spec.submodule_search_locations
    return spec.origin if spec else None


def flush() -> None:
    """Lets go of what was printed."""
    for stream in (sys.stdout, sys.stderr):
        # Nobody may read it, or it is closed.
        with suppress(OSError, ValueError):
            if stream is not None:
                stream.flush()
