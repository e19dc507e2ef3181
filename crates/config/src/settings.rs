//! The settings: the one place where they are defined.
//!
//! An entry's doc comment is its `--help` and its text in `docs/settings.md`; after a change run
//! `cargo run -p ironhorn-config --example settings > docs/settings.md`.

use std::path::PathBuf;
use std::time::Duration;

use ironhorn_unix::PeerPattern;

use crate::definition::{Reach, settings};
use crate::kind::{
    AccessFormat, AccessLogFormat, Bind, Bytes, CacheRule, Certificate, CertificateFiles, Choice,
    CipherSuite, ClientCertificates, Control, ControlSocket, FieldName, FileName, FilePath, Form,
    ForwardedFor, Forwarding, HeaderMap, Listen, Log, LogFile, LogFormat, LogLevel, Many, Mount,
    Octal, One, Optional, Pair, Pairing, Peers, Protocol, ProxyProtocol, Routes, Seconds,
    SecondsOrOff, StaticMap, Suite, Switch, Symlinks, Text, TlsVersion, UrlPath, Whole, WholeOrOff,
    WorkerCount,
};

/// A day: a longer wait than that is a mistake in the unit.
const DAY: f64 = 86_400.0;
/// A year: the longest life of a worker.
const YEAR: f64 = 365.0 * DAY;
const VARIABLES: Pairing = Pairing {
    pair: "NAME=VALUE",
    name: "the name of a variable",
    names: "names",
    values: "values",
};
const MOUNTS: Pairing = Pairing {
    pair: "PREFIX=APP",
    name: "a prefix of paths, such as /api",
    names: "prefixes",
    values: "applications",
};
const STATIC_MAPS: Pairing = Pairing {
    pair: "PREFIX=PATH",
    name: "a prefix of paths, such as /static",
    names: "prefixes",
    values: "directories",
};
const CACHE_RULES: Pairing = Pairing {
    pair: "PATTERN=VALUE",
    name: "a pattern of file names, such as *.css",
    names: "patterns",
    values: "values",
};
/// The least memory that a worker can be limited to: less is a mistake in the unit.
const MEBIBYTE: u64 = 1 << 20;

settings! {
    /// How to serve: every setting, parsed and checked.
    #[derive(Clone, Debug, PartialEq)]
    pub struct Settings;
    static SETTINGS;

    section "Application" {
        /// The WSGI application to serve.
        ///
        /// ```text
        /// shop.wsgi                  `application` in the module shop.wsgi
        /// shop.wsgi:app              another name in it
        /// shop.wsgi:site.app         an attribute of an object in it
        /// shop.wsgi:create_app()     what a function returns; it may be given literals:
        /// 'shop.wsgi:create_app("production", debug=False)'
        /// ```
        app: Option<String> = Optional(Text("MODULE or MODULE:NAME")) => {
            value: "APP",
            other_names: &["wsgi_app"],
            reach: Reach::Positional,
        }

        /// Application for paths that begin with a prefix; repeatable.
        ///
        /// In YAML a mapping of prefixes to applications, written as `app` is. The
        /// longest prefix that fits counts; what fits none goes to `app`, or is answered
        /// with 404 without one. SCRIPT_NAME is the prefix and PATH_INFO the rest. See
        /// docs/mounting.md.
        mount: Vec<(String, String)> = Routes { kind: Mount, pairing: &MOUNTS } => {
            value: "PREFIX=APP",
        }

        /// Directory to change to before anything else is done.
        ///
        /// It is first on sys.path, and relative paths in other settings start there.
        /// Only `config` is looked for in the directory Ironhorn was started in.
        chdir: Option<PathBuf> = Optional(FilePath("the path of a directory")) => {
            value: "DIRECTORY",
        }

        /// Directories to put on sys.path before all others.
        ///
        /// In one text they are separated by commas or colons.
        pythonpath: Vec<PathBuf> = Many {
            kind: FilePath("the path of a directory"),
            form: Form::List(&[',', ':']),
            may_be_empty: true,
        } => {
            value: "DIRECTORY",
        }

        /// Variable to set in the environment of the application; repeatable.
        ///
        /// In YAML either a mapping of names to values or a list of NAME=VALUE.
        /// IRONHORN_ENV holds words as in a shell: 'A=1 B="two words"'.
        /// `--print-config` shows the values.
        env: Vec<(String, String)> = Many {
            kind: Pair,
            form: Form::Pairs(&VARIABLES),
            may_be_empty: true,
        } => {
            value: "NAME=VALUE",
            short: Some('e'),
            other_names: &["raw_env"],
        }

        /// Python file or module with functions to call when something happens.
        ///
        /// FILE.py or the name of a module. What the functions are called, and in which
        /// process each one runs, is in docs/hooks.md. Read again on SIGHUP.
        hooks: Option<String> = Optional(Text("the path of a Python file or the name of a module")) => {
            value: "FILE.py|MODULE",
        }
    }

    section "Listening" {
        /// Address to listen on; repeatable.
        ///
        /// `HOST:PORT` or `[V6]:PORT`, `unix:PATH`, `unix:@NAME` for Linux's abstract
        /// sockets, or `fd://N` for a listening socket that is inherited. What is spoken there
        /// may stand before it: `http://`, `https://`, `uwsgi://`, or `redirect://` to tell
        /// every request to come back over HTTPS; in YAML also `uwsgi: ADDRESS` as an item.
        /// Without that it is what `protocol` says, and that is HTTPS on TCP if `certfile` is
        /// set. In one text several are separated by commas. The variable PORT, if set, makes
        /// it 0.0.0.0:$PORT.
        bind: Vec<Bind> = Many {
            kind: Listen,
            form: Form::List(&[',']),
            may_be_empty: false,
        } => {
            value: "ADDRESS",
            short: Some('b'),
            other_names: &["address", "host", "listen", "port"],
            default: &["127.0.0.1:8000"],
        }

        /// What is spoken on addresses of `bind` that don't say it.
        ///
        /// `uwsgi` is what nginx speaks by uwsgi_pass, and Apache by mod_proxy_uwsgi. See
        /// docs/moving-from-uwsgi.md.
        protocol: Protocol = One(Choice(&[
            ("http", Protocol::Http),
            ("uwsgi", Protocol::Uwsgi),
        ])) => {
            value: "http|uwsgi",
            default: &["http"],
        }

        /// Who may connect where the uwsgi protocol is spoken; repeatable.
        ///
        /// Addresses, networks such as 10.0.0.0/8, or `*`: the proxies, which are
        /// believed what they say of a client. Others are cut off at once. Who comes by a
        /// unix socket is let in too, unless the list is empty; `unix` alone is for nobody
        /// else. In one text several are separated by commas. It is refused where no address
        /// speaks that protocol.
        uwsgi_allow_from: Vec<PeerPattern> = Many {
            kind: Peers,
            form: Form::List(&[',']),
            may_be_empty: true,
        } => {
            value: "ADDRESS|NETWORK|*|unix",
            other_names: &["uwsgi_allow_ips"],
            default: &["127.0.0.1", "::1"],
        }

        /// How many connections the kernel queues for each address.
        ///
        /// The kernel takes no more than net.core.somaxconn.
        backlog: i32 = One(Whole { min: 1, max: 65_535 }) => {
            value: "NUMBER",
            default: &["2048"],
        }
    }

    section "TLS" {
        /// The server's certificate: a PEM file, with those that vouch for it after it.
        ///
        /// With it, HTTPS is spoken on TCP addresses; see `bind` and docs/tls.md. Read by
        /// the master, at start and on SIGHUP.
        certfile: Option<PathBuf> = Optional(FilePath("the path of a PEM file")) => {
            value: "FILE",
        }

        /// The private key to `certfile`: a PEM file, not encrypted.
        ///
        /// Without it, the key is in `certfile`.
        keyfile: Option<PathBuf> = Optional(FilePath("the path of a PEM file")) => {
            value: "FILE",
        }

        /// Certificate for further server names, with its key; repeatable.
        ///
        /// CERTFILE, or CERTFILE:KEYFILE. The names are those that the certificate is for,
        /// also with `*`. Clients that ask for no name, or another, get `certfile`. In one
        /// text several are separated by commas.
        certificates: Vec<CertificateFiles> = Many {
            kind: Certificate,
            form: Form::List(&[',']),
            may_be_empty: true,
        } => {
            value: "FILE",
            flag: Some("certificate"),
            aliases: &["certificates"],
            other_names: &["sni"],
        }

        /// Certificates of the authorities that sign those of clients: a PEM file.
        ca_certs: Option<PathBuf> = Optional(FilePath("the path of a PEM file")) => {
            value: "FILE",
        }

        /// Whether clients are to show a certificate, signed by one of `ca_certs`.
        ///
        /// `none`, `optional` or `required`; 0, 1 and 2 are the same. A certificate that
        /// isn't signed so ends the connection. Whose it is, the application finds in
        /// `SSL_CLIENT_S_DN`.
        cert_reqs: ClientCertificates = One(Choice(&[
            ("none", ClientCertificates::None),
            ("optional", ClientCertificates::Optional),
            ("required", ClientCertificates::Required),
            ("0", ClientCertificates::None),
            ("1", ClientCertificates::Optional),
            ("2", ClientCertificates::Required),
        ])) => {
            value: "none|optional|required",
            default: &["none"],
        }

        /// The oldest version of TLS that is spoken.
        ///
        /// It is refused without `certfile`.
        tls_min_version: TlsVersion = One(Choice(&[
            ("1.2", TlsVersion::V1_2),
            ("1.3", TlsVersion::V1_3),
        ])) => {
            value: "1.2|1.3",
            other_names: &["ssl_version"],
            default: &["1.2"],
        }

        /// The cipher suites that are used; without it, all that Ironhorn has.
        ///
        /// Names of IANA or OpenSSL, in one text separated by colons or commas; OpenSSL's
        /// patterns are refused. Of a version of TLS of which none is named, all are used.
        ciphers: Vec<CipherSuite> = Many {
            kind: Suite,
            form: Form::List(&[':', ',']),
            may_be_empty: true,
        } => {
            value: "SUITES",
        }

        /// How long a client may take for the TLS handshake.
        ///
        /// It is refused without `certfile`.
        handshake_timeout: Duration = One(Seconds::up_to(DAY)) => {
            value: "SECONDS",
            default: &["10"],
        }
    }

    section "Workers" {
        /// How many worker processes serve.
        ///
        /// `auto` starts as many as there are CPUs for this process, as the limits of
        /// its cgroup and its affinity have it. The variable WEB_CONCURRENCY sets it too.
        ///
        /// At the start no more of them boot at a time than there are CPUs, until one
        /// serves or a second has passed; with `preload` all do.
        workers: usize = One(WorkerCount { max: 1024 }) => {
            value: "NUMBER|auto",
            short: Some('w'),
            default: &["1"],
        }

        /// How many threads of a worker run the application.
        ///
        /// With one, the worker runs one request at a time, at the least cost. More are for
        /// applications that wait for databases or other servers, and have to be safe to
        /// be called by several threads at once. See docs/threads.md.
        threads: usize = One(Whole { min: 1, max: 256 }) => {
            value: "NUMBER",
            default: &["1"],
        }

        /// How many complete requests wait in a worker for one of its `threads`.
        ///
        /// Beyond that it reads no further ones. Without a number, four for each thread.
        /// With one thread nothing waits there, but in the kernel: it has no effect then.
        queue: Option<usize> = Optional(Whole { min: 1, max: 65_536 }) => {
            value: "NUMBER",
        }

        /// How many connections a worker holds at most.
        ///
        /// For a new one beyond that it closes the one that has been idle for longest, or
        /// has been in its TLS handshake or sending its head for longest. If there is none,
        /// and no other worker has room, it closes the slowest of those that send a body or
        /// take a response, and the log says so. If all are the app's, new ones wait for
        /// another worker or in the kernel's queue.
        worker_connections: usize = One(Whole { min: 1, max: 1_000_000 }) => {
            value: "NUMBER",
            default: &["1000"],
        }

        /// How many workers a reload replaces at a time.
        ///
        /// So many more than `workers` run while it lasts.
        reload_surge: usize = One(Whole { min: 1, max: 1024 }) => {
            value: "NUMBER",
            default: &["1"],
        }

        /// Import the application once, in a process that workers are forked from.
        ///
        /// Workers then share the memory that the import has filled, and are there at
        /// once. A reload imports anew. Threads that the import starts are not in the
        /// workers.
        preload: bool = Switch => {
            value: "true|false",
            default: &["false"],
            other_names: &["preload_app"],
        }

        /// After how many requests a worker is replaced; 0 for never.
        ///
        /// It serves until its replacement does. One worker at a time is replaced.
        max_requests: Option<u64> = One(WholeOrOff { max: u32::MAX as u64 }) => {
            value: "NUMBER",
            default: &["0"],
        }

        /// How many requests more than `max_requests` a worker may serve.
        ///
        /// Each draws a number up to this one, so that they don't reach it together.
        max_requests_jitter: u64 = One(Whole { min: 0, max: u32::MAX as u64 }) => {
            value: "NUMBER",
            default: &["0"],
        }

        /// With how much memory of its own a worker is replaced.
        ///
        /// A number of bytes, also with k, m or g for KiB, MiB or GiB, or `unlimited`.
        /// Memory that it shares with others isn't counted. It serves until its
        /// replacement does. One worker at a time is replaced.
        max_memory: Option<u64> = One(Bytes { min: MEBIBYTE }) => {
            value: "BYTES|unlimited",
            default: &["unlimited"],
        }

        /// With how much memory of its own a worker is killed at once.
        ///
        /// Written as `max_memory`, and no less than it. Requests that it works on are lost, so it is for what
        /// grows faster than `max_memory` can have it replaced.
        max_memory_hard: Option<u64> = One(Bytes { min: MEBIBYTE }) => {
            value: "BYTES|unlimited",
            default: &["unlimited"],
        }

        /// After how long a worker is replaced; 0 for never.
        ///
        /// It serves until its replacement does. One worker at a time is replaced, and
        /// none lives to the second as long as another.
        max_lifetime: Option<Duration> = One(SecondsOrOff { max: YEAR }) => {
            value: "SECONDS",
            default: &["0"],
        }
    }

    section "Timeouts" {
        /// How long the application may work on a request; 0 for no limit.
        ///
        /// Counted from the call, or from the last chunk that it yielded; the application
        /// can extend it with `environ["ironhorn.extend_timeout"](seconds)`. The client
        /// of a request that is over it gets 504, the log names the request and shows
        /// where the application is, and the worker is replaced and then killed if it
        /// doesn't come back within `graceful_timeout`.
        timeout: Option<Duration> = One(SecondsOrOff { max: DAY }) => {
            value: "SECONDS",
            short: Some('t'),
            default: &["30"],
        }

        /// How long a request may wait for a thread; 0 for no limit.
        ///
        /// One that has waited longer is answered with 503 and `Retry-After`, and the
        /// application doesn't see it. With `threads: 1` requests wait in the kernel, where
        /// their time isn't known, so that it catches those only that are known to have
        /// waited for others.
        queue_timeout: Option<Duration> = One(SecondsOrOff { max: DAY }) => {
            value: "SECONDS",
            default: &["0"],
        }

        /// How long requests may take to finish when a worker is to end.
        ///
        /// Workers that aren't done then are killed.
        graceful_timeout: Duration = One(Seconds { min: 0.0, max: DAY }) => {
            value: "SECONDS",
            default: &["30"],
        }

        /// How long the server still takes connections after it was told to stop.
        ///
        /// Meanwhile `health_path` answers 503, so that load balancers learn of it. A
        /// second SIGTERM ends the wait.
        shutdown_delay: Duration = One(Seconds { min: 0.0, max: DAY }) => {
            value: "SECONDS",
            default: &["0"],
        }

        /// How long a worker may take to import the application; 0 for no limit.
        boot_timeout: Option<Duration> = One(SecondsOrOff { max: DAY }) => {
            value: "SECONDS",
            default: &["60"],
        }

        /// How long a client may take to send the head of a request.
        header_timeout: Duration = One(Seconds::up_to(DAY)) => {
            value: "SECONDS",
            default: &["10"],
        }

        /// How long a client may pause while it sends the body of a request.
        body_timeout: Duration = One(Seconds::up_to(DAY)) => {
            value: "SECONDS",
            default: &["30"],
        }

        /// How many bytes a second the body of a request must come with; 0 for any.
        ///
        /// On average: a body has `body_timeout`, and a second more for so many bytes.
        body_min_rate: u32 = One(Whole { min: 0, max: 1_000_000_000 }) => {
            value: "BYTES",
            default: &["240"],
        }

        /// How long a client may take nothing of a response.
        write_timeout: Duration = One(Seconds::up_to(DAY)) => {
            value: "SECONDS",
            default: &["30"],
        }

        /// How many bytes a second a client must take of a response; 0 for any.
        ///
        /// On average, of the time that the response waits for the client: that may be
        /// `write_timeout`, and a second more for so many bytes.
        write_min_rate: u32 = One(Whole { min: 0, max: 1_000_000_000 }) => {
            value: "BYTES",
            default: &["240"],
        }

        /// How long a connection is kept for another request; 0 closes it after each.
        keepalive: Option<Duration> = One(SecondsOrOff { max: DAY }) => {
            value: "SECONDS",
            flag: Some("keep-alive"),
            aliases: &["keepalive"],
            other_names: &["keep_alive"],
            default: &["5"],
        }
    }

    section "HTTP" {
        /// The longest request line, in bytes.
        ///
        /// A longer one is answered with 414.
        limit_request_line: usize = One(Whole { min: 64, max: 65_536 }) => {
            value: "BYTES",
            default: &["8190"],
        }

        /// How many header fields a request may have.
        ///
        /// One with more is answered with 431.
        limit_request_fields: usize = One(Whole { min: 1, max: 512 }) => {
            value: "NUMBER",
            default: &["100"],
        }

        /// The longest header field, name and value together, in bytes.
        ///
        /// A request with a longer one is answered with 431.
        limit_request_field_size: usize = One(Whole { min: 64, max: 65_536 }) => {
            value: "BYTES",
            aliases: &["limit-request-field_size"],
            default: &["8190"],
        }

        /// The longest head of a request, request line and fields together, in bytes.
        ///
        /// A longer one is answered with 431.
        limit_request_head: usize = One(Whole { min: 1024, max: 1_048_576 }) => {
            value: "BYTES",
            default: &["65536"],
        }

        /// The longest body of a request, in bytes.
        ///
        /// A number, also with k, m or g for KiB, MiB or GiB, or `unlimited`. A longer
        /// body is answered with 413. 0 is refused, because it would be no limit to some
        /// and no body to others.
        limit_request_body: Option<u64> = One(Bytes { min: 1 }) => {
            value: "BYTES|unlimited",
            default: &["unlimited"],
        }

        /// How much disk the bodies that are on their way to a worker may take together.
        ///
        /// Written as `limit_request_body`. Bodies over 1 MiB are kept in files without a
        /// name in TMPDIR until the application is called; one that finds no room is
        /// answered with 507.
        spool_limit: Option<u64> = One(Bytes { min: MEBIBYTE }) => {
            value: "BYTES|unlimited",
            default: &["unlimited"],
        }

        /// What is done with header fields whose name has an underscore.
        ///
        /// WSGI can't tell X_User from X-User, which a proxy may have set or removed.
        /// `drop` hides the field from the application, `refuse` answers the request
        /// with 400, `allow` passes the field on.
        header_map: HeaderMap = One(Choice(&[
            ("drop", HeaderMap::Drop),
            ("refuse", HeaderMap::Refuse),
            ("allow", HeaderMap::Allow),
        ])) => {
            value: "drop|refuse|allow",
            default: &["drop"],
        }

        /// Path that the server answers itself, to say whether it is ready.
        ///
        /// GET and HEAD get 200, or 503 once the server was told to stop. The
        /// application doesn't see them.
        health_path: Option<String> = Optional(UrlPath) => {
            value: "PATH",
        }
    }

    section "Proxies" {
        /// The proxies whose word on a request is taken; repeatable.
        ///
        /// Addresses, networks such as 10.0.0.0/8, or `*` for everybody. Who comes by a unix
        /// socket is trusted too, unless the list is empty; `unix` alone is for nobody else.
        /// From these, X-Forwarded-Proto, -Protocol, -Ssl and Forwarded say whether the
        /// request is https; what contradicts itself is answered with 400. Once the list is
        /// not the default, Forwarded, X-Forwarded-* and X-Real-IP of others are hidden
        /// from the application. The variable FORWARDED_ALLOW_IPS sets it too. See
        /// docs/proxies.md.
        forwarded_allow_ips: Vec<PeerPattern> = Many {
            kind: Peers,
            form: Form::List(&[',']),
            may_be_empty: true,
        } => {
            value: "ADDRESS|NETWORK|*|unix",
            default: &["127.0.0.1", "::1"],
        }

        /// Whether a trusted proxy says who the client is.
        ///
        /// `on` takes for the client the first address from the right in X-Forwarded-For or
        /// Forwarded that `forwarded_allow_ips` doesn't list; a number, the one that many
        /// places from the right, one for each proxy. It becomes REMOTE_ADDR, also in the
        /// access log. The flag without a value is `on`.
        forwarded_for: ForwardedFor = One(Forwarding) => {
            value: "off|on|NUMBER",
            bare: Some("on"),
            default: &["off"],
        }

        /// Whether a trusted proxy says what host and port the client has asked for.
        ///
        /// X-Forwarded-Host, X-Forwarded-Port and the host of Forwarded become HTTP_HOST,
        /// SERVER_NAME and SERVER_PORT. For proxies that do not pass Host on. The flag without
        /// a value is `on`.
        forwarded_host: bool = One(Choice(&[
            ("off", false),
            ("on", true),
            ("false", false),
            ("true", true),
        ])) => {
            value: "off|on",
            bare: Some("on"),
            default: &["off"],
        }

        /// Field that only a trusted proxy may send; repeatable.
        ///
        /// It is hidden from the application if anybody else sends it, and its name may have
        /// underscores whatever `header_map` says. SCRIPT_NAME sets SCRIPT_NAME for an
        /// application below a path, and is taken off PATH_INFO; X-Forwarded-Prefix sets it
        /// where the proxy has taken it off the path itself.
        forwarder_headers: Vec<String> = Many {
            kind: FieldName,
            form: Form::List(&[',']),
            may_be_empty: true,
        } => {
            value: "NAME",
        }

        /// The header of the PROXY protocol that connections begin with.
        ///
        /// `v1`, `v2`, or `auto` for either. It is required of the peers that
        /// `proxy_allow_from` lists, and refused from others, which are served without. The
        /// flag without a value is `auto`.
        proxy_protocol: ProxyProtocol = One(Choice(&[
            ("off", ProxyProtocol::Off),
            ("v1", ProxyProtocol::V1),
            ("v2", ProxyProtocol::V2),
            ("auto", ProxyProtocol::Auto),
        ])) => {
            value: "off|v1|v2|auto",
            bare: Some("auto"),
            default: &["off"],
        }

        /// The peers whose connections begin with that header; repeatable.
        ///
        /// Written as `forwarded_allow_ips`. It is refused without `proxy_protocol`.
        proxy_allow_from: Vec<PeerPattern> = Many {
            kind: Peers,
            form: Form::List(&[',']),
            may_be_empty: true,
        } => {
            value: "ADDRESS|NETWORK|*|unix",
            other_names: &["proxy_allow_ips"],
            default: &["127.0.0.1", "::1"],
        }
    }

    section "Static files" {
        /// Directory to serve files from, for paths that begin with a prefix; repeatable.
        ///
        /// In YAML a mapping of prefixes to directories; a single file can stand in the
        /// place of one. The longest prefix that fits counts. The application doesn't
        /// see these requests. IRONHORN_STATIC holds words as in a shell. See
        /// docs/static-files.md.
        r#static: Vec<(String, PathBuf)> = Routes { kind: StaticMap, pairing: &STATIC_MAPS } => {
            value: "PREFIX=PATH",
            other_names: &["static_map", "static_path_mount"],
        }

        /// Files that are served for a directory: the first one that is in it.
        ///
        /// A directory without one is answered with 404. In one text several are
        /// separated by commas; empty for none.
        static_index: Vec<String> = Many {
            kind: FileName,
            form: Form::List(&[',']),
            may_be_empty: true,
        } => {
            value: "FILE",
            default: &["index.html"],
        }

        /// Cache-Control of static files whose name matches a pattern; repeatable.
        ///
        /// The first pattern that matches counts; files that match none have no
        /// Cache-Control. `*` stands for any characters and `?` for one; a pattern that
        /// begins with / is matched with the path in the URL, others with the name.
        /// `hashed` stands for names that hold a digest, like base.5af3f1a8c2d1.css.
        static_cache: Vec<(String, String)> = Routes { kind: CacheRule, pairing: &CACHE_RULES } => {
            value: "PATTERN=VALUE",
            default: &["hashed=public, max-age=31536000, immutable"],
        }

        /// Which symbolic links below those directories are followed.
        ///
        /// `inside` follows relative ones that don't lead out of the directory, `never`
        /// none, and `follow` all of them.
        static_symlinks: Symlinks = One(Choice(&[
            ("never", Symlinks::Never),
            ("inside", Symlinks::Inside),
            ("follow", Symlinks::Follow),
        ])) => {
            value: "never|inside|follow",
            default: &["inside"],
        }

        /// Ask the application for what is not there as a static file.
        ///
        /// Without it, that is answered with 404, and other methods than GET and HEAD
        /// with 405.
        static_fallthrough: bool = Switch => {
            value: "true|false",
            default: &["false"],
        }
    }

    section "Process" {
        /// File to write the process id of the master to.
        pid: Option<PathBuf> = Optional(FilePath("the path of a file")) => {
            value: "FILE",
            short: Some('p'),
            other_names: &["pidfile"],
        }

        /// Permissions that new files and unix sockets don't get.
        ///
        /// In octal with a leading zero: 027, 0027 and 0o027 are the same, 27 is
        /// refused. Without it, files get what the umask of the shell leaves them, and
        /// unix sockets 0660.
        umask: Option<u32> = Optional(Octal) => {
            value: "OCTAL",
            short: Some('m'),
        }

        /// Name of the processes, as ps and top show it.
        ///
        /// Without it, the name has the application in it.
        name: Option<String> = Optional(Text("a name")) => {
            value: "NAME",
            short: Some('n'),
            other_names: &["proc_name"],
        }

        /// Go to the background once the server serves.
        ///
        /// The command returns then, or with what is wrong. Nothing is shown on the
        /// terminal any more, so set `error_logfile`. Only a start heeds it, no reload.
        daemon: bool = Switch => {
            value: "true|false",
            short: Some('D'),
            default: &["false"],
        }

        /// The user that the workers run as, by name or number.
        ///
        /// Changed to before the application is imported; the master stays what it is,
        /// and so it can bind low ports and read keys again at a reload.
        user: Option<String> = Optional(Text("the name or the number of a user")) => {
            value: "USER",
            short: Some('u'),
        }

        /// The group that the workers run as, by name or number.
        ///
        /// Without it, it is the primary group of `user`.
        group: Option<String> = Optional(Text("the name or the number of a group")) => {
            value: "GROUP",
            short: Some('g'),
        }

        /// Give workers the other groups that `user` is in too.
        initgroups: bool = Switch => {
            value: "true|false",
            default: &["false"],
        }

        /// The unix socket that `ironhorn ctl` talks to.
        ///
        /// `auto` is a file of its own for each server, where `ironhorn ctl` finds it: in
        /// $RUNTIME_DIRECTORY, $XDG_RUNTIME_DIR/ironhorn, /run/ironhorn if it is root's,
        /// or else /tmp/ironhorn-UID. `none` is for no control. Only the user that runs
        /// the master, and root, can use it. Only a start heeds it, no reload. See
        /// docs/control.md.
        control: Control = One(ControlSocket) => {
            value: "PATH|auto|none",
            other_names: &["control_socket"],
            default: &["auto"],
        }
    }

    section "Development" {
        /// Reload when a file of the application changes.
        ///
        /// Python files in the directory that Ironhorn serves from and below it, those of
        /// modules that were imported from elsewhere, and all in directories named
        /// templates. Code that is broken shows its traceback, and the next change is
        /// waited for, also at start. See docs/development.md.
        reload: bool = Switch => {
            value: "true|false",
            default: &["false"],
        }

        /// File or directory to watch as well with `reload`; repeatable.
        ///
        /// In one text several are separated by commas.
        reload_extra_files: Vec<PathBuf> = Many {
            kind: FilePath("the path of a file or directory"),
            form: Form::List(&[',']),
            may_be_empty: true,
        } => {
            value: "PATH",
            flag: Some("reload-extra-file"),
            aliases: &["reload-extra-files"],
        }
    }

    section "Logging" {
        /// Where the server's own log goes: a file, or - for stderr.
        error_logfile: LogFile = One(Log("stderr")) => {
            value: "FILE",
            aliases: &["log-file"],
            other_names: &["errorlog"],
            default: &["-"],
        }

        /// The least severe level that is logged.
        ///
        /// In upper or lower case. `critical` is the same as `error`, and `warn` as
        /// `warning`. The variable IRONHORN_LOG sets levels for single modules.
        log_level: LogLevel = One(Choice(&[
            ("trace", LogLevel::Trace),
            ("debug", LogLevel::Debug),
            ("info", LogLevel::Info),
            ("warning", LogLevel::Warning),
            ("warn", LogLevel::Warning),
            ("error", LogLevel::Error),
            ("critical", LogLevel::Error),
        ])) => {
            value: "LEVEL",
            other_names: &["loglevel"],
            default: &["info"],
        }

        /// How the server's own log is written.
        ///
        /// `text` is a line with key=value fields, `json` an object a line.
        log_format: LogFormat = One(Choice(&[
            ("text", LogFormat::Text),
            ("json", LogFormat::Json),
        ])) => {
            value: "text|json",
            default: &["text"],
        }

        /// Send what the application prints to the server's own log.
        capture_output: bool = Switch => {
            value: "true|false",
            default: &["false"],
        }

        /// Where the access log goes: a file, or - for stdout; without it there is none.
        access_logfile: Option<LogFile> = Optional(Log("stdout")) => {
            value: "FILE",
            other_names: &["accesslog"],
        }

        /// What a line of the access log is made of.
        ///
        /// `combined`, `json`, or a line with atoms as Gunicorn has them, such as
        /// '%(h)s "%(r)s" %(s)s %(b)s'.
        access_logformat: AccessLogFormat = One(AccessFormat) => {
            value: "FORMAT",
            other_names: &["access_log_format"],
            default: &["combined"],
        }
    }
}

settings! {
    /// What was asked of this invocation, other than to serve.
    #[derive(Clone, Debug, PartialEq)]
    pub struct Invocation;
    static INVOCATION;

    section "Configuration" {
        /// The file to read settings from: YAML, or Python as Gunicorn has it.
        ///
        /// Without it, ironhorn.yaml is read if it is in the directory Ironhorn was
        /// started in, or else gunicorn.conf.py. A relative path starts there too.
        /// `FILE.py`, `file:FILE` and `python:MODULE` are run as Gunicorn runs them; see
        /// docs/moving-from-gunicorn.md.
        config: Option<PathBuf> = Optional(FilePath("the path of a YAML file")) => {
            value: "FILE",
            short: Some('c'),
            reach: Reach::NotInFile,
        }

        /// Check settings, application and addresses, say what is wrong, and exit.
        check_config: bool = Switch => {
            value: "true|false",
            default: &["false"],
            reach: Reach::CommandLine,
        }

        /// Print the settings as YAML, with where each one came from, and exit.
        print_config: bool = Switch => {
            value: "true|false",
            default: &["false"],
            reach: Reach::CommandLine,
        }
    }

    section "Gunicorn" {
        /// Gunicorn's kind of worker, so that its command line can stay: no effect.
        ///
        /// There is one kind. It serves one request at a time, or as many as `threads` says, which
        /// is what Gunicorn makes of either of these two. Others, such as gevent or uvicorn's, do
        /// what Ironhorn doesn't, and are refused.
        worker_class: Option<()> = Optional(Choice(&[("sync", ()), ("gthread", ())])) => {
            value: "CLASS",
            short: Some('k'),
            reach: Reach::CommandLine,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::all_settings;

    #[test]
    fn defaults_are_allowed() {
        for setting in all_settings().filter(|setting| setting.key != "app") {
            assert!(setting.shape.check(&setting.default_items()).is_ok(), "{}", setting.key);
        }
    }

    #[test]
    fn every_setting_says_what_it_is_in_one_line() {
        for setting in all_settings() {
            let (first, rest) = setting.doc.split_first().unwrap();
            assert!(first.ends_with('.'), "{}", setting.key);
            assert!(rest.first().is_none_or(|line| line.is_empty()), "{}", setting.key);
            assert!(!setting.value.is_empty(), "{}", setting.key);
        }
    }
}
