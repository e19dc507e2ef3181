//! The fuzz targets for a moment, without a fuzzer: their corpus, and the files of `tests/requests`,
//! as they are and mutated by a seeded generator.
//!
//! `IRONHORN_FUZZ_SEED=N` takes another seed; `scripts/fuzz` runs the real thing.

#![allow(clippy::unwrap_used, reason = "tests panic; clippy spares only #[test] functions")]

#[allow(unreachable_pub, reason = "a crate root of its own in fuzz/")]
#[path = "../fuzz/src/lib.rs"]
mod targets;

use std::path::{Path, PathBuf};
use std::{env, fs, panic};

/// Mutated inputs for each target.
const ROUNDS: usize = 20_000;

/// Longer files are left to the corpus test: they cost more than they find.
const LONGEST: usize = 1000;

/// A test for each target, which has its name, and one that none is missing.
macro_rules! targets {
    ($($name:ident from $seeds:expr;)+) => {
        $(
            #[test]
            fn $name() {
                run(stringify!($name), targets::$name, $seeds);
            }
        )+

        #[test]
        fn every_target_is_run_and_has_a_corpus() {
            let mut run = [$(stringify!($name)),+];
            run.sort_unstable();
            let mut found: Vec<_> = files(&fuzz().join("fuzz_targets"))
                .iter()
                .map(|file| file.file_stem().unwrap().to_str().unwrap().to_owned())
                .collect();
            found.sort();
            assert_eq!(found, run, "fuzz/fuzz_targets and this file");
            for name in run {
                assert!(!files(&fuzz().join("corpus").join(name)).is_empty(), "corpus of {name}");
            }
        }
    };
}

targets! {
    chunked from bodies(&requests());
    connection from requests();
    request from requests();
    forwarded from forwarded_values();
    proxy from headers();
    uwsgi from packets();
}

/// Gives `target` its corpus and the `seeds`, then mutations of both.
fn run(name: &str, target: fn(&[u8]), seeds: Vec<Vec<u8>>) {
    let seed = env::var("IRONHORN_FUZZ_SEED").map_or(1, |seed| seed.parse().unwrap());
    let mut corpus = read(&files(&fuzz().join("corpus").join(name)));
    corpus.extend(seeds);
    let mut random = Random(seed);
    for round in 0..corpus.len() + ROUNDS {
        let input = match corpus.get(round) {
            Some(input) => input.clone(),
            None => mutate(&corpus, &mut random),
        };
        if panic::catch_unwind(|| target(&input)).is_err() {
            panic!("{name}, seed {seed}, round {round}: {}", input.escape_ascii());
        }
    }
}

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

/// The files of tests/requests.
fn requests() -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/requests");
    let mut paths = [files(&root.join("valid")), files(&root.join("invalid"))].concat();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "http"));
    read(&paths)
}

/// What follows the head in those that have more than one.
fn bodies(requests: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let body = |request: &Vec<u8>| {
        let end = request.windows(4).position(|end| end == b"\r\n\r\n")? + 4;
        (end < request.len()).then(|| request[end..].to_vec())
    };
    requests.iter().filter_map(body).collect()
}

/// The files of a directory, in an order that is always the same.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn read(paths: &[PathBuf]) -> Vec<Vec<u8>> {
    let inputs = paths.iter().map(|path| fs::read(path).unwrap());
    inputs.filter(|input| (1..=LONGEST).contains(&input.len())).collect()
}

/// The files of tests/requests/uwsgi.
fn packets() -> Vec<Vec<u8>> {
    inputs_in("uwsgi", "uwsgi")
}

/// The files of tests/requests/proxy.
fn headers() -> Vec<Vec<u8>> {
    inputs_in("proxy", "bin")
}

/// The files with this extension in a folder of tests/requests.
fn inputs_in(folder: &str, extension: &str) -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/requests");
    let mut paths = files(&root.join(folder));
    paths.retain(|path| path.extension().is_some_and(|found| found == extension));
    read(&paths)
}

/// A value for each field that the target can choose by its first byte.
fn forwarded_values() -> Vec<Vec<u8>> {
    const VALUES: [&str; 7] = [
        "for=192.0.2.43;proto=https;by=203.0.113.43, for=\"[2001:db8::17]:4711\";host=a",
        "192.0.2.7, 203.0.113.9:80, [2001:db8::9]:4711, ::1, unknown, _hidden",
        "shop.example:8443",
        "443, 443",
        "https, HTTPS",
        "/shop/",
        "/a",
    ];
    (0u8..).zip(VALUES).map(|(nr, value)| [&[nr], value.as_bytes()].concat()).collect()
}

/// One file, changed in a few places; pieces of others may be put in.
fn mutate(corpus: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    const PIECES: [&[u8]; 12] = [
        b"\r\n",
        b"\r",
        b"\n",
        b" ",
        b":",
        b"\0",
        b"0\r\n\r\n",
        b"Content-Length: 5\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Host: a\r\n",
        b";a=\"",
        b",",
    ];
    let mut input = corpus[random.below(corpus.len())].clone();
    for _ in 0..=random.below(4) {
        let at = random.below(input.len() + 1);
        let until = (at + random.below(8)).min(input.len());
        match random.below(6) {
            0 if at < input.len() => input[at] = random.byte(),
            1 if at < input.len() => input[at] ^= 1 << random.below(8),
            2 => drop(input.drain(at..until)),
            3 => drop(input.splice(at..at, PIECES[random.below(PIECES.len())].iter().copied())),
            4 => input.insert(at, random.byte()),
            _ => {
                let other = &corpus[random.below(corpus.len())];
                let from = random.below(other.len());
                drop(input.splice(at..until, other[from..].iter().copied()));
            }
        }
    }
    input
}

/// SplitMix64: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).expect("invariant: less than a usize")
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }
}
