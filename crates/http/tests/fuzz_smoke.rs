//! The fuzz targets for a moment, without a fuzzer: the corpus, mutated by a seeded generator.
//!
//! `IRONHORN_FUZZ_SEED=N` takes another seed; `scripts/fuzz` runs the real thing.

#![allow(clippy::unwrap_used, reason = "tests panic; clippy spares only #[test] functions")]

#[allow(unreachable_pub, reason = "a crate root of its own in fuzz/")]
#[path = "../fuzz/src/lib.rs"]
mod targets;

use std::path::Path;
use std::{env, fs, panic};

/// Mutated inputs for each target.
const ROUNDS: usize = 20_000;

/// Longer files are left to the corpus test: they cost more than they find.
const LONGEST: usize = 1000;

#[test]
fn request() {
    run("request", targets::request);
}

#[test]
fn chunked() {
    run("chunked", targets::chunked);
}

#[test]
fn connection() {
    run("connection", targets::connection);
}

#[test]
fn proxy() {
    let corpus = files("proxy", "bin");
    assert!(!corpus.is_empty());
    run_on("proxy", corpus, targets::proxy);
}

#[test]
fn forwarded() {
    const VALUES: [&str; 7] = [
        "for=192.0.2.43;proto=https;by=203.0.113.43, for=\"[2001:db8::17]:4711\";host=a",
        "192.0.2.7, 203.0.113.9:80, [2001:db8::9]:4711, ::1, unknown, _hidden",
        "shop.example:8443",
        "443, 443",
        "https, HTTPS",
        "/shop/",
        "/a",
    ];
    let corpus = (0u8..).zip(VALUES).map(|(nr, value)| [&[nr], value.as_bytes()].concat());
    run_on("forwarded", corpus.collect(), targets::forwarded);
}

fn run(name: &str, target: fn(&[u8])) {
    run_on(name, corpus(name == "chunked"), target);
}

fn run_on(name: &str, corpus: Vec<Vec<u8>>, target: fn(&[u8])) {
    let seed = env::var("IRONHORN_FUZZ_SEED").map_or(1, |seed| seed.parse().unwrap());
    let mut random = Random(seed);
    let inputs = corpus.len() + ROUNDS;
    for round in 0..inputs {
        let input = match corpus.get(round) {
            Some(input) => input.clone(),
            None => mutate(&corpus, &mut random),
        };
        if panic::catch_unwind(|| target(&input)).is_err() {
            panic!("{name}, seed {seed}, round {round}: {}", input.escape_ascii());
        }
    }
}

/// The files of tests/requests, or of those with a body, what follows the head.
fn corpus(bodies: bool) -> Vec<Vec<u8>> {
    ["valid", "invalid"]
        .iter()
        .flat_map(|kind| files(kind, "http"))
        .filter_map(|input| {
            let head_end = input.windows(4).position(|end| end == b"\r\n\r\n");
            match head_end {
                _ if !bodies => Some(input),
                Some(end) if end + 4 < input.len() => Some(input[end + 4..].to_vec()),
                _ => None,
            }
        })
        .filter(|input| (1..=LONGEST).contains(&input.len()))
        .collect()
}

/// The files with this extension in a folder of tests/requests.
fn files(folder: &str, extension: &str) -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/requests");
    let mut files: Vec<_> = fs::read_dir(root.join(folder))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect();
    files.sort();
    files.iter().map(|file| fs::read(file).unwrap()).collect()
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
