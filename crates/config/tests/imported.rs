//! A configuration file that is Python, as the importer's answer.

#[allow(dead_code)]
mod common;

use std::cell::RefCell;
use std::rc::Rc;

use common::Start;
use ironhorn_config::{Imported, Importer, Place, PythonFile, Sources, print_config, resolve};

fn imported(key: &str, texts: &[&str], name: &str) -> Imported {
    Imported {
        key: key.to_owned(),
        texts: texts.iter().map(|&text| text.to_owned()).collect(),
        origin: format!("gunicorn.conf.py: {name}"),
    }
}

/// A start with an importer that gives `answer`, and what it was asked for.
fn start(
    yaml: Option<&str>,
    args: &[&str],
    answer: Result<Vec<Imported>, String>,
) -> (Start, Rc<RefCell<Vec<PythonFile>>>) {
    let mut start = Start::new(yaml, &[], args);
    let asked = Rc::new(RefCell::new(Vec::new()));
    let asks = Rc::clone(&asked);
    start.sources.importer = Some(Importer::new(move |file| {
        asks.borrow_mut().push(file.clone());
        answer.clone()
    }));
    (start, asked)
}

#[test]
fn it_stands_in_the_place_of_the_yaml_file() {
    let answer = vec![
        imported("app", &["shop"], "wsgi_app"),
        imported("bind", &["a:1", "b:2"], "bind"),
        imported("workers", &["3"], "workers"),
        imported("max_requests", &["9"], "max_requests"),
        imported("chdir", &[], "chdir"),
    ];
    let (mut start, asked) = start(None, &["-c", "conf.py", "-w", "4"], Ok(answer));
    start.sources.environment.push(("PORT".into(), "80".into()));
    let resolved = start.resolved();
    assert_eq!(resolved.settings.main_app(), "shop");
    assert_eq!(resolved.settings.bind, ["0.0.0.0:80".parse().unwrap()]);
    assert_eq!(resolved.settings.workers, 4);
    assert_eq!((resolved.settings.max_requests, resolved.settings.chdir.clone()), (Some(9), None));
    let printed = print_config(&resolved);
    assert!(printed.contains("max_requests: 9  # from gunicorn.conf.py: max_requests\n"));
    let path = start.directory.path().join("conf.py");
    let file = PythonFile { name: "conf.py".into(), place: Place::File(path), is_default: false };
    assert_eq!(*asked.borrow(), [file]);
}

#[test]
fn its_default_file_is_read_where_there_is_no_yaml() {
    let answer = vec![imported("workers", &["3"], "workers")];
    let (start, asked) = start(None, &["shop"], Ok(answer));
    assert_eq!(start.resolved().settings.workers, 1);
    std::fs::write(start.directory.path().join("gunicorn.conf.py"), "").unwrap();
    assert_eq!(start.resolved().settings.workers, 3);
    assert!(asked.borrow().iter().all(|file| file.is_default));
    std::fs::write(start.directory.path().join("ironhorn.yaml"), "workers: 2\n").unwrap();
    assert_eq!(start.resolved().settings.workers, 2);
    assert_eq!(asked.borrow().len(), 1);
    // Nobody who has no interpreter trips over it.
    std::fs::remove_file(start.directory.path().join("ironhorn.yaml")).unwrap();
    let sources = Sources { importer: None, ..start.sources.clone() };
    assert_eq!(resolve(&sources).unwrap().settings.workers, 1);
}

#[test]
fn errors_name_the_place_in_its_words() {
    let answer = vec![
        imported("timeout", &["soon"], "timeout"),
        imported("bind", &[], "bind"),
        imported("wrokers", &["3"], "wrokers"),
    ];
    let (start, _) = start(None, &["shop", "-c", "gunicorn.conf.py", "-w", "0"], Ok(answer));
    let expected = [
        r#"gunicorn.conf.py: timeout: found "soon", expected a number of seconds from 0.001 to 86400, or 0 for off"#,
        "gunicorn.conf.py: bind: found nothing, expected HOST:PORT, [V6]:PORT, unix:PATH, unix:@NAME or fd://N",
        r#"gunicorn.conf.py: wrokers: wrokers: unknown setting, did you mean "workers"?"#,
        r#"--workers: found "0", expected a number from 1 to 1024 or auto"#,
    ];
    assert_eq!(start.errors(), expected.join("\n"));
}

#[test]
fn a_file_that_cannot_be_run_says_why() {
    let (failing, _) = start(None, &["-c", "python:conf"], Err("NameError: x\n  line 1".into()));
    assert_eq!(failing.errors(), "conf: NameError: x\n  line 1");
    let without = Start::new(None, &[], &["shop", "-c", "file:conf"]);
    assert_eq!(without.errors(), "conf: cannot read: it is Python, which cannot be run here");
}

/// Gunicorn takes them, so what is in the file for it is no reason not to start.
#[test]
fn what_has_no_effect_is_a_warning() {
    let answer = vec![
        imported("app", &["shop"], "wsgi_app"),
        imported("proxy_allow_from", &["1.2.3.4"], "proxy_allow_ips"),
        imported("uwsgi_allow_from", &["1.2.3.4"], "uwsgi_allow_ips"),
        imported("tls_min_version", &["1.3"], "ssl_version"),
    ];
    let (start, _) = start(None, &["-c", "conf.py"], Ok(answer));
    let warnings = start.resolved().warnings();
    let warnings: Vec<_> = warnings.iter().map(ToString::to_string).collect();
    let begins = [
        "gunicorn.conf.py: uwsgi_allow_ips: found \"1.2.3.4\", no effect: ",
        "gunicorn.conf.py: ssl_version: found \"1.3\", no effect: ",
        "gunicorn.conf.py: proxy_allow_ips: found \"1.2.3.4\", no effect: ",
    ];
    assert_eq!(warnings.len(), begins.len(), "{warnings:?}");
    for (warning, begin) in warnings.iter().zip(begins) {
        assert!(warning.starts_with(begin), "{warning}");
    }
}
