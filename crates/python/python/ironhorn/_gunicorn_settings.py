"""What becomes of each of Gunicorn's settings: the one table.

``_gunicorn`` reads a ``gunicorn.conf.py`` by it, and the table in docs/moving-from-gunicorn.md is
printed from it by ``python -m ironhorn._gunicorn_settings``. Nothing is dropped in silence: a
setting has its counterpart, or is so anyway, or gets a warning or a refusal that says why.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ironhorn._gunicorn_values import (
    Texts,
    access_format,
    address_list,
    flag,
    forwarder_headers,
    header_map,
    limit,
    line,
    log_file,
    number,
    octal,
    path,
    path_list,
    patterns,
    peer_list,
    proxy_protocol,
    scheme_headers,
    seconds,
    suites,
    user_name,
    variables,
    word,
    worker_class,
)

#: From a value in the file to the texts of our setting, and a warning if it can't be just that.
Convert = Callable[[Any], Texts]


@dataclass(frozen=True)
class Mapped:
    """Becomes a setting of ours."""

    setting: str
    convert: Convert
    note: str = ""


@dataclass(frozen=True)
class Hook:
    """A function that is called."""

    where: str
    #: What it is called with.
    arguments: tuple[str, ...]
    note: str = ""
    #: How many of the arguments a function may do without.
    spare: int = 0


@dataclass(frozen=True)
class Idle:
    """Has no effect, as it is so anyway."""

    why: str


@dataclass(frozen=True)
class Missing:
    """Has no counterpart: a warning if it is set to something else than Gunicorn's default."""

    why: str
    default: tuple[Any, ...] = (None,)


@dataclass(frozen=True)
class Refused:
    """Has no counterpart, and no client could be served without it."""

    why: str
    default: tuple[Any, ...] = (None,)


Fate = Mapped | Hook | Idle | Missing | Refused

_OFF = (False, None, 0, "false", "False")
_ASGI = Missing("Ironhorn serves WSGI", (None, "auto", 3, 16 * 1024 * 1024, ""))
_HTTP2 = Missing("HTTP/2 is not spoken", (None, "off", 100, 65535, 16384, 65536))
_STRICT = Missing("Ironhorn refuses what RFC 9112 doesn't allow", _OFF)
_LOGGING = Missing("the log is the server's own; log_format: json is for machines", (None, {}, ""))
_SYSLOG = Missing(
    "not supported in this version; the journal or a collector reads stderr",
    (*_OFF, "user", "", "udp://localhost:514"),
)
_STATSD = Missing("not supported in this version", (*_OFF, ""))
_DIRTY = Missing("there are no dirty workers", (None, [], 0, 1, 30, 300))
_PASTE = Missing("Paste is not supported; name the app as MODULE:NAME", (None, [], ""))

TABLE: dict[str, Fate] = {
    # Config file and app
    "config": Missing("the file can't name another one"),
    "wsgi_app": Mapped("app", line),
    "chdir": Mapped("chdir", path),
    "pythonpath": Mapped("pythonpath", path_list),
    "raw_env": Mapped("env", variables),
    "paste": _PASTE,
    "raw_paste_global_conf": _PASTE,
    "check_config": Missing("belongs on the command line: ironhorn --check-config", _OFF),
    "print_config": Missing("belongs on the command line: ironhorn --print-config", _OFF),
    # Listening
    "bind": Mapped("bind", address_list),
    "backlog": Mapped("backlog", number),
    "reuse_port": Missing("the workers share one listener, which spreads connections", _OFF),
    # Workers
    "workers": Mapped("workers", number),
    "worker_class": Mapped(
        "", worker_class, "one kind of worker serves all; asgi and uvicorn's are refused"
    ),
    "threads": Mapped("threads", number),
    "worker_connections": Mapped("worker_connections", number),
    "max_requests": Mapped("max_requests", number),
    "max_requests_jitter": Mapped("max_requests_jitter", number),
    "preload_app": Mapped("preload", flag),
    "worker_tmp_dir": Idle("there is no heartbeat file"),
    # Timeouts
    "timeout": Mapped("timeout", seconds, "limits each request"),
    "graceful_timeout": Mapped("graceful_timeout", seconds),
    "keepalive": Mapped("keepalive", seconds, "5 if not set"),
    # HTTP
    "limit_request_line": Mapped("limit_request_line", limit(65536), "8190 if not set"),
    "limit_request_fields": Mapped("limit_request_fields", number, "up to 512"),
    "limit_request_field_size": Mapped("limit_request_field_size", limit(65536)),
    "header_map": Mapped("header_map", header_map, "`dangerous` is `allow`"),
    "http_parser": Idle("Ironhorn has a parser of its own"),
    "permit_obsolete_folding": _STRICT,
    "strip_header_spaces": _STRICT,
    "permit_unconventional_http_method": _STRICT,
    "permit_unconventional_http_version": _STRICT,
    "casefold_http_method": _STRICT,
    "sendfile": Missing("files are always sent by the kernel", (None, True)),
    "forwarded_allow_ips": Mapped("forwarded_allow_ips", peer_list),
    "secure_scheme_headers": Mapped(
        "", scheme_headers, "Gunicorn's own are heeded, and Forwarded; a warning for others"
    ),
    "forwarder_headers": Mapped(
        "forwarder_headers", forwarder_headers, "none if not set: SCRIPT_NAME has to be listed"
    ),
    "proxy_protocol": Mapped("proxy_protocol", proxy_protocol, "then required of its peers"),
    "proxy_allow_ips": Mapped("proxy_allow_from", peer_list),
    "protocol": Mapped("protocol", word),
    "uwsgi_allow_ips": Mapped("uwsgi_allow_from", peer_list, "networks too"),
    "http_protocols": Missing("HTTP/1.1 is spoken", (None, "", "h1", ("h1",), ["h1"])),
    "http2_cleartext": _HTTP2,
    "http2_max_concurrent_streams": _HTTP2,
    "http2_initial_window_size": _HTTP2,
    "http2_max_frame_size": _HTTP2,
    "http2_max_header_list_size": _HTTP2,
    "asgi_loop": _ASGI,
    "asgi_lifespan": _ASGI,
    "asgi_disconnect_grace_period": _ASGI,
    "websocket_max_message_size": _ASGI,
    "root_path": _ASGI,
    # TLS
    "certfile": Mapped("certfile", path, "TCP addresses speak HTTPS, unix sockets don't"),
    "keyfile": Mapped("keyfile", path),
    "ca_certs": Mapped("ca_certs", path),
    "cert_reqs": Mapped("cert_reqs", number),
    "ciphers": Mapped("ciphers", suites, "names of suites; patterns are refused"),
    "ssl_version": Missing(
        "TLS 1.2 and 1.3 are spoken; tls_min_version can leave 1.3 alone", (None, 2, 16, 17)
    ),
    "suppress_ragged_eofs": Idle("HTTP tells whether a request is whole"),
    "do_handshake_on_connect": Idle("no worker waits for a handshake"),
    "ssl_context": Refused("the settings say what there is to say of TLS"),
    # Process
    "pidfile": Mapped("pid", path),
    "proc_name": Mapped("name", line),
    "default_proc_name": Missing("set proc_name"),
    "daemon": Mapped("daemon", flag),
    "enable_stdio_inheritance": Missing("a daemon has no terminal; set errorlog", _OFF),
    "user": Mapped("user", user_name),
    "group": Mapped("group", user_name),
    "initgroups": Mapped("initgroups", flag),
    "umask": Mapped("umask", octal),
    "tmp_upload_dir": Missing("large bodies go to the directory that TMPDIR names"),
    # Logging
    "accesslog": Mapped("access_logfile", log_file),
    "access_log_format": Mapped("access_logformat", access_format),
    "errorlog": Mapped("error_logfile", log_file),
    "loglevel": Mapped("log_level", word),
    "capture_output": Mapped("capture_output", flag),
    "logger_class": Missing(_LOGGING.why, (None, "gunicorn.glogging.Logger")),
    "logconfig": _LOGGING,
    "logconfig_dict": _LOGGING,
    "logconfig_json": _LOGGING,
    "syslog": _SYSLOG,
    "syslog_addr": _SYSLOG,
    "syslog_prefix": _SYSLOG,
    "syslog_facility": _SYSLOG,
    "disable_redirect_access_to_syslog": _SYSLOG,
    "statsd_host": _STATSD,
    "statsd_prefix": _STATSD,
    "dogstatsd_tags": _STATSD,
    "enable_backlog_metric": _STATSD,
    # Development and control
    "reload": Mapped("reload", flag),
    "reload_engine": Idle("inotify is used"),
    "reload_extra_files": Mapped("reload_extra_files", patterns),
    "spew": Missing("there is no such thing; python -m trace does it", _OFF),
    "control_socket": Missing("gunicornc speaks another language; set control for ironhorn ctl"),
    "control_socket_mode": Missing("the control socket is 0600", (None, 0o600)),
    "control_socket_disable": Mapped(
        "control", lambda value: Texts(["none"] if flag(value).texts == ["true"] else None)
    ),
    "dirty_apps": _DIRTY,
    "dirty_workers": _DIRTY,
    "dirty_timeout": _DIRTY,
    "dirty_threads": _DIRTY,
    "dirty_graceful_timeout": _DIRTY,
    # Hooks
    "on_starting": Hook("master", ("server",)),
    "on_reload": Hook("master", ("server",)),
    "when_ready": Hook(
        "master", ("server",), "when the first worker serves, not before it is forked"
    ),
    "pre_fork": Hook("master", ("server", "worker")),
    "post_fork": Hook("worker", ("server", "worker")),
    "post_worker_init": Hook("worker", ("worker",)),
    "worker_int": Hook("worker", ("worker",), "when the server stops quickly"),
    "worker_abort": Missing("a worker that is stuck can run no hook; the log has its stacks"),
    "pre_exec": Hook("master", ("server",), "before the new master is started on USR2"),
    "pre_request": Hook("worker", ("worker", "req")),
    "post_request": Hook("worker", ("worker", "req", "environ", "resp"), spare=2),
    "child_exit": Hook("master", ("server", "worker")),
    "worker_exit": Hook("worker", ("server", "worker")),
    "nworkers_changed": Hook(
        "master",
        ("server", "new_value", "old_value"),
        "at start, and when TTIN, TTOU or ctl change it",
    ),
    "on_exit": Hook("master", ("server",)),
    "on_dirty_starting": _DIRTY,
    "dirty_post_fork": _DIRTY,
    "dirty_worker_init": _DIRTY,
    "dirty_worker_exit": _DIRTY,
}

HOOKS = tuple(name for name, fate in TABLE.items() if isinstance(fate, Hook))


def describe(fate: Fate) -> str:
    """What becomes of a setting, in the words of the documentation."""
    match fate:
        case Mapped(setting="", note=note):
            return note
        case Mapped(setting=setting, note=note):
            return f"`{setting}`" + (f"; {note}" if note else "")
        case Hook(where=where, note=note):
            return f"called in the {where}" + (f", {note}" if note else "")
        case Idle(why=why):
            return f"no effect: {why}"
        case Missing(why=why):
            return f"warning: {why}"
        case Refused(why=why):
            return f"refused: {why}"


def markdown() -> str:
    """The table for the documentation, in alphabetical order."""
    rows = [f"| `{name}` | {describe(TABLE[name])} |" for name in sorted(TABLE)]
    return "\n".join(["| Setting of Gunicorn | Here |", "|---|---|", *rows])


if __name__ == "__main__":
    print(markdown())
