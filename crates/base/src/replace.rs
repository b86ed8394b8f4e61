//! Atomic replacement of files.
//!
//! The writer writes a file beside its target as `NAME.partial-PID` and renames it when it is complete and on disk.
//! While it writes, it locks the partial file, and the system releases the lock when the process ends. So the next
//! writer of the same file recognizes abandoned partial files, and removes them. A process id would not show this: the
//! system reuses process ids, and they mean nothing in another container that sees the same folder.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use crate::regular_file;

/// As many links in a row as systems follow.
const MAX_LINKS: usize = 40;

/// Partial files of one target that one process writes at once, at most.
const MAX_WRITERS: usize = 1000;

/// Stands between the name of the target and the id of the process that writes it.
const MARK: &str = ".partial-";

/// Replaces or creates a file: `write` writes to a temporary file beside it, with a unique name, which is renamed when
/// it is complete and on disk. A link stays, and its target is replaced; pipes and devices are never replaced. The
/// function also removes partial files of writers that were killed.
///
/// # Errors
/// When the file cannot be written, or its name belongs to something other than a regular file; no temporary
/// file remains.
pub fn replace(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let target = behind_links(path);
    if target.metadata().is_ok_and(|found| !found.is_file()) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file but a folder, pipe or device"));
    }
    // First, to free their disk space.
    remove_abandoned(&target);
    let (mut file, partial) = create_partial(&target)?;
    let written = write(&mut file).and_then(|()| file.sync_all()).and_then(|()| std::fs::rename(&partial, &target));
    written.inspect_err(|_| {
        // The error that matters is the first one.
        let _ = std::fs::remove_file(&partial);
    })
}

/// The file that a name stands for when links are followed, whether it exists or not; two names of one file give the
/// same.
pub fn behind_links(path: &Path) -> PathBuf {
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        let Ok(next) = std::fs::read_link(&path) else { break };
        path = folder_of(&path).join(next);
    }
    let in_folder = path.file_name().and_then(|name| Some(folder_of(&path).canonicalize().ok()?.join(name)));
    in_folder.or_else(|| path.canonicalize().ok()).unwrap_or(path)
}

/// The folder that a file lies in.
pub fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A new file beside the target, locked, under a name that nothing else has.
fn create_partial(target: &Path) -> io::Result<(File, PathBuf)> {
    for number in 0..MAX_WRITERS {
        let mut name = target.as_os_str().to_owned();
        name.push(format!("{MARK}{}", std::process::id()));
        if number > 0 {
            name.push(format!("-{number}"));
        }
        let path = PathBuf::from(name);
        match File::create_new(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
            // Another process may have removed the file as abandoned before it was locked.
            Ok(file) if !matches!(file.try_lock(), Err(TryLockError::WouldBlock)) && is_linked(&file)? => {
                return Ok((file, path));
            }
            Ok(_) => {}
        }
    }
    Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("{MAX_WRITERS} partial files lie beside it")))
}

/// Has the file a name still?
#[cfg(unix)]
fn is_linked(file: &File) -> io::Result<bool> {
    Ok(std::os::unix::fs::MetadataExt::nlink(&file.metadata()?) > 0)
}

/// An open file keeps its name.
#[cfg(not(unix))]
fn is_linked(_: &File) -> io::Result<bool> {
    Ok(true)
}

/// Removes the partial files of a target that no running process writes. Files whose state is unknown stay.
fn remove_abandoned(target: &Path) {
    let Some(name) = target.file_name() else { return };
    let start = [name.as_encoded_bytes(), MARK.as_bytes()].concat();
    let is_partial = |name: &[u8]| {
        let writer = name.strip_prefix(start.as_slice()).filter(|rest| rest.first().is_some_and(u8::is_ascii_digit));
        writer.is_some_and(|rest| rest.iter().all(|c| c.is_ascii_digit() || *c == b'-'))
    };
    for entry in std::fs::read_dir(folder_of(target)).into_iter().flatten().flatten() {
        if is_partial(entry.file_name().as_encoded_bytes())
            && entry.file_type().is_ok_and(|kind| kind.is_file())
            && let Ok(file) = regular_file::open(&entry.path())
            && file.try_lock().is_ok()
        {
            // The lock is held until it is gone.
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_replaced_whole_or_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        replace(&path, |file| file.write_all(b"old")).unwrap();
        let failed = replace(&path, |file| {
            file.write_all(b"half")?;
            Err(io::Error::other("full"))
        });
        assert_eq!(failed.unwrap_err().to_string(), "full");
        assert_eq!((std::fs::read(&path).unwrap(), names(folder.path())), (b"old".to_vec(), vec!["x".to_owned()]));
        // Two writers at once, each with a file of its own.
        replace(&path, |file| {
            replace(&path, |inner| inner.write_all(b"inner"))?;
            file.write_all(b"outer")
        })
        .unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"outer");
        assert_eq!(names(folder.path()), ["x"]);
        assert!(replace(&folder.path().join("none/x"), |_| Ok(())).is_err());
        assert!(replace(folder.path(), |_| Ok(())).is_err());
    }

    /// A process that is killed leaves its file without a lock; one that lives holds it, whatever its id.
    #[test]
    fn abandoned_partial_files_are_removed_and_no_others() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let own = format!("x.partial-{}", std::process::id());
        for name in ["x.partial-1", "x.partial-4000000-2", own.as_str()] {
            std::fs::write(path(name), "left").unwrap();
        }
        for name in ["x.partial", "x.partial-notes", "x.partial-", "y.partial-1", "x.partial-7"] {
            std::fs::write(path(name), "kept").unwrap();
        }
        let living = File::open(path("x.partial-7")).unwrap();
        living.lock().unwrap();
        replace(&path("x"), |file| file.write_all(b"new")).unwrap();
        assert_eq!(
            names(folder.path()),
            ["x", "x.partial", "x.partial-", "x.partial-7", "x.partial-notes", "y.partial-1"]
        );
        drop(living);
        // A process that another test starts has the file open, and the lock with it, until its own program begins.
        let is_gone = || {
            replace(&path("x"), |file| file.write_all(b"new")).unwrap();
            std::thread::yield_now();
            !path("x.partial-7").exists()
        };
        assert!((0..10_000).any(|_| is_gone()));
    }

    #[cfg(unix)]
    #[test]
    fn links_stay_and_pipes_are_not_replaced() {
        use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
        let folder = tempfile::tempdir().unwrap();
        let (target, link, chain) = (folder.path().join("t"), folder.path().join("l"), folder.path().join("c"));
        symlink("t", &link).unwrap();
        symlink(&link, &chain).unwrap();
        // Before the file exists, and then.
        for text in ["one", "two"] {
            replace(&chain, |file| file.write_all(text.as_bytes())).unwrap();
            assert_eq!(std::fs::read_to_string(&target).unwrap(), text);
            assert!(link.is_symlink() && chain.is_symlink() && !target.is_symlink());
        }
        assert_eq!(behind_links(&chain), behind_links(&folder.path().join("./t")));
        std::fs::write(folder.path().join("plain"), "").unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&target), mode(&folder.path().join("plain")));
        let pipe = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        assert!(replace(&pipe, |_| Ok(())).unwrap_err().to_string().contains("not a regular file"));
        assert!(std::fs::metadata(&pipe).unwrap().file_type().is_fifo());
        symlink("round", folder.path().join("round")).unwrap();
        assert!(replace(&folder.path().join("round"), |_| Ok(())).is_ok(), "a link to itself leads nowhere");
    }
}
