//! The name that ps(1) and top(1) show.
//!
//! proc(5): `/proc/PID/cmdline` is whatever the memory between `arg_start` and `arg_end` holds,
//! where the kernel put the arguments at exec. The title is written over them, so it is cut to
//! their length; the environment behind them stays where it is. Read the arguments before.

use std::ffi::CString;
use std::fs;
use std::sync::{Mutex, OnceLock, PoisonError};

/// Where the arguments are: address and length. The same in forked children.
static AREA: OnceLock<Option<Area>> = OnceLock::new();

/// Two titles at once would be two writers of the same bytes.
static WRITING: Mutex<()> = Mutex::new(());

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Area {
    start: usize,
    length: usize,
}

/// Shows `title` as the command line of this process, and its beginning as the thread's name.
///
/// Does what it can: a title is a convenience, so where the system doesn't allow it nothing
/// happens. Control characters and NUL are left out.
pub fn set_process_title(title: &str) {
    let title: String = title.chars().filter(|c| !c.is_control()).collect();
    if let Ok(name) = CString::new(title.as_bytes()) {
        // Cut to 15 bytes by the kernel (prctl(2), PR_SET_NAME).
        let _ = nix::sys::prctl::set_name(&name);
    }
    if let Some(area) = AREA.get_or_init(Area::find) {
        area.fill(title.as_bytes());
    }
}

impl Area {
    fn find() -> Option<Self> {
        let area = parse(&fs::read_to_string("/proc/self/stat").ok()?)?;
        area.is_writable(&fs::read_to_string("/proc/self/maps").ok()?).then_some(area)
    }

    /// Whether one writable mapping covers it: not so if a sandbox has made up the addresses.
    fn is_writable(self, maps: &str) -> bool {
        maps.lines().any(|line| {
            let mut fields = line.split(' ');
            let (Some(range), Some(rights)) = (fields.next(), fields.next()) else { return false };
            let Some((from, to)) = range.split_once('-') else { return false };
            let address = |hex| usize::from_str_radix(hex, 16).unwrap_or(0);
            rights.starts_with("rw")
                && address(from) <= self.start
                && self.start + self.length <= address(to)
        })
    }

    /// Writes the title and pads with NUL. The last byte stays NUL: otherwise the kernel takes the
    /// title to go on into the environment.
    fn fill(self, title: &[u8]) {
        let title = &title[..cut(title, self.length.saturating_sub(1))];
        let _writing = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
        let start = std::ptr::with_exposed_provenance_mut::<u8>(self.start);
        // SAFETY: `start` to `start + length` is where the kernel put the arguments: memory that
        // outlives the program, mapped writable (checked in `find`), outside of every Rust object.
        // The title is no longer than that, as it was cut. Nobody else writes there (`WRITING`);
        // who reads arguments through old pointers finds bytes that end in NUL. There is no system
        // call for this without CAP_SYS_RESOURCE.
        unsafe { start.copy_from_nonoverlapping(title.as_ptr(), title.len()) };
        // SAFETY: `title.len()` is less than `length`, so this is within the same memory.
        let rest = unsafe { start.add(title.len()) };
        // SAFETY: the rest of that memory, by the same argument.
        unsafe { rest.write_bytes(0, self.length - title.len()) };
    }
}

/// `arg_start` and `arg_end`, the 48th and 49th field of `/proc/self/stat` (proc(5)).
fn parse(stat: &str) -> Option<Area> {
    // The second field, the name, may hold spaces and parentheses: count from its end.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(45);
    let start: usize = fields.next()?.parse().ok()?;
    let end: usize = fields.next()?.parse().ok()?;
    let length = end.checked_sub(start)?;
    (start != 0 && length > 1).then_some(Area { start, length })
}

/// The longest beginning of at most `length` bytes that ends between characters.
fn cut(text: &[u8], length: usize) -> usize {
    if text.len() <= length {
        return text.len();
    }
    (0..=length).rev().find(|&end| text[end] & 0xC0 != 0x80).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fields 3 to 52.
    fn stat(name: &str, area: &str) -> String {
        format!("12 ({name}) S {} {area} 0 0 0\n", ["7"; 44].join(" "))
    }

    #[test]
    fn finds_the_fields_behind_a_hostile_name() {
        let area = Some(Area { start: 4096, length: 100 });
        assert_eq!(parse(&stat("python", "4096 4196")), area);
        assert_eq!(parse(&stat("a) b (c", "4096 4196")), area);
        assert_eq!(parse(&stat("x", "0 0")), None);
        assert_eq!(parse(&stat("x", "4196 4096")), None);
        assert_eq!(parse("12 (x) S 1"), None);
        assert_eq!(parse(""), None);
    }

    #[test]
    fn wants_one_writable_mapping() {
        let area = Area { start: 0x1000, length: 0x10 };
        assert!(area.is_writable("0-800 rw-p 0\n800-2000 rw-p 00000000 00:00 0 [stack]\n"));
        assert!(!area.is_writable("800-2000 r--p 00000000 00:00 0 [stack]\n"));
        assert!(!area.is_writable("800-1008 rw-p 0\n1008-2000 rw-p 0\n"));
        assert!(!area.is_writable("nonsense\n"));
    }

    #[test]
    fn cuts_between_characters() {
        assert_eq!(cut(b"abc", 5), 3);
        assert_eq!(cut(b"abc", 2), 2);
        assert_eq!(cut("a\u{e9}b".as_bytes(), 2), 1);
        assert_eq!(cut("\u{e9}".as_bytes(), 1), 0);
    }
}
