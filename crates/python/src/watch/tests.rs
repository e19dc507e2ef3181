use super::*;

const START: Monotonic = Monotonic::from_nanos(1_000_000_000);

fn write(path: impl AsRef<Path>) {
    fs::write(path, "text").unwrap();
}

/// A directory that is served from, and a watch over it.
fn watched(extra: &[&str]) -> (tempfile::TempDir, PathBuf, SourceWatch) {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().canonicalize().unwrap();
    for inner in ["shop/templates/mail", ".git", "venv/lib", "node_modules/x", "data"] {
        fs::create_dir_all(root.join(inner)).unwrap();
    }
    write(root.join("venv/pyvenv.cfg"));
    let extra = extra.iter().map(|path| located(&root.join(path))).collect();
    let plan = Plan { trees: vec![root.clone()], extra };
    let sources = SourceWatch::begin(plan).unwrap();
    (directory, root, sources)
}

/// Whether what has happened is a reason to reload.
fn counts(sources: &mut SourceWatch) -> bool {
    let (again, reload) = sources.attend(START);
    assert!(!reload, "not before it is quiet");
    again.is_some_and(|again| sources.attend(again).1)
}

#[test]
fn sources_count() {
    let (_directory, root, mut sources) = watched(&["settings.toml", "data"]);
    for path in [
        "app.py",
        "shop/views.py",
        "shop/_speed.so",
        "shop/templates/index.html",
        "shop/templates/mail/order.txt",
        "settings.toml",
        "data/prices.csv",
    ] {
        write(root.join(path));
        assert!(counts(&mut sources), "{path}");
    }
    fs::rename(root.join("app.py"), root.join("other.py")).unwrap();
    assert!(counts(&mut sources));
    fs::remove_file(root.join("other.py")).unwrap();
    assert!(counts(&mut sources));
    assert_eq!(sources.attend(START), (None, false));
}

#[test]
fn a_directory_may_come_later() {
    let (_directory, root, mut sources) = watched(&["later/settings.toml"]);
    let (again, reload) = sources.attend(START);
    assert!(again.is_some() && !reload, "it is looked for");
    fs::create_dir(root.join("later")).unwrap();
    write(root.join("later/settings.toml"));
    assert!(counts(&mut sources));
    assert_eq!(sources.attend(START + PATIENCE * 2), (None, false));
    write(root.join("later/settings.toml"));
    assert!(counts(&mut sources));
}

#[test]
fn other_files_do_not() {
    let (_directory, root, mut sources) = watched(&[]);
    for path in [
        "db.sqlite3",
        "shop/.views.py.swp",
        "shop/.#views.py",
        "shop/views.py~",
        "shop/templates/.index.html.swp",
        ".git/hook.py",
        "venv/lib/x.py",
        "node_modules/x/x.py",
        "data/prices.csv",
    ] {
        write(root.join(path));
        assert!(!counts(&mut sources), "{path}");
    }
    fs::create_dir(root.join("shop/__pycache__")).unwrap();
    write(root.join("shop/__pycache__/x.py"));
    assert!(!counts(&mut sources));
}

#[test]
fn new_directories_are_watched_with_what_is_in_them() {
    let (directory, root, mut sources) = watched(&[]);
    fs::create_dir_all(root.join("api/v1")).unwrap();
    assert!(!counts(&mut sources), "there is nothing in it");
    write(root.join("api/v1/views.py"));
    assert!(counts(&mut sources));
    let outside = tempfile::tempdir_in(directory.path().parent().unwrap()).unwrap();
    fs::create_dir_all(outside.path().join("package/inner")).unwrap();
    write(outside.path().join("package/inner/module.py"));
    fs::rename(outside.path().join("package"), root.join("package")).unwrap();
    assert!(counts(&mut sources), "it has come with a module");
    write(root.join("package/inner/module.py"));
    assert!(counts(&mut sources));
}

#[test]
fn what_comes_together_is_one_change() {
    let (_directory, root, mut sources) = watched(&[]);
    write(root.join("a.py"));
    write(root.join("b.py"));
    assert_eq!(sources.attend(START), (Some(START + QUIET), false));
    let later = START + QUIET / 2;
    write(root.join("c.py"));
    assert_eq!(sources.attend(later), (Some(later + QUIET), false));
    assert_eq!(sources.attend(START + QUIET), (Some(later + QUIET), false));
    assert_eq!(sources.attend(later + QUIET), (None, true));
    assert_eq!(sources.attend(later + QUIET), (None, false));
}

#[test]
fn what_never_ends_is_not_waited_for() {
    let (_directory, root, mut sources) = watched(&[]);
    let mut now = START;
    let mut reloads = 0;
    while now < START + PATIENCE * 2 {
        write(root.join("a.py"));
        reloads += u32::from(sources.attend(now).1);
        now = now + QUIET / 3;
    }
    assert_eq!(reloads, 1);
}

#[test]
fn a_file_that_is_not_there_yet_may_be_named() {
    let (_directory, root, mut sources) = watched(&["later.toml", "none/later.toml"]);
    write(root.join("later.toml"));
    assert!(counts(&mut sources));
}

#[test]
fn another_directory_in_the_place_of_what_is_watched() {
    let (directory, root, mut sources) = watched(&["shop/prices.csv"]);
    write(root.join("app.py"));
    assert!(counts(&mut sources));
    let old = root.with_extension("old");
    let new = root.with_extension("new");
    fs::create_dir_all(new.join("shop")).unwrap();
    write(new.join("app.py"));
    fs::rename(&root, &old).unwrap();
    // It is looked for as long as it isn't there.
    let (again, reload) = sources.attend(START);
    assert_eq!((again, reload), (Some(START + QUIET), false));
    assert_eq!(sources.attend(START + QUIET), (Some(START + QUIET * 2), false));
    fs::rename(&new, &root).unwrap();
    assert!(counts(&mut sources));
    for path in ["app.py", "shop/views.py", "shop/prices.csv"] {
        write(root.join(path));
        assert!(counts(&mut sources), "{path}");
    }
    write(old.join("app.py"));
    assert_eq!(sources.attend(START), (None, false));
    fs::remove_dir_all(&old).unwrap();
    drop(directory);
}
