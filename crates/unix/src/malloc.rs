//! Where glibc's malloc gets a process's memory from, and when it gives it back.

use std::hint::black_box;

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

/// Has blocks of up to `size` bytes come from memory that was freed before, and up to twice as much of
/// it stay at hand, unless variables of malloc's say otherwise (mallopt(3), `M_MMAP_THRESHOLD`).
///
/// By default a larger block than 128 KiB is mapped anew each time, and so is each of its pages when
/// it is written to first: for a request body of 1 MiB that costs more than all the rest. glibc gives
/// that up for blocks as large as one that it has seen come and go, so it is shown one, which nobody
/// writes to. That is what an app does, too, that frees such a block; mallopt(3) itself would end
/// the adjustment to what the app does.
pub fn reuse_blocks(size: usize) {
    drop(black_box(Vec::<u8>::with_capacity(size)));
}

#[cfg(test)]
mod tests {
    #[cfg(target_env = "gnu")]
    #[test]
    fn a_block_that_was_freed_is_had_again() {
        const SIZE: usize = 1 << 20;
        super::reuse_blocks(2 * SIZE);
        // In a thread of the tests the arena is another, but the thresholds are the same.
        let faults = || {
            let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_THREAD);
            usage.unwrap().minor_page_faults()
        };
        drop(std::hint::black_box(vec![1_u8; SIZE]));
        let before = faults();
        for _ in 0..10 {
            drop(std::hint::black_box(vec![1_u8; SIZE]));
        }
        assert!(faults() - before < 100, "{}", faults() - before);
    }

    #[test]
    fn memory_is_to_be_had_all_the_same() {
        super::limit_arenas(2);
        let threads: Vec<_> =
            (0..8).map(|_| std::thread::spawn(|| vec![7_u8; 100_000].len())).collect();
        let lengths = threads.into_iter().map(|thread| thread.join());
        assert!(lengths.map(Result::ok).all(|length| length == Some(100_000)));
    }
}
