//! How much memory a process uses, and whether the kernel has killed for want of it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::unistd::{Pid, SysconfVar, sysconf};

/// Where control groups are mounted (systemd's file hierarchy, file-hierarchy(7)).
const CGROUPS: &str = "/sys/fs/cgroup";

/// Memory of a process, in bytes. What was swapped out counts: it is as much in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// With its share of what it has in common with others; summed up over processes it is what
    /// they use together.
    pub proportional: u64,
    /// What nobody else uses: what would be free without it.
    pub private: u64,
}

impl Memory {
    /// The memory of process `pid`.
    ///
    /// Read from `/proc/PID/smaps_rollup`; where the kernel is too old for it, or doesn't let us
    /// (a process of another user), an estimate from `/proc/PID/statm`: what is resident and, as
    /// private, what of it is of no file. Err: the process has gone.
    pub fn of(pid: Pid) -> io::Result<Self> {
        Self::read(&PathBuf::from(format!("/proc/{pid}")))
    }

    fn read(process: &Path) -> io::Result<Self> {
        let (file, memory) = match fs::read_to_string(process.join("smaps_rollup")) {
            Ok(text) => ("smaps_rollup", Self::from_rollup(&text)),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied
                ) =>
            {
                ("statm", Self::from_statm(&fs::read_to_string(process.join("statm"))?))
            }
            Err(error) => return Err(error),
        };
        memory.ok_or_else(|| {
            let text = format!("no memory in {}", process.join(file).display());
            io::Error::new(io::ErrorKind::InvalidData, text)
        })
    }

    /// proc(5), `smaps`: lines such as `Pss:   1234 kB`.
    fn from_rollup(text: &str) -> Option<Self> {
        let sum = |names: &[&str]| -> Option<u64> {
            let kibibytes = |name| {
                let rest = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
                rest?.trim().strip_suffix(" kB")?.trim_end().parse::<u64>().ok()
            };
            // Lines that this kernel doesn't have count nothing, but for the first.
            let first = kibibytes(names.first()?)?;
            let others = names[1..].iter().filter_map(kibibytes);
            others.fold(first, u64::saturating_add).checked_mul(1024)
        };
        Some(Self {
            proportional: sum(&["Pss", "SwapPss"])?,
            private: sum(&["Private_Dirty", "Private_Clean", "Private_Hugetlb", "SwapPss"])?,
        })
    }

    /// proc(5), `statm`: pages in all, resident, resident of files and shared, and more. A process
    /// that has ended has none.
    fn from_statm(text: &str) -> Option<Self> {
        let mut fields = text.split_whitespace().skip(1).map_while(|field| field.parse().ok());
        let resident: u64 = fields.next()?;
        let shared: u64 = fields.next()?;
        let page = sysconf(SysconfVar::PAGE_SIZE).ok()??;
        let page = u64::try_from(page).ok()?;
        (resident > 0).then_some(Self {
            proportional: resident.checked_mul(page)?,
            private: resident.saturating_sub(shared).checked_mul(page)?,
        })
    }
}

/// How many processes of our control group the kernel has killed because memory ran out: its own
/// limit's, one's above it, or the machine's (cgroups(7)).
#[derive(Debug)]
pub struct OomKills {
    /// None: there is no such counter here.
    counter: Option<PathBuf>,
}

impl OomKills {
    /// Finds the counter of this process's group, which those that it forks are in too.
    pub fn new() -> Self {
        let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        Self::find(&groups, Path::new(CGROUPS))
    }

    /// The count so far. None: it can't be known.
    pub fn count(&self) -> Option<u64> {
        let text = fs::read_to_string(self.counter.as_ref()?).ok()?;
        let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "))?;
        count.trim().parse().ok()
    }

    /// `groups` is a text like `/proc/PID/cgroup`'s.
    fn find(groups: &str, root: &Path) -> Self {
        let candidates = groups.lines().filter_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            let (controllers, group) = (parts.next()?, parts.next()?);
            let group = group.trim_start_matches('/');
            if controllers.split(',').any(|name| name == "memory") {
                let root = root.join("memory");
                Some([root.join(group).join("memory.oom_control"), root.join("memory.oom_control")])
            } else if controllers.is_empty() {
                Some([root.join(group).join("memory.events"), root.join("memory.events")])
            } else {
                None
            }
        });
        // In a container the group's path may be the host's, while what is mounted is only the
        // container's part: then the group is at the root.
        let counters = candidates.flatten().map(|path| Self { counter: Some(path) });
        counters.into_iter().find(|found| found.count().is_some()).unwrap_or(Self { counter: None })
    }
}

impl Default for OomKills {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_this_process() {
        let memory = Memory::of(Pid::this()).unwrap();
        assert!(memory.private > 0, "{memory:?}");
        assert!(memory.proportional >= memory.private, "{memory:?}");
        assert!(Memory::of(Pid::from_raw(i32::MAX)).is_err());
    }

    #[test]
    fn what_is_swapped_out_counts() {
        let rollup = "55d0e8a4b000-7ffe7b3f2000 ---p 00000000 00:00 0      [rollup]\n\
                      Rss:                3196 kB\nPss:                 700 kB\n\
                      Pss_Dirty:           108 kB\nShared_Clean:       2588 kB\n\
                      Private_Clean:        40 kB\nPrivate_Dirty:       100 kB\n\
                      Swap:                 64 kB\nSwapPss:              60 kB\n";
        let memory = Memory::from_rollup(rollup).unwrap();
        assert_eq!(memory, Memory { proportional: 760 * 1024, private: 200 * 1024 });
        assert_eq!(Memory::from_rollup(""), None);
        assert_eq!(Memory::from_rollup("Pss: 1 kB\nPrivate_Dirty: x kB\n"), None);
    }

    #[test]
    fn without_a_rollup_it_is_estimated() {
        let process = tempfile::tempdir().unwrap();
        assert_eq!(Memory::read(process.path()).unwrap_err().kind(), io::ErrorKind::NotFound);
        let page = u64::try_from(sysconf(SysconfVar::PAGE_SIZE).unwrap().unwrap()).unwrap();
        let statm = process.path().join("statm");
        fs::write(&statm, "4000 1000 300 20 0 900 0\n").unwrap();
        let memory = Memory::read(process.path()).unwrap();
        assert_eq!(memory, Memory { proportional: 1000 * page, private: 700 * page });
        fs::write(&statm, "0 0 0 0 0 0 0\n").unwrap();
        let error = Memory::read(process.path()).unwrap_err();
        assert_eq!(error.to_string(), format!("no memory in {}", statm.display()));
    }

    /// A mounted tree of control groups.
    struct Mounted(tempfile::TempDir);

    impl Mounted {
        fn with(files: &[(&str, &str)]) -> Self {
            let root = tempfile::tempdir().unwrap();
            for (path, text) in files {
                let path = root.path().join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            Self(root)
        }

        fn kills(&self, groups: &str) -> OomKills {
            OomKills::find(groups, self.0.path())
        }
    }

    const EVENTS: &str = "low 0\nhigh 3\nmax 9\noom 4\noom_kill 2\noom_group_kill 7\n";
    const CONTROL: &str = "oom_kill_disable 0\nunder_oom 0\noom_kill 5\n";

    #[test]
    fn kills_of_a_unified_group() {
        let path = "system.slice/web.service/memory.events";
        let mounted = Mounted::with(&[(path, EVENTS), ("memory.events", "oom_kill 50\n")]);
        let kills = mounted.kills("0::/system.slice/web.service\n");
        assert_eq!(kills.count(), Some(2));
        fs::write(mounted.0.path().join(path), "oom_kill 3\n").unwrap();
        assert_eq!(kills.count(), Some(3));
        fs::remove_dir_all(mounted.0.path()).unwrap();
        assert_eq!(kills.count(), None);
    }

    #[test]
    fn kills_of_a_group_with_a_controller_of_its_own() {
        let mounted = Mounted::with(&[("memory/web/memory.oom_control", CONTROL)]);
        let groups = "12:cpu,cpuacct:/web\n9:hugetlb,memory:/web\n1:name=systemd:/web\n0::/web\n";
        assert_eq!(mounted.kills(groups).count(), Some(5));
    }

    #[test]
    fn kills_in_a_container_that_sees_only_its_part() {
        let mounted = Mounted::with(&[("memory.events", EVENTS)]);
        assert_eq!(mounted.kills("0::/docker/0123\n").count(), Some(2));
        assert_eq!(mounted.kills("0::/\n").count(), Some(2));
        let mounted = Mounted::with(&[("memory/memory.oom_control", CONTROL)]);
        assert_eq!(mounted.kills("4:memory:/docker/0123\n0::/\n").count(), Some(5));
    }

    #[test]
    fn no_counter_is_no_count() {
        let mounted = Mounted::with(&[("memory.events", "low 0\n"), ("cpu.stat", "oom_kill 1\n")]);
        for groups in ["", "0::/\n", "3:cpu:/\n", "garbage\n", "0::/../../x\n"] {
            assert_eq!(mounted.kills(groups).count(), None, "{groups}");
        }
        // Whatever this machine has, asking for it is no error.
        let _ = OomKills::new().count();
    }
}
