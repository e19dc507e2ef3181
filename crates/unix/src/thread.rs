//! The calling thread, as others see it.

use std::ffi::CString;

use nix::sys::prctl;
use nix::sys::pthread::pthread_self;

/// Names the calling thread, for ps(1) and the like. The kernel keeps 15 bytes.
pub fn name_thread(name: &str) {
    // A name with a NUL is none; and who can't be named works all the same.
    if let Ok(name) = CString::new(name) {
        let _ = prctl::set_name(&name);
    }
}

/// The calling thread's number, as faulthandler has it (pthread_self(3)).
pub fn current_thread() -> u64 {
    pthread_self()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_has_a_name_and_a_number_of_its_own() {
        let here = current_thread();
        let there = std::thread::spawn(|| {
            name_thread("a-thread");
            (std::fs::read_to_string("/proc/thread-self/comm").unwrap(), current_thread())
        });
        let (name, there) = there.join().unwrap();
        assert_eq!(name, "a-thread\n");
        assert_ne!(here, there);
    }
}
