use std::fs::{create_dir, create_dir_all, write};
use std::io::Read;
use std::os::unix::fs::symlink;

use nix::unistd::mkfifo;

use super::*;

/// `root` with `root/file`, `root/sub/file`, and `secret` beside it.
fn tree() -> tempfile::TempDir {
    let tree = tempfile::tempdir().unwrap();
    let at = |name: &str| tree.path().join(name);
    create_dir_all(at("root/sub")).unwrap();
    create_dir(at("root-2")).unwrap();
    for name in ["root/file", "root/sub/file", "root-2/file", "secret"] {
        write(at(name), name).unwrap();
    }
    symlink("file", at("root/near")).unwrap();
    symlink("sub/../sub", at("root/winding")).unwrap();
    symlink("../secret", at("root/out")).unwrap();
    symlink("../../secret", at("root/sub/out")).unwrap();
    symlink(at("root/file"), at("root/absolute")).unwrap();
    symlink("..", at("root/up")).unwrap();
    symlink("sub/..", at("root/self")).unwrap();
    symlink("round", at("root/round")).unwrap();
    symlink("nowhere", at("root/dangling")).unwrap();
    symlink("/proc/self/root", at("root/magic")).unwrap();
    tree
}

/// Both ways to resolve.
fn both(tree: &tempfile::TempDir, symlinks: Symlinks) -> [Directory; 2] {
    let open = || Directory::open(&tree.path().join("root"), symlinks).unwrap();
    [open(), Directory { has_openat2: false, ..open() }]
}

/// What `name` holds, or a word for why not.
fn read(directory: &Directory, name: &str) -> String {
    match directory.look_up(OsStr::new(name)) {
        Ok(Entry::File(mut found)) => {
            let mut text = String::new();
            found.file.read_to_string(&mut text).unwrap();
            assert_eq!(found.size, text.len() as u64);
            text
        }
        Ok(Entry::Directory) => "directory".to_owned(),
        Ok(Entry::Other) => "other".to_owned(),
        Err(error) => format!("{:?}", Errno::from_raw(error.raw_os_error().unwrap())),
    }
}

#[test]
fn the_kernel_here_has_openat2() {
    assert!(both(&tree(), Symlinks::Inside)[0].has_openat2, "one of two ways is not tested");
}

#[test]
fn files_and_directories_are_found() {
    let tree = tree();
    for symlinks in [Symlinks::Never, Symlinks::Inside, Symlinks::Follow] {
        for directory in both(&tree, symlinks) {
            for (name, found) in [
                ("file", "root/file"),
                ("sub/file", "root/sub/file"),
                ("sub/./file", "root/sub/file"),
                ("sub", "directory"),
                (".", "directory"),
                ("nothing", "ENOENT"),
                ("sub/nothing", "ENOENT"),
                ("file/below", "ENOTDIR"),
                ("../secret", "EXDEV"),
                ("sub/../../secret", "EXDEV"),
                ("sub/../file", "EXDEV"),
                ("/etc/passwd", "EXDEV"),
                ("../root-2/file", "EXDEV"),
                ("..", "EXDEV"),
            ] {
                assert_eq!(read(&directory, name), found, "{name} {directory:?}");
            }
        }
    }
}

#[test]
fn links_are_followed_by_policy() {
    let tree = tree();
    for (name, never, inside, follow) in [
        ("near", "ELOOP", "root/file", "root/file"),
        ("winding/file", "ELOOP", "root/sub/file", "root/sub/file"),
        ("self", "ELOOP", "directory", "directory"),
        ("self/file", "ELOOP", "root/file", "root/file"),
        ("out", "ELOOP", "EXDEV", "secret"),
        ("sub/out", "ELOOP", "EXDEV", "secret"),
        ("absolute", "ELOOP", "EXDEV", "root/file"),
        ("up/secret", "ELOOP", "EXDEV", "secret"),
        ("round", "ELOOP", "ELOOP", "ELOOP"),
        ("dangling", "ELOOP", "ENOENT", "ENOENT"),
    ] {
        for (symlinks, found) in
            [(Symlinks::Never, never), (Symlinks::Inside, inside), (Symlinks::Follow, follow)]
        {
            for directory in both(&tree, symlinks) {
                assert_eq!(read(&directory, name), found, "{name} {directory:?}");
            }
        }
    }
    for directory in both(&tree, Symlinks::Inside) {
        assert_eq!(read(&directory, "magic/etc/passwd"), "EXDEV", "{directory:?}");
    }
    let [directory, _] = both(&tree, Symlinks::Follow);
    assert_eq!(read(&directory, "magic/etc/passwd"), "ELOOP", "{directory:?}");
}

#[test]
fn what_is_no_file_holds_nobody_up() {
    let tree = tree();
    mkfifo(&tree.path().join("root/fifo"), Mode::S_IRWXU).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(tree.path().join("root/socket")).unwrap();
    for directory in both(&tree, Symlinks::Inside) {
        assert_eq!(read(&directory, "fifo"), "other");
        assert_eq!(read(&directory, "socket"), "ENXIO");
    }
}

#[test]
fn the_directory_stays_the_one_that_was_opened() {
    let tree = tree();
    let [directory, _] = both(&tree, Symlinks::Inside);
    let root = tree.path().join("root");
    std::fs::rename(&root, tree.path().join("old")).unwrap();
    std::fs::rename(tree.path().join("root-2"), &root).unwrap();
    assert_eq!(read(&directory, "file"), "root/file");
    let [directory, _] = both(&tree, Symlinks::Inside);
    assert_eq!(read(&directory, "file"), "root-2/file");
}

#[test]
fn what_a_path_is() {
    let tree = tree();
    let at = |name: &str| tree.path().join(name);
    assert!(is_directory(&at("root")).unwrap());
    assert!(!is_directory(&at("secret")).unwrap());
    assert!(is_directory(Path::new("/dev/null")).is_err());
    assert_eq!(is_directory(&at("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
    assert!(Directory::open(&at("secret"), Symlinks::Inside).is_err());
}
