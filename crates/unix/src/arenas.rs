//! Where glibc's malloc gets the memory of a process with many threads from.

/// Has all threads share so many arenas, unless `MALLOC_ARENA_MAX` says another number (mallopt(3)).
///
/// By default each thread has one of its own, up to eight for each CPU, and keeps what is freed
/// there: a program whose threads take turns at the same work then holds that work's memory many
/// times over. To be called before the threads start. Other libraries have no arenas.
pub fn limit_arenas(count: u8) {
    #[cfg(target_env = "gnu")]
    if std::env::var_os("MALLOC_ARENA_MAX").is_none() {
        // SAFETY: mallopt(3) may be called at any time by any thread: it takes malloc's own lock,
        // and an option that it doesn't know changes nothing. std has no such call.
        unsafe { libc::mallopt(libc::M_ARENA_MAX, i32::from(count)) };
    }
    #[cfg(not(target_env = "gnu"))]
    let _ = count;
}

#[cfg(test)]
mod tests {
    #[test]
    fn memory_is_to_be_had_all_the_same() {
        super::limit_arenas(2);
        let threads: Vec<_> =
            (0..8).map(|_| std::thread::spawn(|| vec![7_u8; 100_000].len())).collect();
        let lengths = threads.into_iter().map(|thread| thread.join());
        assert!(lengths.map(Result::ok).all(|length| length == Some(100_000)));
    }
}
