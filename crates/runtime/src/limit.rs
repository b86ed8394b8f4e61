//! How much memory an engine may take unless the user says otherwise: half of what there is.

use std::fs::read_to_string;

/// Taken where the system does not tell: 4 GiB.
const UNKNOWN: usize = 1 << 32;

/// Half of [`available_memory`].
pub fn default_memory() -> usize {
    available_memory().unwrap_or(UNKNOWN) / 2
}

/// The machine's memory, or the control group's limit when that is less; `None` where the system does not tell.
pub fn available_memory() -> Option<usize> {
    let machine = read_to_string("/proc/meminfo").ok().and_then(|text| total_of(&text));
    let group = read_to_string("/sys/fs/cgroup/memory.max").ok().and_then(|text| text.trim().parse::<usize>().ok());
    [machine, group].into_iter().flatten().min()
}

/// Bytes of the line `MemTotal: N kB`.
fn total_of(meminfo: &str) -> Option<usize> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.split_whitespace().next()?.parse::<usize>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_is_read() {
        assert_eq!(total_of("MemTotal:       16 kB\nMemFree: 3 kB\n"), Some(16 * 1024));
        assert_eq!(total_of("MemFree: 3 kB"), None);
        assert!(default_memory() > 0);
    }
}
