//! Every header of tests/requests/proxy, cut at every byte.

#![allow(clippy::unwrap_used, reason = "tests panic; clippy spares only #[test] functions")]

#[allow(unreachable_pub, dead_code, reason = "a crate root of its own in fuzz/")]
#[path = "../fuzz/src/lib.rs"]
mod targets;

use std::fs;
use std::path::{Path, PathBuf};

use ironhorn_http::Received;
use ironhorn_http::proxy::{Header, Origin, ProxyError, Versions, receive};

fn headers() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/requests/proxy");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files.filter(|path| path.extension().unwrap() == "bin").collect();
    files.sort();
    assert!(files.len() >= 30, "{} files", files.len());
    files
}

/// What became of it, in the words of the `.expect` files.
fn described(result: Result<Received<Header>, ProxyError>) -> String {
    let header = match result {
        Ok(Received::Incomplete) => return "incomplete".to_owned(),
        Ok(Received::Complete(header)) => header,
        Err(error) => return error.to_string(),
    };
    let secure = if header.secure { " secure" } else { "" };
    match header.origin {
        Origin::Proxy => "proxy".to_owned(),
        Origin::Unknown => "unknown".to_owned(),
        Origin::Unix => "unix".to_owned(),
        Origin::Client { protocol, source, destination } => {
            format!("{protocol:?} {source} {destination}{secure}")
        }
    }
}

#[test]
fn each_is_what_it_should_be_however_it_is_cut() {
    for file in headers() {
        let name = file.file_stem().unwrap().to_string_lossy();
        let input = fs::read(&file).unwrap();
        let expected = fs::read_to_string(file.with_extension("expect")).unwrap();
        let whole = receive(&input, Versions::Any);
        assert_eq!(described(whole), expected.trim_end(), "{name}");
        let refused = whole.is_err();
        // A part of it is incomplete, or shows already what is wrong; more after it changes nothing.
        for cut in 0..input.len() {
            match receive(&input[..cut], Versions::Any) {
                Ok(Received::Incomplete) => {}
                part => assert!(refused && part == whole, "{name}, cut at {cut}: {part:?}"),
            }
        }
        let more = [&input[..], b"GET / HTTP/1.1\r\n"].concat();
        assert_eq!(receive(&more, Versions::Any), whole, "{name} and a request");
        targets::proxy(&input);
    }
}

#[test]
fn a_version_that_is_not_taken_is_refused() {
    for file in headers() {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        let input = fs::read(&file).unwrap();
        if let Ok(Received::Complete(_)) = receive(&input, Versions::Any) {
            let is_v1 = name.starts_with("v1");
            let other = if is_v1 { Versions::V2 } else { Versions::V1 };
            let own = if is_v1 { Versions::V1 } else { Versions::V2 };
            assert_eq!(receive(&input, other), Err(ProxyError::OtherVersion), "{name}");
            assert_eq!(receive(&input, own), receive(&input, Versions::Any), "{name}");
        }
    }
}
