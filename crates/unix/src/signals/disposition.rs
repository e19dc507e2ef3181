//! What the kernel does with a signal: sigaction(2).

use std::io;
use std::ptr;
use std::sync::OnceLock;

use nix::sys::signal::Signal;

/// The handler that signal-hook installs, the same for every signal.
///
/// It installs it only at a signal's first registration in the life of the program (forks
/// included), and offers no way to ask for it again.
static SIGNAL_HOOK: OnceLock<Disposition> = OnceLock::new();

/// A signal's handler, flags and mask.
#[derive(Clone, Copy, Debug)]
pub(super) struct Disposition(libc::sigaction);

impl Disposition {
    /// The default action.
    pub(super) const DEFAULT: Self = Self::without_handler(libc::SIG_DFL);
    /// No action.
    pub(super) const IGNORE: Self = Self::without_handler(libc::SIG_IGN);

    const fn without_handler(handler: libc::sighandler_t) -> Self {
        // SAFETY: sigaction is a C structure of integers and an optional function pointer, for
        // which all zeroes is a valid value: no flags, empty mask. It has no constructor.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = handler;
        Self(action)
    }

    /// What is in force for `signal`.
    pub(super) fn of(signal: Signal) -> io::Result<Self> {
        exchange(signal, None)
    }

    /// Puts it in force.
    pub(super) fn install(&self, signal: Signal) -> io::Result<()> {
        exchange(signal, Some(self)).map(drop)
    }

    /// Whether both run the same function (or none).
    pub(super) fn same_handler(&self, other: &Self) -> bool {
        self.0.sa_sigaction == other.0.sa_sigaction
    }
}

/// Makes sure that signal-hook's handler runs for a signal just registered with it and returns it.
///
/// Expects the default action to have been in force before the registration: if it still is, then
/// signal-hook has met the signal before and believes its handler to be installed.
pub(super) fn adopt(signal: Signal) -> io::Result<Disposition> {
    let found = Disposition::of(signal)?;
    if !found.same_handler(&Disposition::DEFAULT) {
        return Ok(*SIGNAL_HOOK.get_or_init(|| found));
    }
    let ours = *SIGNAL_HOOK.get().ok_or_else(|| {
        io::Error::other(format!("{signal} was caught through signal-hook by another part"))
    })?;
    ours.install(signal)?;
    Ok(ours)
}

fn exchange(signal: Signal, new: Option<&Disposition>) -> io::Result<Disposition> {
    let mut old = Disposition::DEFAULT;
    let new = new.map_or(ptr::null(), |new| &raw const new.0);
    // SAFETY: `new` is null or a valid sigaction, `old.0` is valid for the kernel to write. A
    // handler put in force is one of: none; signal-hook's, which lives as long as the program; one
    // read back from the kernel, as safe to run as it was before. nix's sigaction is unsafe too
    // and can't read without replacing.
    let result = unsafe { libc::sigaction(signal as i32, new, &raw mut old.0) };
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(old) }
}
