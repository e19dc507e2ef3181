"""Hooks: functions of the operator's that are called when something happens to the server.

The functions of one generation are a :class:`Hooks`; each is called with objects that live as long
as the process. Which event is called when, and in which process, is the table in docs/hooks.md;
what calls them, times them and logs what they raise is the extension module.
"""

from __future__ import annotations

import difflib
import inspect
import logging
import mmap
import os
import struct
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from types import MappingProxyType, ModuleType
from typing import Any, NamedTuple, Protocol

from ironhorn import _ironhorn, _modules
from ironhorn._limits import Overdue, limited

#: Each hook of ours and its arguments; those of the master first.
MASTER_HOOKS = {
    "on_starting": ("master",),
    "pre_fork": ("master", "worker"),
    "when_ready": ("master",),
    "on_reload": ("master",),
    "reload_failed": ("master", "reason"),
    "worker_timeout": ("master", "worker", "request"),
    "child_exit": ("master", "worker", "reason"),
    "on_exit": ("master",),
}
WORKER_HOOKS = {
    "post_fork": ("worker",),
    "post_worker_init": ("worker",),
    "worker_ready": ("worker",),
    "pre_request": ("worker", "environ"),
    "post_request": ("worker", "environ", "status", "seconds"),
    "worker_exit": ("worker",),
}
HOOKS = {**MASTER_HOOKS, **WORKER_HOOKS}

#: Events that only a gunicorn.conf.py can have hooks for.
_IN_MASTER = {*MASTER_HOOKS, "nworkers_changed", "pre_exec"}
_REQUEST_HOOKS = {"pre_request", "post_request"}

#: The module that a file of hooks becomes.
MODULE = "__hooks__"


class HooksError(Exception):
    """The hooks can't be used; the text says why."""


class _Handler(logging.Handler):
    """Hands records to the server's log."""

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info
        raised = "".join(traceback.format_exception(*error)) if error and error[0] else None
        _ironhorn.log(record.levelno, record.getMessage(), raised)


#: Lines that go to the server's log. The server's own filter decides which are shown.
HANDLER = _Handler()
LOG = logging.Logger("ironhorn", 1)
LOG.addHandler(HANDLER)


class Worker:
    """A worker, as hooks see it."""

    def __init__(self, nr: int, generation: int, age: int) -> None:
        #: Number of its slot, the ``worker=`` of the log.
        self.nr = nr
        self.generation = generation
        #: How many workers were started before it, and it.
        self.age = age
        #: None until it is known.
        self.pid: int | None = None
        self.ppid = MASTER.pid
        self.log = LOG
        #: The settings that it runs with.
        self.settings: Mapping[str, Any] = MASTER.settings

    def __repr__(self) -> str:
        return f"<Worker nr={self.nr} generation={self.generation} pid={self.pid}>"


class Request(NamedTuple):
    """The request that ran too long."""

    method: str
    path: str
    #: For how long it had made no progress.
    seconds: float


class Master:
    """The master, as hooks see it."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.log = LOG
        #: The settings of the generation whose hook is called.
        self.settings: Mapping[str, Any] = MappingProxyType({})
        #: Workers by the number of their slot.
        self.workers: dict[int, Worker] = {}
        self._started = 0
        # A worker that is forked from a zygote isn't a copy of this process as it is then.
        self._ages = mmap.mmap(-1, 1 << 16)

    def __repr__(self) -> str:
        return f"<Master pid={self.pid}>"

    def begin(self, nr: int, generation: int) -> Worker:
        """A worker is about to be forked."""
        self._started += 1
        worker = self.workers[nr] = Worker(nr, generation, self._started)
        if (place := nr * 8) + 8 <= len(self._ages):
            struct.pack_into("=Q", self._ages, place, self._started)
        return worker

    def know(self, nr: int, generation: int, pid: int) -> Worker:
        """A worker has shown itself: it is ready, or has exited."""
        worker = self.workers.get(nr)
        if worker is None or worker.pid not in (None, pid):
            # It is older than the hooks are.
            worker = self.workers[nr] = Worker(nr, generation, self._age(nr))
        worker.pid = pid
        return worker

    def lose(self, nr: int) -> None:
        """A worker has exited."""
        self.workers.pop(nr, None)

    def become(self, nr: int, generation: int, of_zygote: bool) -> Worker:
        """This process is the worker."""
        worker = None if of_zygote else self.workers.get(nr)
        if worker is None:
            worker = Worker(nr, generation, self._age(nr))
        worker.pid = os.getpid()
        worker.settings = self.settings
        self.workers = {nr: worker}
        return worker

    def _age(self, nr: int) -> int:
        place = nr * 8
        if place + 8 > len(self._ages):
            return nr
        age: int = struct.unpack_from("=Q", self._ages, place)[0]
        return age


#: The master that this process is, or was forked from.
MASTER = Master()


class Side(Protocol):
    """Where functions come from: a module of hooks, or a gunicorn.conf.py.

    Has a method for each event that it has a function for, which makes the function's arguments
    from what the server knows.
    """

    #: What it is called in messages.
    name: str
    warnings: list[str]
    #: Modules that are this generation's own.
    modules: Mapping[str, ModuleType]

    def call(self, event: str) -> Callable[..., object] | None:
        """What to call for `event`; None if nothing is."""

    def serve(self, worker: Worker) -> None:
        """This process is `worker` from now on."""

    def choose(self) -> None:
        """A function of this generation is about to be called."""


class NativeSide:
    """A module of hooks."""

    def __init__(self, name: str, module: ModuleType) -> None:
        self.name = name
        self.warnings: list[str] = []
        self.modules: Mapping[str, ModuleType] = {module.__name__: module}
        self._worker: Worker | None = None
        self._functions: dict[str, Callable[..., object]] = {}
        for key, value in vars(module).items():
            if key in HOOKS:
                self._functions[key] = _checked(name, key, value)
            elif _is_of(value, module) and (close := _similar(key)):
                self.warnings.append(f"{name}: {key} is no hook; did you mean {close}?")

    def call(self, event: str) -> Callable[..., object] | None:
        """See :class:`Side`."""
        function = self._functions.get(event)
        if function is None:
            return None
        match event:
            case "pre_fork":
                return lambda nr, _generation: function(MASTER, MASTER.workers[nr])
            case "reload_failed":
                return lambda reason: function(MASTER, reason)
            case "worker_timeout":
                return lambda worker, *request: function(MASTER, worker, Request(*request))
            case "child_exit":
                return lambda worker, reason: function(MASTER, worker, reason)
            case "post_worker_init":
                return lambda _app: function(self._worker)
            case "pre_request":
                return lambda environ: function(self._worker, environ)
            case "post_request":
                return lambda environ, status, _fields, seconds: function(
                    self._worker, environ, status, seconds
                )
            case "worker_exit":
                return lambda _requests: function(self._worker)
            case _ if event in MASTER_HOOKS:
                return lambda: function(MASTER)
            case _:
                return lambda: function(self._worker)

    def serve(self, worker: Worker) -> None:
        """See :class:`Side`."""
        self._worker = worker

    def choose(self) -> None:
        """See :class:`Side`."""


def _checked(name: str, key: str, value: Any) -> Callable[..., object]:
    arguments = HOOKS[key]
    if not callable(value):
        raise HooksError(f"{name}: {key}: found {value!r}, expected a function")
    try:
        inspect.signature(value).bind(*arguments)
    except TypeError:
        wanted = ", ".join(arguments)
        raise HooksError(f"{name}: {key}: it is called as {key}({wanted})") from None
    except ValueError:
        # A builtin that doesn't say.
        pass
    function: Callable[..., object] = value
    return function


def _is_of(value: Any, module: ModuleType) -> bool:
    return inspect.isfunction(value) and value.__module__ == module.__name__


def _similar(key: str) -> str | None:
    if key.startswith("_"):
        return None
    close = difflib.get_close_matches(key, HOOKS, 1, 0.75)
    return close[0] if close else None


class Hooks:
    """The hooks of one generation."""

    def __init__(self, sides: list[Side], settings: Mapping[str, Any], app: str) -> None:
        self._sides = sides
        self._settings = settings
        self._app = app
        self._path = list(sys.path)
        self._kept = frozenset(sys.modules)
        self.warnings = [warning for side in sides for warning in side.warnings]

    def calls(self, event: str) -> list[tuple[str, Callable[..., object]]]:
        """The functions for `event`, each with the name of where it comes from."""
        calls = [(side, side.call(event)) for side in self._sides]
        found = [(side, call) for side, call in calls if call is not None]
        if event in _REQUEST_HOOKS:
            return [(side.name, call) for side, call in found]
        if event in _IN_MASTER:
            variables = self._settings["env"]
            found = [(side, partial(limited, call)) for side, call in found]
        else:
            variables = {}
        return [(side.name, self._prepared(side, call, variables)) for side, call in found]

    def _prepared(
        self, side: Side, call: Callable[..., object], variables: Mapping[str, str]
    ) -> Callable[..., object]:
        def prepared(*arguments: object) -> None:
            self.choose()
            side.choose()
            try:
                with environment(variables):
                    call(*arguments)
            finally:
                # What is held back here would be printed by each process that is forked.
                _modules.flush()

        return prepared

    def choose(self) -> None:
        """The objects show the settings of this generation."""
        MASTER.settings = self._settings

    def serve(self, nr: int, generation: int, of_zygote: bool) -> None:
        """This process is a worker of this generation."""
        self.choose()
        sys.path[:] = self._path
        worker = MASTER.become(nr, generation, of_zygote)
        for side in self._sides:
            inside = {name: module for name, module in side.modules.items() if "." in name}
            # Those in packages wait until theirs are imported, maybe by the app.
            sys.meta_path.insert(0, _modules.Given(inside))
            for name, module in side.modules.items():
                if name not in inside:
                    sys.modules[name] = module
            side.choose()
            side.serve(worker)

    def keep_app_out(self) -> bool:
        """Whether the app has been imported into the master; then it is no longer there."""
        if self._app not in sys.modules:
            return False
        sys.modules.pop(self._app)
        _modules.forget(self._kept)
        return True


def load(hooks: str | None, conf: Any, settings: dict[str, Any], app: str) -> Hooks:
    """The hooks of a new generation: of the file or module `hooks`, and of a gunicorn.conf.py.

    Runs the module, with the current directory first on ``sys.path``.
    """
    package = app.partition(".")[0]
    imported = conf.imported if conf is not None else frozenset()
    # What the file has imported is not for the hooks to be blamed for, unless it has some itself.
    _modules.keep_out(package)
    shown = MappingProxyType(settings)
    with _modules.renewing(), environment(settings["env"]):
        before = MASTER.settings
        MASTER.settings = shown
        try:
            entries = [os.getcwd(), *settings["pythonpath"]]
            sys.path[:] = [*entries, *(entry for entry in sys.path if entry not in entries)]
            sides: list[Side] = []
            if hooks is not None:
                sides.append(_native(hooks, app))
            if conf is not None and conf.hooks:
                from ironhorn._gunicorn_hooks import GunicornSide

                sides.append(GunicornSide(conf))
            by_conf = conf is not None and conf.hooks and app in imported
            if app in sys.modules or by_conf:
                blamed = hooks if app in sys.modules else conf.name
                raise HooksError(
                    f"{blamed}: it imports the app's module {app}, and the master must stay free "
                    "of the app; import it in the hooks of workers, inside the function"
                )
        finally:
            MASTER.settings = before
            _modules.flush()
    _modules.forget_app()
    loaded = Hooks(sides, shown, app)
    if conf is not None:
        loaded.warnings.extend(_warn_of_package(conf, package))
    return loaded


def _warn_of_package(conf: Any, package: str) -> list[str]:
    # A file that is a module of the package itself can't but import what it is in.
    own = conf.module.__name__
    of_app = (name for name in conf.imported if name.partition(".")[0] == package)
    others = sorted(name for name in of_app if not f"{own}.".startswith(f"{name}."))
    if not others:
        return []
    found = ", ".join(others[:3])
    return [f"{conf.name}: it imports {found} of the app's package; the master forgets it again"]


def _native(hooks: str, app: str) -> NativeSide:
    if not hooks.endswith(".py") and os.sep not in hooks:
        return NativeSide(hooks, _run(_modules.import_fresh, hooks))
    own = _modules.file_of(app)
    if own is not None and os.path.realpath(own) == os.path.realpath(hooks):
        raise HooksError(f"{hooks}: it is the app's own module, which the master must not run")
    if not os.path.isfile(hooks):
        raise HooksError(f"{hooks}: there is no such file")
    return NativeSide(hooks, _run(_modules.execute, MODULE, os.path.abspath(hooks)))


def _run(load: Callable[..., ModuleType], *arguments: str) -> ModuleType:
    try:
        return limited(load, *arguments)
    except Overdue as error:
        raise HooksError(f"{arguments[-1]}: {error}") from None


@contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Within it, the setting `env` holds, which is the workers' otherwise."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
