use std::fs;
use std::path::PathBuf;

use super::*;

/// A directory of modules on sys.path, whose names are this test's own.
struct Modules {
    directory: PathBuf,
    name: String,
}

impl Modules {
    fn new(name: &str, source: &str) -> Self {
        let name = format!("loader_{name}");
        let directory = std::env::temp_dir().join(format!("{name}_{}", std::process::id()));
        fs::create_dir_all(directory.join(format!("{name}_package"))).unwrap();
        fs::write(directory.join(format!("{name}.py")), source).unwrap();
        fs::write(directory.join(format!("{name}_package/__init__.py")), "").unwrap();
        Self { directory, name }
    }

    fn load(&self, target: &str) -> Result<String, LoadError> {
        Python::initialize();
        Python::attach(|py| {
            extend_path(py, &self.directory, &[] as &[&Path]).unwrap();
            load(py, &format!("{}{target}", self.name))
                .map(|app| app.getattr("name").unwrap().extract().unwrap())
        })
    }

    #[track_caller]
    fn error(&self, target: &str) -> String {
        let error = self.load(target).unwrap_err();
        error.to_string().replace(&self.name, "MOD")
    }
}

impl Drop for Modules {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

const APPS: &str = "
class App:
    def __init__(self, name): self.name = name
    def __call__(self, environ, start_response): return []
app = App('app')
app.inner = App('inner')
def make(*args, **kwargs): return App(f'{args} {kwargs}')
def fail(): return 1 / 0
def make_none(): return None
number = 1
";

#[test]
fn every_form_is_found() {
    let modules = Modules::new("forms", APPS);
    for (target, name) in [
        ("", "app"),
        (":app", "app"),
        (":app.inner", "inner"),
        (":make()", "() {}"),
        (":make('a', [1], key={'b': None})", "('a', [1]) {'key': {'b': None}}"),
        (":make(-1, 'x:y)')", "(-1, 'x:y)') {}"),
    ] {
        assert_eq!(modules.load(target).unwrap(), name, "{target}");
    }
}

#[test]
fn application_goes_before_app() {
    let modules = Modules::new("default", &format!("{APPS}\napplication = App('application')"));
    assert_eq!(modules.load("").unwrap(), "application");
}

#[test]
fn what_is_missing() {
    let modules = Modules::new("missing", APPS);
    for (target, message) in [
        (":ap", "cannot find ap in MOD: did you mean app?"),
        (":zzzzz", "cannot find zzzzz in MOD"),
        (":app.iner", "cannot find iner in MOD.app: did you mean inner?"),
        (":number", "the app MOD:number is not callable: it is of type int"),
        (":number()", "the app MOD:number() is not callable: it is of type int"),
        (":make_none()", "the app MOD:make_none() is not callable: it is of type NoneType"),
        ("_none", "cannot find the module MOD_none: No module named 'MOD_none'"),
        ("_none.wsgi", "cannot find the module MOD_none.wsgi: No module named 'MOD_none'"),
        (
            "_package.wsgi:app",
            "cannot find the module MOD_package.wsgi: No module named 'MOD_package.wsgi'",
        ),
        (
            "_package",
            "cannot find application or app in MOD_package: name it, as in MOD_package:name",
        ),
        (
            ":make(__import__('os'))",
            "cannot find the app \"MOD:make(__import__('os'))\": \
             the arguments of a factory are Python literals",
        ),
        (
            ":make(*[1])",
            "cannot find the app \"MOD:make(*[1])\": \
             the arguments of a factory are Python literals",
        ),
        (
            ":make(**{})",
            "cannot find the app \"MOD:make(**{})\": \
             the arguments of a factory are Python literals",
        ),
        (
            ":make()()",
            "cannot find the app \"MOD:make()()\": \
             the arguments of a factory are Python literals",
        ),
        (
            ".py",
            "cannot find the app \"MOD.py\": an app is named by its module, not its file: \
             did you mean MOD?",
        ),
    ] {
        assert_eq!(modules.error(target), message, "{target}");
        assert!(modules.load(target).unwrap_err().is_not_found(), "{target}");
    }
}

#[test]
fn what_is_broken() {
    for (name, source, last_line) in [
        ("raises", "1 / 0", "ZeroDivisionError: division by zero"),
        (
            "imports",
            "import no_such_module",
            "ModuleNotFoundError: No module named 'no_such_module'",
        ),
        ("exits", "raise SystemExit(7)", "SystemExit: 7"),
        ("syntax", "def", "SyntaxError: invalid syntax"),
    ] {
        let modules = Modules::new(name, source);
        let error = modules.load("").unwrap_err();
        assert!(!error.is_not_found(), "{name}: {error}");
        assert!(error.to_string().starts_with(&format!("importing {} failed: ", modules.name)));
        let traceback = error.traceback().unwrap();
        assert!(traceback.ends_with(last_line), "{traceback}");
        assert!(traceback.contains(&format!("{}.py", modules.name)), "{traceback}");
    }
    let modules = Modules::new("factory", APPS);
    let error = modules.load(":fail()").unwrap_err();
    assert_eq!(
        error.to_string(),
        "calling loader_factory:fail() failed: ZeroDivisionError: division by zero"
    );
}

#[test]
fn the_directory_comes_first_then_pythonpath() {
    Python::initialize();
    Python::attach(|py| {
        extend_path(py, Path::new("/here"), &["/one", "/two"]).unwrap();
        extend_path(py, Path::new("/here"), &["/one", "/two"]).unwrap();
        let path: Vec<String> =
            py.import("sys").unwrap().getattr("path").unwrap().extract().unwrap();
        let ours = ["/here", "/one", "/two"];
        assert_eq!(path[..3], ours);
        assert!(path[3..].iter().all(|entry| !ours.contains(&entry.as_str())));
        py.run(c"import sys; del sys.path[:3]", None, None).unwrap();
    });
}
