//! Which source wins, and where a value is said to come from.

#[allow(dead_code)]
mod common;

use std::time::Duration;

use common::Start;
use ironhorn_config::{
    AccessLogFormat, Bind, Control, HeaderMap, LogFile, LogFormat, LogLevel, Protocol, Stop,
    print_config,
};
use proptest::prelude::*;

#[test]
fn defaults() {
    let settings = Start::new(None, &[], &["shop.wsgi"]).resolved().settings;
    assert_eq!(settings.main_app(), "shop.wsgi");
    assert_eq!(settings.bind, ["127.0.0.1:8000".parse().unwrap()]);
    assert_eq!(settings.protocol, Protocol::Http);
    let allowed: Vec<_> = settings.uwsgi_allow_from.iter().map(ToString::to_string).collect();
    assert_eq!(allowed, ["127.0.0.1", "::1"]);
    assert_eq!((settings.workers, settings.threads), (1, 1));
    assert_eq!(settings.timeout, Some(Duration::from_secs(30)));
    assert_eq!(settings.graceful_timeout, Duration::from_secs(30));
    assert_eq!(settings.boot_timeout, Some(Duration::from_secs(60)));
    assert_eq!(settings.header_timeout, Duration::from_secs(10));
    assert_eq!(settings.body_timeout, Duration::from_secs(30));
    assert_eq!(settings.write_timeout, Duration::from_secs(30));
    assert_eq!(settings.keepalive, Some(Duration::from_secs(5)));
    assert_eq!((settings.backlog, settings.worker_connections), (2048, 1000));
    assert_eq!(settings.limit_request_line, 8190);
    assert_eq!(settings.limit_request_fields, 100);
    assert_eq!(settings.limit_request_field_size, 8190);
    assert_eq!(settings.limit_request_head, 65536);
    assert_eq!(settings.limit_request_body, None);
    assert_eq!(settings.header_map, HeaderMap::Drop);
    assert_eq!((settings.chdir, settings.pid, settings.umask), (None, None, None));
    assert_eq!(settings.error_logfile, LogFile::Standard);
    assert_eq!((settings.log_level, settings.log_format), (LogLevel::Info, LogFormat::Text));
    assert_eq!(settings.access_logfile, None);
    assert_eq!(settings.access_logformat, AccessLogFormat::Combined);
    assert!(!settings.capture_output && settings.env.is_empty() && settings.pythonpath.is_empty());
    assert_eq!(settings.reload_surge, 1);
    assert_eq!((settings.max_requests, settings.max_requests_jitter), (None, 0));
    assert_eq!((settings.max_memory, settings.max_memory_hard), (None, None));
    assert_eq!((settings.max_lifetime, settings.shutdown_delay), (None, Duration::ZERO));
    assert!(!settings.preload && !settings.daemon && !settings.initgroups && !settings.reload);
    assert_eq!((settings.user, settings.group), (None, None));
    assert_eq!((settings.health_path, settings.hooks), (None, None));
    assert_eq!(settings.control, Control::Auto);
    assert!(settings.reload_extra_files.is_empty());
}

#[test]
fn flags_of_what_keeps_a_server_up() {
    let start = Start::new(
        Some("app: a\nmax_lifetime: 604800\nmax_memory_hard: 2g\ncontrol: none\n"),
        &[("IRONHORN_MAX_MEMORY", "300m"), ("IRONHORN_RELOAD_EXTRA_FILES", "a,b")],
        &[
            "-D",
            "-u",
            "www-data",
            "-g33",
            "--preload",
            "--max-requests",
            "1000",
            "--reload",
            "--max-requests-jitter=50",
            "--control",
            "/run/a.ctl",
            "--health-path=/health",
        ],
    );
    let settings = start.resolved().settings;
    assert!(settings.daemon && settings.preload && settings.reload);
    assert_eq!(
        (settings.user.as_deref(), settings.group.as_deref()),
        (Some("www-data"), Some("33"))
    );
    assert_eq!((settings.max_requests, settings.max_requests_jitter), (Some(1000), 50));
    assert_eq!((settings.max_memory, settings.max_memory_hard), (Some(300 << 20), Some(2 << 30)));
    assert_eq!(settings.max_lifetime, Some(Duration::from_secs(7 * 86_400)));
    assert_eq!(settings.control, Control::Path("/run/a.ctl".into()));
    assert_eq!(settings.health_path.as_deref(), Some("/health"));
    assert_eq!(settings.reload_extra_files, ["a", "b"].map(std::path::PathBuf::from));
}

#[test]
fn yaml_of_every_form() {
    let start = Start::new(
        Some(
            "app: a:b\nbind: [':8001', 'unix:/tmp/a,b']\npythonpath: /a:/b,/c\n\
             env: {A: 1.10, B: 'x, y'}\numask: 022\nlimit_request_body: 10m\nkeepalive: 0\n\
             timeout: 2.5\ncapture_output: true\nlog_level: WARNING\naccess_logfile: '-'\npid: null\n",
        ),
        &[],
        &[],
    );
    let settings = start.resolved().settings;
    let bind: Vec<_> = settings.bind.iter().map(ToString::to_string).collect();
    assert_eq!(bind, ["0.0.0.0:8001", "unix:/tmp/a,b"]);
    assert_eq!(settings.pythonpath, ["/a", "/b", "/c"].map(std::path::PathBuf::from));
    assert_eq!(settings.env, [("A".into(), "1.10".into()), ("B".into(), "x, y".into())]);
    assert_eq!(settings.umask, Some(0o22));
    assert_eq!(settings.limit_request_body, Some(10 << 20));
    assert_eq!((settings.keepalive, settings.timeout), (None, Some(Duration::from_millis(2500))));
    assert!(settings.capture_output);
    assert_eq!(settings.log_level, LogLevel::Warning);
    assert_eq!((settings.access_logfile, settings.pid), (Some(LogFile::Standard), None));
}

#[test]
fn platform_variables_are_below_ours() {
    let start = Start::new(
        Some("app: a\nbind: x:1\nworkers: 2\n"),
        &[("IRONHORN_WORKERS", "4"), ("PORT", "5000"), ("WEB_CONCURRENCY", "3")],
        &[],
    );
    let resolved = start.resolved();
    assert_eq!(resolved.settings.bind, ["0.0.0.0:5000".parse().unwrap()]);
    assert_eq!(resolved.settings.workers, 4);
    assert_eq!(resolved.origin("bind").unwrap().to_string(), "PORT");
    assert_eq!(resolved.origin("app").unwrap().to_string(), "ironhorn.yaml:1");
    assert_eq!(resolved.origin("timeout").unwrap().to_string(), "default");
}

#[test]
fn variables_that_are_not_settings() {
    let others = [
        ("IRONHORN_LOG", "debug"),
        ("IRONHORN_SIM_SEED", "1"),
        ("IRONHORN_LISTENERS", "3=127.0.0.1:80"),
        ("IRONHORN_MASTER", "1"),
        ("IRONHORN_SERVICE_HOST", "10.0.0.1"),
        ("IRONHORN_SERVICE_PORT", "80"),
        ("IRONHORN_SERVICE_PORT_HTTP", "80"),
        ("IRONHORN_PORT", "tcp://10.0.0.1:80"),
        ("IRONHORN_PORT_80_TCP_ADDR", "10.0.0.1"),
        ("PATH", "/bin"),
    ];
    Start::new(None, &others, &["app"]).resolved();
}

#[test]
fn lists_in_one_variable() {
    let start = Start::new(
        None,
        &[("IRONHORN_BIND", "a:1, b:2"), ("IRONHORN_ENV", "A=1 'B=x y'"), ("IRONHORN_APP", "m:a")],
        &[],
    );
    let settings = start.resolved().settings;
    assert_eq!(settings.bind, ["a:1".parse().unwrap(), "b:2".parse().unwrap()]);
    assert_eq!(settings.env, [("A".into(), "1".into()), ("B".into(), "x y".into())]);
    assert_eq!(settings.main_app(), "m:a");
}

#[test]
fn a_list_replaces_a_list() {
    let start = Start::new(Some("app: a\nbind: [a:1, b:1]\n"), &[], &["-b", "c:1"]);
    assert_eq!(start.resolved().settings.bind, ["c:1".parse().unwrap()]);
}

#[test]
fn an_empty_text_unsets() {
    let start = Start::new(
        Some("app: a\npid: /run/a.pid\naccess_logfile: '-'\npythonpath: [x]\n"),
        &[("IRONHORN_PID", "")],
        &["--access-logfile", "", "--pythonpath="],
    );
    let settings = start.resolved().settings;
    assert_eq!((settings.pid, settings.access_logfile), (None, None));
    assert!(settings.pythonpath.is_empty());
}

#[test]
fn the_file_can_be_named_anywhere_but_in_a_file() {
    let start = Start::new(Some("app: a\n"), &[("IRONHORN_CONFIG", "one.yaml")], &[]);
    let write = |name: &str| {
        std::fs::write(start.directory.path().join(name), format!("app: {name}\n")).unwrap();
    };
    write("one.yaml");
    assert_eq!(start.resolved().settings.main_app(), "one.yaml");
    write("two.yaml");
    let mut sources = start.sources.clone();
    sources.environment.push(("IRONHORN_CMD_ARGS".into(), "-c two.yaml".into()));
    assert_eq!(ironhorn_config::resolve(&sources).unwrap().settings.main_app(), "two.yaml");
    write("three.yaml");
    sources.args = vec!["--config=three.yaml".into()];
    let resolved = ironhorn_config::resolve(&sources).unwrap();
    assert_eq!(resolved.settings.main_app(), "three.yaml");
    assert_eq!(resolved.invocation.config.as_deref(), Some("three.yaml".as_ref()));
    assert_eq!(resolved.origin("app").unwrap().to_string(), "three.yaml:1");
}

#[test]
fn what_is_asked_of_this_invocation() {
    let resolved = Start::new(None, &[], &["a", "--check-config"]).resolved();
    assert!(resolved.invocation.check_config && !resolved.invocation.print_config);
    assert!(!print_config(&resolved).contains("check_config"));
}

#[test]
fn the_kind_of_worker_of_a_command_line_of_gunicorns_changes_nothing() {
    let without = Start::new(None, &[], &["--threads", "4", "-w", "2", "a"]).resolved();
    for kind in [&["-k", "gthread"][..], &["--worker-class=gthread"], &["-ksync"]] {
        let args = [kind, &["--threads", "4", "-w", "2", "a"]].concat();
        let resolved = Start::new(None, &[], &args).resolved();
        assert_eq!(resolved.settings, without.settings, "{kind:?}");
        assert_eq!(print_config(&resolved), print_config(&without), "{kind:?}");
    }
}

#[test]
fn help_and_version_come_before_errors() {
    for flag in ["-h", "--help"] {
        let start = Start::new(Some("nonsense"), &[("PORT", "x")], &["-w", "0", flag]);
        assert!(
            matches!(start.resolve(), Err(Stop::Help(text)) if text.contains("Usage: ironhorn"))
        );
    }
    let expected = format!("ironhorn {}\n", env!("CARGO_PKG_VERSION"));
    for flag in ["-v", "-V", "--version"] {
        let start = Start::new(None, &[], &[flag]);
        assert!(matches!(start.resolve(), Err(Stop::Version(text)) if text == expected));
    }
}

#[test]
fn a_reload_reads_the_file_again() {
    let start = Start::new(Some("app: a\nworkers: 2\n"), &[], &["-t", "5"]);
    assert_eq!(start.resolved().settings.workers, 2);
    std::fs::write(start.directory.path().join("ironhorn.yaml"), "app: a\nworkers: 3\n").unwrap();
    let settings = start.resolved().settings;
    assert_eq!((settings.workers, settings.timeout), (3, Some(Duration::from_secs(5))));
}

#[test]
fn print_config_names_the_origin_of_each_line() {
    let start = Start::new(
        Some("app: a:b\n\nname: my shop\n"),
        &[("PORT", "80"), ("IRONHORN_TIMEOUT", "7"), ("IRONHORN_CMD_ARGS", "-m 027")],
        &["-e", "A=1"],
    );
    let printed = print_config(&start.resolved());
    for line in [
        "# Application",
        "app: \"a:b\"  # from ironhorn.yaml:1",
        "name: \"my shop\"  # from ironhorn.yaml:3",
        "bind: [\"0.0.0.0:80\"]  # from PORT",
        "timeout: 7  # from IRONHORN_TIMEOUT",
        "umask: 027  # from IRONHORN_CMD_ARGS",
        "env: [\"A=1\"]  # from the command line",
        "pid: null  # default",
        "error_logfile: \"-\"  # default",
        "limit_request_body: unlimited  # default",
    ] {
        assert!(printed.lines().any(|printed| printed == line), "{line}\nis not in\n{printed}");
    }
}

fn texts() -> impl Strategy<Value = String> {
    // Letters of all kinds, quotes and what YAML gives a meaning to.
    "[a-zé語 \"'\\\\#:{}\\[\\],&*!|>%@`~.=-]{1,12}"
}

/// Settings in YAML with each value as a JSON string, which is YAML too.
fn file() -> impl Strategy<Value = String> {
    let number = |key: &'static str| (1..512_u32).prop_map(move |n| format!("{key}: {n}\n"));
    let text = |key: &'static str| texts().prop_map(move |text| format!("{key}: {text:?}\n"));
    let optional =
        |line: BoxedStrategy<String>| prop::option::of(line).prop_map(Option::unwrap_or_default);
    (
        text("app"),
        optional(number("workers").boxed()),
        optional(number("timeout").boxed()),
        optional(number("limit_request_fields").boxed()),
        optional(text("name").boxed()),
        optional(text("chdir").boxed()),
        optional(text("access_logfile").boxed()),
        optional(
            prop::collection::vec(texts(), 0..4)
                .prop_map(|values| {
                    let pairs = values.iter().map(|value| format!("N={value}"));
                    format!("env: {:?}\n", pairs.collect::<Vec<_>>())
                })
                .boxed(),
        ),
        optional(
            prop::collection::vec(texts(), 0..4)
                .prop_map(|paths| format!("pythonpath: {paths:?}\n"))
                .boxed(),
        ),
    )
        .prop_map(|(a, b, c, d, e, f, g, h, i)| [a, b, c, d, e, f, g, h, i].concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_highest_source_wins(given in prop::array::uniform5(prop::option::of(1..1024_usize))) {
        let [file, platform, variable, arguments, command_line] = given;
        let yaml = file.map(|n| format!("app: a\nworkers: {n}\n"));
        let mut environment = Vec::new();
        environment.extend(platform.map(|n| ("WEB_CONCURRENCY", n.to_string())));
        environment.extend(variable.map(|n| ("IRONHORN_WORKERS", n.to_string())));
        environment.extend(arguments.map(|n| ("IRONHORN_CMD_ARGS", format!("-w {n}"))));
        let environment: Vec<_> = environment.iter().map(|(k, v)| (*k, v.as_str())).collect();
        let flag = command_line.map(|n| format!("--workers={n}"));
        let args: Vec<_> = ["a"].into_iter().chain(flag.as_deref()).collect();

        let resolved = Start::new(yaml.as_deref(), &environment, &args).resolved();

        let last = given.iter().rposition(Option::is_some);
        let expected = last.map_or(1, |source| given[source].unwrap());
        prop_assert_eq!(resolved.settings.workers, expected);
        let origin = match last {
            None => "default",
            Some(0) => "ironhorn.yaml:2",
            Some(1) => "WEB_CONCURRENCY",
            Some(2) => "IRONHORN_WORKERS",
            Some(3) => "IRONHORN_CMD_ARGS",
            Some(_) => "command line",
        };
        prop_assert_eq!(resolved.origin("workers").unwrap().to_string(), origin);
    }

    #[test]
    fn what_is_printed_reads_as_the_same_settings(yaml in file()) {
        let first = Start::new(Some(&yaml), &[], &[]).resolved();
        let printed = print_config(&first);
        let second = Start::new(Some(&printed), &[], &[]).resolved();
        prop_assert_eq!(&first.settings, &second.settings, "{}", printed);
        // The second prints itself the same way, but for the origins.
        let values = |text: &str| {
            let lines = text.lines().map(|line| line.rsplit_once("  # ").map_or(line, |(v, _)| v));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        prop_assert_eq!(values(&printed), values(&print_config(&second)));
    }

    #[test]
    fn no_input_panics(
        yaml in "(app|workers|bind|env|umask|x)?[ :\\-\\[\\]{}\"'a-c0-9\n\t&*!,.]{0,40}",
        variable in any::<String>(),
        args in prop::collection::vec("[-a-z=,:\"' 0-9]{0,12}", 0..4),
    ) {
        let variable = variable.replace('\0', "");
        let environment = [("IRONHORN_CMD_ARGS", variable.as_str()), ("IRONHORN_ENV", &variable)];
        let args: Vec<_> = args.iter().map(String::as_str).collect();
        let _ = Start::new(Some(&yaml), &environment, &args).resolve();
    }
}

#[test]
fn static_maps_come_from_every_source() {
    let yaml = "app: shop\nstatic:\n  /static/: ./assets\n  /: /srv/www\nstatic_cache: {}\n";
    let settings = Start::new(Some(yaml), &[], &[]).resolved().settings;
    let map = |prefix: &str, path: &str| (prefix.to_owned(), path.into());
    assert_eq!(settings.r#static, [map("/static", "./assets"), map("", "/srv/www")]);
    assert_eq!((settings.static_cache, settings.static_index), (vec![], vec!["index.html".into()]));
    let variable = ("IRONHORN_STATIC", "/a=x '/b c=y'");
    let settings = Start::new(Some(yaml), &[variable], &[]).resolved().settings;
    assert_eq!(settings.r#static, [map("/a", "x"), map("/b c", "y")]);
    let args = ["--static", "/a=z", "--static-index="];
    let settings = Start::new(Some(yaml), &[variable], &args).resolved().settings;
    assert_eq!((settings.r#static, settings.static_index), (vec![map("/a", "z")], vec![]));
}

#[test]
fn apps_are_mounted_or_named() {
    let apps = |yaml: &str, args: &[&str]| {
        let settings = Start::new(Some(yaml), &[], args).resolved().settings;
        let apps = settings.apps().into_iter().map(|(prefix, app)| format!("{prefix}={app}"));
        format!("{} {}", settings.main_app(), apps.collect::<Vec<_>>().join(" "))
    };
    assert_eq!(apps("mount: {/a: x}", &[]), "x /a=x");
    assert_eq!(apps("mount: {/a: x}", &["main"]), "main =main /a=x");
    assert_eq!(apps("mount: {/a: x, /: y}", &[]), "y =y /a=x");
    assert_eq!(apps("app: main", &["--mount=/a/=x", "--mount=/b=y"]), "main =main /a=x /b=y");
}

#[test]
fn protocols() {
    let start = Start::new(
        Some(
            "app: a\nprotocol: uwsgi\nbind:\n- a:1\n- uwsgi: unix:/run/a,b\n- {http: 'c:1'}\n- uwsgi://d:1\n",
        ),
        &[("IRONHORN_UWSGI_ALLOW_FROM", "10.0.0.0/8,::1")],
        &[],
    );
    let resolved = start.resolved();
    let bind: Vec<_> = resolved.settings.bind.iter().map(ToString::to_string).collect();
    assert_eq!(bind, ["a:1", "uwsgi://unix:/run/a,b", "http://c:1", "uwsgi://d:1"]);
    assert_eq!(resolved.settings.protocol, Protocol::Uwsgi);
    assert_eq!(resolved.settings.uwsgi_allow_from.len(), 2);
    // What is printed means the same.
    let again = Start::new(Some(&print_config(&resolved)), &[], &[]).resolved().settings;
    assert_eq!(again, resolved.settings);

    let start = Start::new(None, &[], &["a", "-b", "uwsgi://:1", "--uwsgi-allow-from=*"]);
    let settings = start.resolved().settings;
    let uwsgi = Bind { protocol: Some(Protocol::Uwsgi), address: ":1".parse().unwrap() };
    assert_eq!(settings.bind, [uwsgi]);
}
