//! How many files this process may have open (`RLIMIT_NOFILE`, getrlimit(2)).

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// The soft and the hard limit.
pub fn open_files() -> (u64, u64) {
    getrlimit(Resource::RLIMIT_NOFILE).expect("invariant: RLIMIT_NOFILE can always be read")
}

/// Raises the soft limit to the hard one and returns the soft limit now in force.
///
/// A process may always do so; where a sandbox forbids it, the old limit stays and is returned.
pub fn raise_open_files() -> u64 {
    let (soft, hard) = open_files();
    if soft < hard && setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok() {
        return hard;
    }
    soft
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raises_up_to_the_hard_limit() {
        let (_, hard) = open_files();
        assert_eq!(raise_open_files(), hard);
        assert_eq!(open_files(), (hard, hard));
    }
}
