//! The messages for wrong settings, word by word: they are part of the interface.

#[allow(dead_code)]
mod common;

use common::Start;

#[track_caller]
fn yaml(text: &str, expected: &str) {
    let text = format!("app: shop\n{text}");
    assert_eq!(Start::new(Some(&text), &[], &[]).errors(), expected);
}

#[track_caller]
fn environment(name: &str, value: &str, expected: &str) {
    assert_eq!(Start::new(None, &[(name, value)], &["shop"]).errors(), expected);
}

#[track_caller]
fn args(args: &[&str], expected: &str) {
    let all: Vec<_> = args.iter().copied().chain(["shop"]).collect();
    assert_eq!(Start::new(None, &[], &all).errors(), expected);
}

#[test]
fn unknown_key() {
    yaml("\nwrokers: 2\n", r#"ironhorn.yaml:3: wrokers: unknown setting, did you mean "workers"?"#);
    yaml("pidfile: x\n", r#"ironhorn.yaml:2: pidfile: unknown setting, did you mean "pid"?"#);
    yaml("colour: red\n", "ironhorn.yaml:2: colour: unknown setting");
    yaml("config: x\n", "ironhorn.yaml:2: config: unknown setting");
    yaml("print_config: true\n", "ironhorn.yaml:2: print_config: unknown setting");
    yaml("reuse_port: x\n", "ironhorn.yaml:2: reuse_port: not supported in this version");
    yaml(
        "preload_app: true\n",
        r#"ironhorn.yaml:2: preload_app: unknown setting, did you mean "preload"?"#,
    );
    yaml("[a]: 9\n", "ironhorn.yaml:2: found a list as a key, expected the name of a setting");
}

/// An error is one line, and does nothing to a terminal, whatever is written in the sources.
#[test]
fn key_with_controls() {
    yaml("\"a\\e[31m\\nb\": 1\n", r"ironhorn.yaml:2: a\u{1b}[31m\nb: unknown setting");
    yaml("rk.\ters: 1\n", r"ironhorn.yaml:2: rk.\ters: unknown setting");
    environment("IRONHORN_A\u{1b}", "1", r"IRONHORN_A\u{1b}: unknown variable");
    args(&["--\u{1b}[31m"], r"--\u{1b}[31m: unknown option");
}

#[test]
fn value_that_is_not_allowed() {
    yaml(
        "workers: four\n",
        r#"ironhorn.yaml:2: workers: found "four", expected a number from 1 to 1024 or auto"#,
    );
    yaml(
        "workers: 0\n",
        r#"ironhorn.yaml:2: workers: found "0", expected a number from 1 to 1024 or auto"#,
    );
    yaml(
        "workers:\n",
        "ironhorn.yaml:2: workers: found nothing, expected a number from 1 to 1024 or auto",
    );
    yaml(
        "workers: [1]\n",
        "ironhorn.yaml:2: workers: found a list, expected a number from 1 to 1024 or auto",
    );
    yaml(
        "workers:\n  count: 1\n",
        "ironhorn.yaml:2: workers: found a mapping, expected a number from 1 to 1024 or auto",
    );
    yaml(
        "timeout: -1\n",
        r#"ironhorn.yaml:2: timeout: found "-1", expected a number of seconds from 0.001 to 86400, or 0 for off"#,
    );
    yaml(
        "header_timeout: 0\n",
        r#"ironhorn.yaml:2: header_timeout: found "0", expected a number of seconds from 0.001 to 86400"#,
    );
    yaml(
        "threads: 300\n",
        r#"ironhorn.yaml:2: threads: found "300", expected a number from 1 to 256"#,
    );
    yaml(
        "capture_output: yes\n",
        r#"ironhorn.yaml:2: capture_output: found "yes", expected true or false"#,
    );
    yaml(
        "umask: 22\n",
        r#"ironhorn.yaml:2: umask: found "22", expected an octal number from 0 to 0777 with a leading 0, as in 0027 or 0o027"#,
    );
    yaml(
        "limit_request_body: 0\n",
        r#"ironhorn.yaml:2: limit_request_body: found "0", expected a number of bytes from 1, with k, m or g for KiB, MiB or GiB, or unlimited"#,
    );
    yaml(
        "max_memory: 300\n",
        r#"ironhorn.yaml:2: max_memory: found "300", expected a number of bytes from 1m, with k, m or g for KiB, MiB or GiB, or unlimited"#,
    );
    yaml(
        "max_requests: 1e3\n",
        r#"ironhorn.yaml:2: max_requests: found "1e3", expected a number from 1 to 4294967295, or 0 for off"#,
    );
    yaml(
        "health_path: health\n",
        r#"ironhorn.yaml:2: health_path: found "health", expected a path that begins with / and has no query, as in /health"#,
    );
    yaml(
        "control: ''\n",
        r#"ironhorn.yaml:2: control: found "", expected auto, none or the path of a unix socket"#,
    );
    yaml(
        "header_map: dangerous\n",
        r#"ironhorn.yaml:2: header_map: found "dangerous", expected drop, refuse or allow"#,
    );
    yaml(
        "access_logformat: apache\n",
        r#"ironhorn.yaml:2: access_logformat: found "apache", expected combined, json or a line with atoms such as %(h)s"#,
    );
    yaml(
        "limit_request_fields: 513\n",
        r#"ironhorn.yaml:2: limit_request_fields: found "513", expected a number from 1 to 512"#,
    );
}

#[test]
fn item_of_a_list() {
    let expected = "expected HOST:PORT, [V6]:PORT, unix:PATH, unix:@NAME or fd://N";
    yaml(
        "bind:\n  - 127.0.0.1:80\n  - localhost:99999\n",
        &format!(r#"ironhorn.yaml:4: bind: found "localhost:99999", {expected}"#),
    );
    yaml("bind:\n  - [1]\n", &format!("ironhorn.yaml:3: bind: found a list, {expected}"));
    yaml("bind: []\n", &format!("ironhorn.yaml:2: bind: found nothing, {expected}"));
    yaml(
        "bind: {a: 1}\n",
        &format!(
            "ironhorn.yaml:2: bind: found a mapping, expected one or a list of {}",
            expected.trim_start_matches("expected ")
        ),
    );
    yaml(
        "bind:\n- a:1\n- uswgi: b:1\n",
        r#"ironhorn.yaml:4: bind: uswgi: unknown protocol, did you mean "uwsgi"?"#,
    );
    yaml("bind: [{scgi: 'b:1'}]\n", "ironhorn.yaml:2: bind: scgi: unknown protocol");
    yaml(
        "bind:\n- uwsgi:\n    localhost:99999\n",
        &format!(r#"ironhorn.yaml:4: bind: found "localhost:99999", {expected}"#),
    );
    yaml("bind:\n- uwsgi: [a]\n", &format!("ironhorn.yaml:3: bind: found a list, {expected}"));
    yaml(
        "bind:\n- {http: a, uwsgi: b}\n",
        &format!("ironhorn.yaml:3: bind: found a mapping, {expected}"),
    );
    yaml(
        "pythonpath:\n- {uwsgi: b}\n",
        "ironhorn.yaml:3: pythonpath: found a mapping, expected the path of a directory",
    );
    args(&["--bind", "fd://x"], &format!(r#"--bind: found "fd://x", {expected}"#));
    args(&["--bind", "uwsgi://"], &format!(r#"--bind: found "uwsgi://", {expected}"#));
    args(
        &["--uwsgi-allow-from", "10.0.0.1/8"],
        r#"--uwsgi-allow-from: found "10.0.0.1/8", expected an address such as 10.0.0.1 or ::1, a network such as 10.0.0.0/8 with no bits set beyond its prefix, * or unix"#,
    );
    yaml("protocol: uwsg\n", r#"ironhorn.yaml:2: protocol: found "uwsg", expected http or uwsgi"#);
    args(&["--bind="], &format!("--bind: found nothing, {expected}"));
    args(&["--bind=a:1,,b:1"], &format!(r#"--bind: found "", {expected}"#));
}

#[test]
fn settings_that_disagree() {
    yaml(
        "max_memory: 200m\nmax_memory_hard: 100m\n",
        r#"ironhorn.yaml:3: max_memory_hard: found "100m", expected no less than max_memory, which is "200m""#,
    );
    args(
        &["--max-memory=2g", "--max-memory-hard=1g"],
        r#"--max-memory-hard: found "1g", expected no less than max_memory, which is "2g""#,
    );
}

#[test]
fn variables_for_the_application() {
    yaml("env: [A=1, B]\n", r#"ironhorn.yaml:2: env: found "B", expected NAME=VALUE"#);
    yaml(
        "env: A=1\n",
        r#"ironhorn.yaml:2: env: found "A=1", expected a mapping of names to values or a list of NAME=VALUE"#,
    );
    yaml(
        "env:\n  A: 1\n  B: [2]\n",
        "ironhorn.yaml:4: env: found a list, expected a text as the value of B",
    );
    yaml(
        "env:\n  A=B: 1\n",
        r#"ironhorn.yaml:3: env: found "A=B", expected the name of a variable"#,
    );
    args(&["-e", "A"], r#"--env: found "A", expected NAME=VALUE"#);
    environment("IRONHORN_ENV", "A=1 'B=2", "IRONHORN_ENV: the quote ' is not closed");
}

#[test]
fn key_given_twice() {
    yaml("workers: 1\n\nworkers: 1\n", "ironhorn.yaml:4: workers: given twice, first on line 2");
    yaml(
        "env:\n  A: 1\n  B: 2\n  A: 1\n",
        r#"ironhorn.yaml:5: env: found "A", expected each name once"#,
    );
}

#[test]
fn file_that_is_no_settings() {
    let start = Start::new(Some("- app\n"), &[], &["shop"]);
    assert_eq!(
        start.errors(),
        "ironhorn.yaml:1: found a list, expected a mapping of settings to values"
    );
    let start = Start::new(Some("app: [\n"), &[], &["shop"]);
    assert_eq!(
        start.errors(),
        "ironhorn.yaml:2: not valid YAML: did not find expected node content at line 2 column 1, \
         while parsing a flow node"
    );
    let start = Start::new(None, &[], &["shop", "-c", "other.yaml"]);
    assert_eq!(start.errors(), "other.yaml: cannot read: No such file or directory (os error 2)");
    let start = Start::new(None, &[], &["shop"]);
    std::fs::write(start.directory.path().join("ironhorn.yaml"), b"name: \xff\n").unwrap();
    assert_eq!(start.errors(), "ironhorn.yaml: cannot read: it is not UTF-8");
}

#[test]
fn variable_that_is_not_allowed() {
    environment(
        "IRONHORN_WORKERS",
        "x",
        r#"IRONHORN_WORKERS: found "x", expected a number from 1 to 1024 or auto"#,
    );
    environment(
        "IRONHORN_WORKERS",
        "",
        r#"IRONHORN_WORKERS: found "", expected a number from 1 to 1024 or auto"#,
    );
    environment(
        "WEB_CONCURRENCY",
        "many",
        r#"WEB_CONCURRENCY: found "many", expected a number from 1 to 1024 or auto"#,
    );
    environment("PORT", "http", r#"PORT: found "http", expected a number from 1 to 65535"#);
    environment("PORT", "0", r#"PORT: found "0", expected a number from 1 to 65535"#);
}

#[test]
fn variable_that_sets_nothing() {
    environment(
        "IRONHORN_WORKER",
        "2",
        r#"IRONHORN_WORKER: unknown variable, did you mean "IRONHORN_WORKERS"?"#,
    );
    environment("IRONHORN_STATSD_HOST", "x", "IRONHORN_STATSD_HOST: not supported in this version");
    environment("IRONHORN_CHECK_CONFIG", "true", "IRONHORN_CHECK_CONFIG: unknown variable");
    environment(
        "IRONHORN_PORT",
        "9000",
        r#"IRONHORN_PORT: unknown variable, did you mean "IRONHORN_BIND"?"#,
    );
    environment("IRONHORN_", "true", "IRONHORN_: unknown variable");
}

#[test]
fn option_that_does_not_exist() {
    args(&["--wrokers", "2"], r#"--wrokers: unknown option, did you mean "--workers"?"#);
    args(&["--wrokers=2"], r#"--wrokers: unknown option, did you mean "--workers"?"#);
    args(&["--colour"], "--colour: unknown option");
    args(&["-x"], "-x: unknown option");
    args(&["--statsd-host=x"], "--statsd-host: not supported in this version");
    args(&["-R"], "-R: not supported in this version");
    args(&["other"], "shop: unexpected argument, there is only one APP");
}

#[test]
fn option_with_a_wrong_value() {
    args(&["-k", "gevent"], r#"--worker-class: found "gevent", expected sync or gthread"#);
    args(
        &["--worker-class=uvicorn.workers.UvicornWorker"],
        r#"--worker-class: found "uvicorn.workers.UvicornWorker", expected sync or gthread"#,
    );
    args(&["-w", "0"], r#"--workers: found "0", expected a number from 1 to 1024 or auto"#);
    args(
        &["--keepalive=x"],
        r#"--keep-alive: found "x", expected a number of seconds from 0.001 to 86400, or 0 for off"#,
    );
    args(&["--capture-output=1"], r#"--capture-output: found "1", expected true or false"#);
    let start = Start::new(None, &[], &["shop", "--workers"]);
    assert_eq!(
        start.errors(),
        "command line: a value is required for '--workers <NUMBER|auto>' but none was supplied"
    );
}

#[test]
fn arguments_in_the_environment() {
    environment(
        "IRONHORN_CMD_ARGS",
        "-w 0",
        r#"IRONHORN_CMD_ARGS: --workers: found "0", expected a number from 1 to 1024 or auto"#,
    );
    environment("IRONHORN_CMD_ARGS", "-w \"4", "IRONHORN_CMD_ARGS: the quote \" is not closed");
    environment(
        "IRONHORN_CMD_ARGS",
        "--spew",
        "IRONHORN_CMD_ARGS: --spew: not supported in this version",
    );
    environment(
        "IRONHORN_CMD_ARGS",
        "-w",
        "IRONHORN_CMD_ARGS: a value is required for '--workers <NUMBER|auto>' but none was supplied",
    );
}

#[test]
fn nothing_to_serve() {
    let expected = "no application to serve: name it on the command line, \
                    as in \"ironhorn package.module:app\", or as \"app\" in ironhorn.yaml";
    assert_eq!(Start::new(None, &[], &[]).errors(), expected);
    assert_eq!(Start::new(Some("workers: 2\n"), &[], &["-w", "3"]).errors(), expected);
    assert_eq!(
        Start::new(Some("app: [a]\n"), &[], &[]).errors(),
        "ironhorn.yaml:1: app: found a list, expected MODULE or MODULE:NAME"
    );
}

#[test]
fn all_errors_at_once() {
    let start = Start::new(
        Some("wrokers: 2\ntimeout: 1h\nbind: [x:y]\n"),
        &[("PORT", "-"), ("IRONHORN_LOG_LEVEL", "loud")],
        &["-w", "many", "-t", ""],
    );
    let errors = start.errors();
    let places: Vec<_> = errors.lines().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(
        places,
        [
            "ironhorn.yaml:1:",
            "ironhorn.yaml:2:",
            "ironhorn.yaml:3:",
            "PORT:",
            "IRONHORN_LOG_LEVEL:",
            "--workers:",
            "--timeout:",
            "no"
        ]
    );
}

#[test]
fn not_utf_8() {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;
    let bytes = || OsString::from_vec(b"a\xff".to_vec());
    let mut start = Start::new(None, &[], &["shop", "-n"]);
    start.sources.args.push(bytes());
    start.sources.environment.push(("IRONHORN_PID".into(), bytes()));
    // Somebody else's variable is none of our business.
    start.sources.environment.push((bytes(), bytes()));
    assert_eq!(
        start.errors(),
        "IRONHORN_PID: found \"a\\xFF\", which is not UTF-8, expected the path of a file\n\
         --name: found \"a\\xFF\", which is not UTF-8, expected a name"
    );
}

#[test]
fn maps_of_static_files() {
    yaml(
        "static:\n  /a: x\n  media: y\n",
        r#"ironhorn.yaml:4: static: found "media=y", expected PREFIX=PATH with a prefix that begins with / and is there once, as in /static=./assets"#,
    );
    yaml(
        "static:\n  /a: x\n  /a/: y\n",
        r#"ironhorn.yaml:4: static: found "/a/=y", expected PREFIX=PATH with a prefix that begins with / and is there once, as in /static=./assets"#,
    );
    yaml(
        "static:\n  /a: x\n  /a: y\n",
        r#"ironhorn.yaml:4: static: found "/a", expected each name once"#,
    );
    yaml(
        "static:\n  /a:\n    dir: x\n",
        "ironhorn.yaml:4: static: found a mapping, expected a text as the value of /a",
    );
    yaml(
        "static: ./assets\n",
        r#"ironhorn.yaml:2: static: found "./assets", expected a mapping of prefixes to directories or a list of PREFIX=PATH"#,
    );
    yaml("statics: {}\n", r#"ironhorn.yaml:2: statics: unknown setting, did you mean "static"?"#);
    yaml(
        "static_symlinks: sometimes\n",
        r#"ironhorn.yaml:2: static_symlinks: found "sometimes", expected never, inside or follow"#,
    );
    yaml(
        "static_cache: {'*.css': \"a\\nb\"}\n",
        r#"ironhorn.yaml:2: static_cache: found "*.css=a\nb", expected PATTERN=VALUE, each pattern once, as in *.css=max-age=3600"#,
    );
    yaml(
        "static_index: [a/b]\n",
        r#"ironhorn.yaml:2: static_index: found "a/b", expected the name of a file, without a directory"#,
    );
    args(
        &["--static", "assets"],
        r#"--static: found "assets", expected PREFIX=PATH with a prefix that begins with / and is there once, as in /static=./assets"#,
    );
    environment("IRONHORN_STATIC", "/a=x '/b", "IRONHORN_STATIC: the quote ' is not closed");
}

#[test]
fn apps_under_prefixes() {
    yaml(
        "mount:\n  /api:\n",
        "ironhorn.yaml:3: mount: found nothing, expected a text as the value of /api",
    );
    yaml(
        "mount: {api: shop}\n",
        r#"ironhorn.yaml:2: mount: found "api=shop", expected PREFIX=APP with a prefix that begins with / and is there once, as in /api=api.wsgi:app"#,
    );
    yaml(
        "mount:\n  [a]: shop\n",
        "ironhorn.yaml:3: mount: found a list, expected a prefix of paths, such as /api",
    );
    yaml(
        "mount: {/: shop}\n",
        "ironhorn.yaml:2: mount: an application is mounted at /, and app names one for the same place (ironhorn.yaml:1)",
    );
    args(
        &["--mount=/=x"],
        "--mount: an application is mounted at /, and app names one for the same place (command line)",
    );
}

#[test]
fn value_without_effect_that_somebody_may_rely_on() {
    let proxies =
        r#"found "1.2.3.4", no effect: proxy_protocol is off; set that, or leave this out"#;
    yaml("proxy_allow_from: 1.2.3.4\n", &format!("ironhorn.yaml:2: proxy_allow_from: {proxies}"));
    args(&["--proxy-allow-from", "1.2.3.4"], &format!("--proxy-allow-from: {proxies}"));
    let variable = "IRONHORN_PROXY_ALLOW_FROM";
    environment(variable, "1.2.3.4", &format!("{variable}: {proxies}"));
    yaml(
        "bind: [http://a:1, 'unix:x']\nuwsgi_allow_from: [10.0.0.1, 10.0.0.2]\n",
        "ironhorn.yaml:3: uwsgi_allow_from: found \"10.0.0.1,10.0.0.2\", no effect: no address speaks \
         the uwsgi protocol; set protocol, or begin one of bind with uwsgi://, or leave this out",
    );
    args(
        &["--handshake-timeout", "3", "--tls-min-version=1.3"],
        "--tls-min-version: found \"1.3\", no effect: there is no TLS without certfile; set that, or \
         leave this out\n\
         --handshake-timeout: found \"3\", no effect: there is no TLS without certfile; set that, or \
         leave this out",
    );
    for effective in [
        "proxy_allow_from: []\nuwsgi_allow_from: []\n",
        "proxy_allow_from: 1.2.3.4\nproxy_protocol: v1\n",
        "uwsgi_allow_from: 1.2.3.4\nprotocol: uwsgi\n",
        "uwsgi_allow_from: 1.2.3.4\nbind: [a:1, 'uwsgi://b:2']\n",
        "tls_min_version: 1.3\nhandshake_timeout: 3\ncertfile: x\n",
    ] {
        assert_eq!(warnings(effective), "", "{effective}");
    }
}

/// What is to be said of settings that are right.
#[track_caller]
fn warnings(text: &str) -> String {
    let text = format!("app: shop\n{text}");
    let warnings = Start::new(Some(&text), &[], &[]).resolved().warnings();
    warnings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

#[test]
fn value_without_effect_that_does_no_harm() {
    let leave = "set that, or leave this out";
    let files = format!("no files are served without static; {leave}");
    let nobody = "forwarded_allow_ips is empty; name the proxies there, or leave this out";
    for (line, needs, why) in [
        (
            "queue: 5",
            "threads: 2",
            "with one thread requests wait in the kernel; raise threads, or leave this out",
        ),
        (
            "max_requests_jitter: 5",
            "max_requests: 9",
            &format!("there is no max_requests; {leave}"),
        ),
        ("static_index: a", "static: {/: x}", &files),
        ("static_cache: [a=b]", "static: {/: x}", &files),
        ("static_symlinks: never", "static: {/: x}", &files),
        ("static_fallthrough: true", "static: {/: x}", &files),
        ("initgroups: true", "user: x", &format!("there is no user; {leave}")),
        (
            "reload_extra_files: x",
            "reload: true",
            &format!("nothing is watched without reload; {leave}"),
        ),
        (
            "access_logformat: json",
            "access_logfile: x",
            &format!("there is no access log without access_logfile; {leave}"),
        ),
    ] {
        let (key, value) = line.split_once(": ").unwrap();
        let found = value.trim_matches(['[', ']']);
        let expected = format!("ironhorn.yaml:2: {key}: found {found:?}, no effect: {why}");
        assert_eq!(warnings(&format!("{line}\n")), expected);
        assert_eq!(warnings(&format!("{line}\n{needs}\n")), "");
    }
    assert_eq!(
        warnings("forwarded_for: on\nforwarded_host: on\nforwarded_allow_ips: []\n"),
        format!(
            "ironhorn.yaml:2: forwarded_for: found \"on\", no effect: {nobody}\n\
             ironhorn.yaml:3: forwarded_host: found \"on\", no effect: {nobody}"
        )
    );
    assert_eq!(
        warnings("protocol: uwsgi\nbind: http://a:1\n"),
        "ironhorn.yaml:2: protocol: found \"uwsgi\", no effect: every address of bind says by itself \
         what is spoken there; leave this out"
    );
    assert_eq!(warnings("forwarded_for: on\nforwarded_host: on\nprotocol: uwsgi\n"), "");
}

/// Nobody relies on a default, also where it is written down: `--print-config` does that.
#[test]
fn default_without_effect() {
    let resolved = Start::new(None, &[], &["shop"]).resolved();
    let printed = ironhorn_config::print_config(&resolved);
    let again = ironhorn_config::resolve_text(&printed, "printed").unwrap();
    assert_eq!(again.warnings(), []);
}
