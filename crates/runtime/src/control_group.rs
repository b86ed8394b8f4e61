//! Control groups of this process: the system states there which resources the process may use.
//!
//! `/proc/self/cgroup` names the process's group in each hierarchy, `/proc/self/mountinfo` says where hierarchies are
//! mounted and which group lies at a mount point. The limits of ancestor groups apply as well, so this module reads all
//! ancestors that the mount shows. A system has one hierarchy for all controllers (version 2), one per controller
//! (version 1), or both.

use std::fs::read_to_string;
use std::path::{Component, Path, PathBuf};

/// The version of a hierarchy, which decides the names of its files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// A hierarchy of one or a few controllers.
    One,
    /// The hierarchy of all controllers.
    Two,
}

/// The folder of one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) version: Version,
    pub(crate) folder: PathBuf,
}

impl Group {
    /// The contents of a file of the group.
    pub(crate) fn read(&self, name: &str) -> Option<String> {
        read_to_string(self.folder.join(name)).ok()
    }
}

/// The groups of this process that a controller may limit: its own group and the ancestors. `root` is a prefix of every
/// path: `/`, except in tests.
pub(crate) fn groups(root: &Path, controller: &str) -> Vec<Group> {
    let read = |path: &str| read_to_string(root.join(path)).unwrap_or_default();
    let (memberships, mounts) = (read("proc/self/cgroup"), read("proc/self/mountinfo"));
    let mounts: Vec<Mount> = mounts.lines().filter_map(Mount::parse).collect();
    let mut groups = Vec::new();
    for (version, path) in memberships.lines().filter_map(|line| membership(line, controller)) {
        for mount in mounts.iter().filter(|mount| mount.holds(version, controller)) {
            let top = root.join(mount.point.strip_prefix("/").unwrap_or(&mount.point));
            let own: PathBuf = top.iter().chain(inside(Path::new(path), &mount.root).iter()).collect();
            let above = own.ancestors().take_while(|folder| folder.starts_with(&top));
            groups.extend(above.map(|folder| Group { version, folder: folder.to_owned() }));
        }
    }
    groups
}

/// A line `hierarchy:controllers:path`, if it is of the hierarchy with this controller or of the one for all.
fn membership<'a>(line: &'a str, controller: &str) -> Option<(Version, &'a str)> {
    let (_, rest) = line.split_once(':')?;
    let (controllers, path) = rest.split_once(':')?;
    match controllers {
        "" => Some((Version::Two, path)),
        list => list.split(',').any(|name| name == controller).then_some((Version::One, path)),
    }
}

/// The path of a group relative to the group at a mount point. A group that the mount does not show (that of a process in
/// another namespace) counts as the group at the mount point.
fn inside(group: &Path, mounted: &Path) -> PathBuf {
    let inside = group.strip_prefix(mounted).unwrap_or(Path::new(""));
    let is_plain = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::RootDir);
    if !inside.components().all(is_plain) {
        return PathBuf::new();
    }
    inside.components().filter(|part| matches!(part, Component::Normal(_))).collect()
}

/// One line of `mountinfo`: `id parent device root point options optional... - type source options`.
struct Mount {
    /// The group at the mount point.
    root: PathBuf,
    point: PathBuf,
    kind: String,
    options: String,
}

impl Mount {
    fn parse(line: &str) -> Option<Self> {
        let (mount, system) = line.split_once(" - ")?;
        let mut mount = mount.split(' ').skip(3);
        let mut system = system.split(' ');
        Some(Self {
            root: unescaped(mount.next()?).into(),
            point: unescaped(mount.next()?).into(),
            kind: system.next()?.to_owned(),
            options: system.nth(1).unwrap_or_default().to_owned(),
        })
    }

    fn holds(&self, version: Version, controller: &str) -> bool {
        match version {
            Version::One => self.kind == "cgroup" && self.options.split(',').any(|option| option == controller),
            Version::Two => self.kind == "cgroup2",
        }
    }
}

/// Decodes a path of `mountinfo`, which writes blanks and the like as backslashes with three octal digits.
fn unescaped(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut path = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let code = part.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok()).filter(u8::is_ascii);
        match code.zip(part.get(3..)) {
            Some((code, rest)) => path.extend([&char::from(code).to_string(), rest]),
            None => path.extend(["\\", part]),
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folders(cgroup: &str, mountinfo: &str, controller: &str) -> Vec<String> {
        let root = tempfile::tempdir().unwrap();
        let own = root.path().join("proc/self");
        std::fs::create_dir_all(&own).unwrap();
        std::fs::write(own.join("cgroup"), cgroup).unwrap();
        std::fs::write(own.join("mountinfo"), mountinfo).unwrap();
        let shown = |group: Group| {
            let folder = group.folder.strip_prefix(root.path()).unwrap().display().to_string();
            format!("{:?} {folder}", group.version)
        };
        groups(root.path(), controller).into_iter().map(shown).collect()
    }

    #[test]
    fn a_group_and_all_above_it_are_found() {
        let mounts = "24 1 0:22 / /proc rw - proc proc rw\n\
                      30 1 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n";
        let found = folders("0::/user.slice/app.service\n", mounts, "memory");
        assert_eq!(
            found,
            ["/user.slice/app.service", "/user.slice", ""].map(|path| format!("Two sys/fs/cgroup{path}"))
        );
        assert_eq!(folders("0::/\n", mounts, "memory").len(), 1);
        // The first group lies outside the namespace; the second case has no mount at all.
        assert_eq!(folders("0::/../other\n", mounts, "memory"), ["Two sys/fs/cgroup"]);
        assert!(folders("0::/a\n", "24 1 0:22 / /proc rw - proc proc rw\n", "memory").is_empty());
    }

    #[test]
    fn hierarchies_of_version_one_are_told_apart_by_their_controllers() {
        let cgroup = "12:cpuset:/\n7:cpu,cpuacct:/jobs/7\n4:memory:/jobs/7\n0::/init.scope\n";
        let mounts = "31 1 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
                      32 1 0:28 / /sys/fs/cgroup/memory rw shared:9 master:1 - cgroup cgroup rw,memory\n\
                      33 1 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let of_memory = folders(cgroup, mounts, "memory");
        assert_eq!(of_memory.len(), 5, "{of_memory:?}");
        assert_eq!(of_memory[..2], ["One sys/fs/cgroup/memory/jobs/7", "One sys/fs/cgroup/memory/jobs"]);
        assert_eq!(of_memory[3], "Two sys/fs/cgroup/unified/init.scope");
        assert_eq!(folders(cgroup, mounts, "cpu")[0], "One sys/fs/cgroup/cpu,cpuacct/jobs/7");
    }

    /// A container sees its own group at the mount point, and the path that the host has for it.
    #[test]
    fn a_mount_that_shows_a_group_starts_there() {
        let mounts = "40 1 0:30 /docker/abc /sys/fs/my\\040groups ro - cgroup cgroup rw,memory\n";
        assert_eq!(folders("4:memory:/docker/abc\n", mounts, "memory"), ["One sys/fs/my groups"]);
        let below = folders("4:memory:/docker/abc/job\n", mounts, "memory");
        assert_eq!(below, ["One sys/fs/my groups/job", "One sys/fs/my groups"]);
        assert_eq!(folders("4:memory:/elsewhere\n", mounts, "memory"), ["One sys/fs/my groups"]);
    }
}
