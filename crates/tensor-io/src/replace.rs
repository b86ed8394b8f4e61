//! Files that appear whole or not at all.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// As many links in a row as systems follow.
const MAX_LINKS: usize = 40;

/// Replaces a file, or makes it: `write` writes to a temporary file beside it, of a name that nothing else has, which is
/// renamed when it is complete and on disk. A link stays, what it leads to is replaced; pipes and devices are never.
///
/// # Errors
/// When the file cannot be written, or what has its name is no regular file; no temporary file stays.
pub fn replace(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let target = behind_links(path);
    if target.metadata().is_ok_and(|found| !found.is_file()) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file but a folder, pipe or device"));
    }
    let mut builder = tempfile::Builder::new();
    // As any new file: what the process's mask leaves.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = builder.prefix(".").suffix(".partial").tempfile_in(folder_of(&target))?;
    write(file.as_file_mut())?;
    file.as_file().sync_all()?;
    file.persist(&target)?;
    Ok(())
}

/// The file that a name stands for when links are followed, whether it exists or not; two names of one file give the same.
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
        assert!(replace(&folder.path().join("none/x"), |_| Ok(())).is_err());
        assert!(replace(folder.path(), |_| Ok(())).is_err());
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
