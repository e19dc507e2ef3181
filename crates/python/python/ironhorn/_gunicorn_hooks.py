"""What hooks of a ``gunicorn.conf.py`` are given: objects with the attributes that are relied on.

`server` is one object for the master's life and a copy of it in each worker, so that what a hook
puts there is there later.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Mapping
from types import ModuleType, SimpleNamespace
from typing import Any

from ironhorn import _gunicorn_settings as table
from ironhorn import _hooks
from ironhorn._gunicorn import Conf

_ACCESS = logging.getLogger("gunicorn.access")
#: What an app may send its own lines to, under a name that is known.
_ERROR = logging.getLogger("gunicorn.error")


class Log(logging.Logger):
    """server.log: a logger, with the other loggers as attributes."""

    error_log = _ERROR
    access_log = _ACCESS


def _make_log() -> Log:
    log = Log("gunicorn.error", 1)
    log.addHandler(_hooks.HANDLER)
    _ERROR.propagate = False
    _ERROR.addHandler(_hooks.HANDLER)
    return log


class Config:
    """server.cfg: each setting by Gunicorn's name.

    Those with a counterpart have the value that is in force, the others what the file says.
    """

    def __init__(self, given: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
        self._values: dict[str, Any] = dict.fromkeys(table.TABLE)
        self._values.update(worker_class="sync")
        self._values.update(given)
        for name, fate in table.TABLE.items():
            if isinstance(fate, table.Mapped) and fate.setting in settings:
                self._values[name] = settings[fate.setting]
        self._values["raw_env"] = [f"{name}={value}" for name, value in settings["env"].items()]
        self._values["proc_name"] = settings["name"] or settings["app"]
        self.env = dict(settings["env"])
        self.address = [_address(text) for text in settings["bind"]]
        self.worker_class_str = str(self._values["worker_class"])
        self.is_ssl = False
        self.settings = {
            name: SimpleNamespace(name=name, value=value, get=lambda value=value: value)
            for name, value in self._values.items()
        }

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["_values"][name]
        except KeyError:
            raise AttributeError(f"no setting {name!r}") from None


def _address(text: str) -> Any:
    if text.startswith(("unix:", "fd://")):
        return text.removeprefix("unix:")
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


class Server:
    """The master."""

    master_pid = 0
    master_name = "Master"
    reexec_pid = 0
    systemd = False

    def __init__(self, log: Log) -> None:
        self.log = log
        self.pid = _hooks.MASTER.pid
        self.num_workers: int | None = None
        #: What nworkers_changed was told last.
        self.told: int | None = None
        self.LISTENERS: list[Any] = []
        self.cfg: Config
        self.address: list[Any]
        self.proc_name: str
        self.timeout: float | None

    @property
    def worker_age(self) -> int:
        """How many workers were started."""
        return max((worker.age for worker in _hooks.MASTER.workers.values()), default=0)

    @property
    def WORKERS(self) -> dict[int, Worker]:
        """Workers by their process id."""
        workers = _hooks.MASTER.workers.values()
        return {worker.pid: worker_of(worker) for worker in workers if worker.pid is not None}


class Worker:
    """A worker."""

    def __init__(self, worker: _hooks.Worker) -> None:
        self.age = worker.age
        self.ppid = worker.ppid
        self.pid: int | str = worker.pid if worker.pid is not None else "[booting]"
        #: How many requests it has taken, as far as hooks were told.
        self.nr = 0
        self.log = SERVER.log
        self.cfg = SERVER.cfg
        self.timeout = (SERVER.timeout or 0) / 2
        self.alive = True
        self.booted = False
        self.aborted = False
        self.sockets: list[Any] = []
        self.app = SimpleNamespace(cfg=self.cfg, callable=None)
        self.wsgi: Any = None

    def notify(self) -> None:
        """The worker's own loop shows that it lives."""

    def __str__(self) -> str:
        return f"<Worker {self.pid}>"


def worker_of(worker: _hooks.Worker) -> Worker:
    """The one object for a worker."""
    found = worker.__dict__.get("gunicorn")
    if found is None:
        found = worker.__dict__["gunicorn"] = Worker(worker)
    if worker.pid is not None:
        found.pid = worker.pid
    known: Worker = found
    return known


class Request:
    """The request that pre_request and post_request are given, from its environ."""

    def __init__(self, environ: dict[str, Any]) -> None:
        self.method = environ["REQUEST_METHOD"]
        self.uri = environ["RAW_URI"]
        self.path, _, self.query = self.uri.partition("?")
        self.fragment = ""
        major, _, minor = environ["SERVER_PROTOCOL"].removeprefix("HTTP/").partition(".")
        self.version = (int(major), int(minor or 0))
        self.scheme = environ["wsgi.url_scheme"]
        self.remote_addr = (environ["REMOTE_ADDR"], int(environ.get("REMOTE_PORT") or 0))
        self.peer_addr = self.remote_addr
        self.body = environ["wsgi.input"]
        self.headers = [
            (name[5:].replace("_", "-"), value)
            for name, value in environ.items()
            if name.startswith("HTTP_")
        ]
        for name in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            if environ.get(name):
                self.headers.append((name.replace("_", "-"), environ[name]))
        self.trailers: list[Any] = []


class Response:
    """The response that post_request is given."""

    def __init__(self, request: Request | None, status: str, headers: list[Any]) -> None:
        self.req = request
        self.status = status
        self.status_code = int(status[:3])
        self.headers = headers
        self.headers_sent = True
        length = [value for name, value in headers if name.lower() == "content-length"]
        self.response_length = int(length[0]) if length else None


#: One for the life of the process.
SERVER = Server(_make_log())

LEVELS = {"trace": 1, "warning": logging.WARNING}


class GunicornSide:
    """The hooks of a configuration file."""

    def __init__(self, conf: Conf) -> None:
        self.name = conf.name
        self.warnings: list[str] = []
        self.modules: Mapping[str, ModuleType] = {conf.module.__name__: conf.module}
        self._functions = conf.hooks
        settings = _hooks.MASTER.settings
        self._cfg = Config(conf.given, settings)
        self._level = LEVELS.get(settings["log_level"], settings["log_level"].upper())
        self._timeout = settings["timeout"]
        self._worker: _hooks.Worker | None = None
        #: The request that is under way: a worker of this version has one at a time.
        self._request: Request | None = None

    def choose(self) -> None:
        """See :class:`ironhorn._hooks.Side`."""
        SERVER.cfg = self._cfg
        SERVER.address = self._cfg.address
        SERVER.proc_name = self._cfg.proc_name
        if SERVER.num_workers is None:
            SERVER.num_workers = self._cfg.workers
        SERVER.timeout = self._timeout
        _ERROR.setLevel(self._level)

    def serve(self, worker: _hooks.Worker) -> None:
        """See :class:`ironhorn._hooks.Side`."""
        self._worker = worker

    def _own(self) -> Worker:
        assert self._worker is not None
        return worker_of(self._worker)

    def call(self, event: str) -> Callable[..., object] | None:
        """See :class:`ironhorn._hooks.Side`."""
        if event == "pre_request" and "post_request" in self._functions:
            return self._pre_request
        function = self._functions.get(event)
        if function is None:
            return None
        match event:
            case "pre_fork":
                return lambda nr, _generation: function(
                    SERVER, worker_of(_hooks.MASTER.workers[nr])
                )
            case "child_exit":
                return lambda worker, _reason: function(SERVER, worker_of(worker))
            case "post_fork":
                return lambda: function(SERVER, self._own())
            case "post_worker_init":
                return self._post_worker_init
            case "worker_exit":
                return self._worker_exit
            case "worker_int":
                return lambda: function(self._own())
            case "pre_request":
                return self._pre_request
            case "post_request":
                return self._post_request(function)
            case "nworkers_changed":
                return self._nworkers_changed
            case _:
                return lambda: function(SERVER)

    def _post_worker_init(self, app: Any) -> None:
        worker = self._own()
        worker.booted = True
        worker.wsgi = worker.app.callable = app
        worker.app.wsgi = lambda: app
        self._functions["post_worker_init"](worker)

    def _worker_exit(self, requests: int) -> None:
        worker = self._own()
        worker.alive = False
        worker.nr = requests
        self._functions["worker_exit"](SERVER, worker)

    def _nworkers_changed(self, new: int) -> None:
        old, SERVER.told, SERVER.num_workers = SERVER.told, new, new
        self._functions["nworkers_changed"](SERVER, new, old)

    def _pre_request(self, environ: dict[str, Any]) -> None:
        worker = self._own()
        self._request = Request(environ)
        function = self._functions.get("pre_request")
        if function is not None:
            function(worker, self._request)
        worker.nr += 1

    def _post_request(self, function: Callable[..., object]) -> Callable[..., object]:
        taken = _arguments(function)

        def post_request(
            environ: dict[str, Any], status: str, headers: list[Any], _seconds: float
        ) -> None:
            request, self._request = self._request, None
            everything = (self._own(), request, environ, Response(request, status, headers))
            function(*everything[:taken])

        return post_request


def _arguments(function: Callable[..., object]) -> int:
    """How many of its four arguments a post_request takes; older ones take two or three."""
    try:
        signature = inspect.signature(function)
    except ValueError:
        return 4
    for count in (4, 3, 2):
        try:
            signature.bind(*range(count))
        except TypeError:
            continue
        return count
    return 4
