//! The memory and the processors that the system lets this process use.

use std::fs::read_to_string;
use std::path::Path;

use crate::control_group::{Group, Version, groups};

/// The default where the system states no limit: 4 GiB.
const UNKNOWN: usize = 1 << 32;

/// The default memory limit of an engine: half of [`available_memory`].
pub fn default_memory() -> usize {
    available_memory().unwrap_or(UNKNOWN) / 2
}

/// The machine's memory, or the limit of a control group or of the process when that is less; `None` where the system
/// states neither.
pub fn available_memory() -> Option<usize> {
    memory_below(Path::new("/"))
}

/// Processors that the quotas of control groups allow; `None` without one.
pub fn cpu_quota() -> Option<f64> {
    let quotas = groups(Path::new("/"), "cpu").into_iter().filter_map(|group| quota_of(&group));
    quotas.reduce(f64::min)
}

/// As [`available_memory`], with `root` as a prefix of every path.
fn memory_below(root: &Path) -> Option<usize> {
    let read = |path: &str| read_to_string(root.join(path)).ok();
    let machine = read("proc/meminfo").and_then(|text| total_of(&text));
    let process = read("proc/self/limits").and_then(|text| address_space_of(&text));
    let groups = groups(root, "memory").into_iter().flat_map(|group| limits_of(&group));
    machine.into_iter().chain(process).chain(groups).min()
}

/// Bytes of the line `MemTotal: N kB`.
fn total_of(meminfo: &str) -> Option<usize> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.split_whitespace().next()?.parse::<usize>().ok()?.checked_mul(1024)
}

/// Bytes of the soft limit on the address space (`ulimit -v`).
fn address_space_of(limits: &str) -> Option<usize> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max address space"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Limits on the memory of a group. A file states an impossibly large number where there is no limit.
fn limits_of(group: &Group) -> Vec<usize> {
    let number = |text: &str| text.trim().parse().ok();
    let limits = match group.version {
        Version::Two => {
            // Beyond the high mark the system slows a group down until it releases memory.
            ["memory.max", "memory.high"].map(|name| group.read(name).and_then(|text| number(&text)))
        }
        Version::One => {
            let above = group.read("memory.stat").and_then(|text| {
                number(text.lines().find_map(|line| line.strip_prefix("hierarchical_memory_limit "))?)
            });
            [group.read("memory.limit_in_bytes").and_then(|text| number(&text)), above]
        }
    };
    limits.into_iter().flatten().collect()
}

/// Quota over period of a group.
fn quota_of(group: &Group) -> Option<f64> {
    let number = |text: &str| text.trim().parse::<f64>().ok();
    let (quota, period) = match group.version {
        Version::Two => {
            let text = group.read("cpu.max")?;
            let (quota, period) = text.trim().split_once(' ')?;
            (number(quota)?, number(period)?)
        }
        Version::One => (number(&group.read("cpu.cfs_quota_us")?)?, number(&group.read("cpu.cfs_period_us")?)?),
    };
    // Version 1 writes -1 where there is no quota, version 2 writes a word.
    Some(quota / period).filter(|share| share.is_finite() && *share > 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory tree in place of the system's files.
    struct Tree(tempfile::TempDir);

    impl Tree {
        fn new(files: &[(&str, &str)]) -> Self {
            let tree = Self(tempfile::tempdir().unwrap());
            files.iter().for_each(|(path, text)| tree.put(path, text));
            tree
        }

        fn put(&self, path: &str, text: &str) {
            let path = self.0.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }

        fn memory(&self) -> Option<usize> {
            memory_below(self.0.path())
        }

        fn quota(&self) -> Vec<Option<f64>> {
            groups(self.0.path(), "cpu").iter().map(quota_of).collect()
        }
    }

    const UNLIMITED: &str = "9223372036854771712\n";

    #[test]
    fn the_machine_and_the_process_are_asked() {
        assert_eq!(Tree::new(&[]).memory(), None);
        let tree = Tree::new(&[("proc/meminfo", "MemFree: 3 kB\nMemTotal:       16 kB\n")]);
        assert_eq!(tree.memory(), Some(16 * 1024));
        let limits =
            |soft: &str| format!("Limit  Soft Limit  Hard Limit  Units\nMax address space  {soft}  9999  bytes\n");
        tree.put("proc/self/limits", &limits("unlimited"));
        assert_eq!(tree.memory(), Some(16 * 1024));
        tree.put("proc/self/limits", &limits("5000"));
        assert_eq!(tree.memory(), Some(5000));
        assert!(default_memory() > 0);
    }

    #[test]
    fn the_smallest_limit_of_a_group_and_those_above_holds() {
        let tree = Tree::new(&[
            ("proc/meminfo", "MemTotal: 1000 kB\n"),
            ("proc/self/cgroup", "0::/system.slice/app.service\n"),
            ("proc/self/mountinfo", "30 1 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"),
            ("sys/fs/cgroup/system.slice/app.service/memory.max", "max\n"),
            ("sys/fs/cgroup/system.slice/app.service/cpu.max", "150000 100000\n"),
            ("sys/fs/cgroup/system.slice/cpu.max", "max 100000\n"),
        ]);
        assert_eq!(tree.memory(), Some(1_024_000));
        tree.put("sys/fs/cgroup/system.slice/memory.max", "600000\n");
        assert_eq!(tree.memory(), Some(600_000));
        tree.put("sys/fs/cgroup/system.slice/app.service/memory.max", "500000\n");
        assert_eq!(tree.memory(), Some(500_000));
        tree.put("sys/fs/cgroup/system.slice/app.service/memory.high", "400000\n");
        assert_eq!(tree.memory(), Some(400_000));
        assert_eq!(tree.quota(), [Some(1.5), None, None]);
    }

    #[test]
    fn groups_of_version_one_have_limits_too() {
        let tree = Tree::new(&[
            ("proc/meminfo", "MemTotal: 1000 kB\n"),
            ("proc/self/cgroup", "5:memory:/job\n2:cpu,cpuacct:/job\n"),
            (
                "proc/self/mountinfo",
                "32 1 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                 33 1 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n",
            ),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", UNLIMITED),
            ("sys/fs/cgroup/memory/job/memory.limit_in_bytes", UNLIMITED),
            ("sys/fs/cgroup/cpu/job/cpu.cfs_quota_us", "-1\n"),
            ("sys/fs/cgroup/cpu/job/cpu.cfs_period_us", "100000\n"),
        ]);
        assert_eq!((tree.memory(), tree.quota()), (Some(1_024_000), vec![None, None]));
        // The limit of an ancestor group that no mount shows.
        let stat = format!("cache 1\nhierarchical_memory_limit 700000\nhierarchical_memsw_limit {UNLIMITED}");
        tree.put("sys/fs/cgroup/memory/job/memory.stat", &stat);
        assert_eq!(tree.memory(), Some(700_000));
        tree.put("sys/fs/cgroup/memory/job/memory.limit_in_bytes", "41943040\n");
        tree.put("sys/fs/cgroup/memory/memory.limit_in_bytes", "300000\n");
        assert_eq!(tree.memory(), Some(300_000));
        tree.put("sys/fs/cgroup/cpu/job/cpu.cfs_quota_us", "50000\n");
        assert_eq!(tree.quota(), [Some(0.5), None]);
    }
}
