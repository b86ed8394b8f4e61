//! Checks the files of a command before it does any work: the command must not overwrite a file that it reads, must not
//! write two results to one file, and must be able to write its results.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use sinter::internals::base::replace::{behind_links, folder_of};
use sinter::internals::import_onnx::external::files_of;

use crate::failure::{Failure, advice};

/// What a destination may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A regular file, replaced when the result is complete.
    File,
    /// The same, or a pipe or device, which the result is written into.
    FileOrStream,
    /// A folder that files are put into, made when it is missing.
    Folder,
}

/// Files by what the user calls them: what they are to the command, or the flag that names them.
#[derive(Debug, Default)]
pub struct Files<'a> {
    read: Vec<(&'static str, &'a Path)>,
    models: Vec<&'a Path>,
    written: Vec<(&'static str, &'a Path, Form)>,
}

impl<'a> Files<'a> {
    /// Takes in a file that the command reads, if there is one.
    pub fn reads(&mut self, what: &'static str, path: Option<&'a Path>) {
        self.read.extend(path.map(|path| (what, path)));
    }

    /// Takes in a model or plan that the command reads; a model may have data in other files.
    pub fn reads_model(&mut self, what: &'static str, path: &'a Path) {
        self.reads(what, Some(path));
        self.models.push(path);
    }

    /// Takes in a file that the command will write, if there is one.
    pub fn writes(&mut self, flag: &'static str, path: Option<&'a Path>, form: Form) {
        self.written.extend(path.map(|path| (flag, path, form)));
    }

    /// Fails when a destination is read, is named twice or cannot be written; leaves no trace.
    ///
    /// # Errors
    /// Which, and why.
    pub fn check(&self) -> Result<(), Failure> {
        let mut known: Vec<(&str, PathBuf)> = Vec::new();
        for (flag, path, form) in &self.written {
            if *path == Path::new("-") {
                return Err(Failure::usage(format!("{flag} needs the name of a file, `-` is standard output"))
                    .help("give a name; only --json takes `-`"));
            }
            if *form == Form::FileOrStream && is_stream(path) {
                continue;
            }
            check_writable(path, *form)?;
            let target = behind_links(path);
            if let Some((read, _)) = self.read.iter().find(|(_, read)| holds(read, &target)) {
                let what = format!("{flag} would replace {read}");
                return Err(Failure::usage(what).at(path).help(format!("give another name with {flag}")));
            }
            if self.is_data_of_model(&target) {
                let what = format!("{flag} would replace the model's external data");
                return Err(Failure::usage(what).at(path).help(format!("give another name with {flag}")));
            }
            if let Some((other, _)) = known.iter().find(|(_, other)| *other == target) {
                let what = format!("{other} and {flag} name one file");
                return Err(Failure::usage(what).at(path).help("give each a name of its own"));
            }
            known.push((flag, target));
        }
        Ok(())
    }
}

impl Files<'_> {
    /// Does a model keep weights in this file? The function opens a model only for files beneath the model's folder.
    fn is_data_of_model(&self, target: &Path) -> bool {
        let may_have = |model: &&&Path| target.is_file() && target.starts_with(folder_of(&behind_links(model)));
        let mut files = self.models.iter().filter(may_have).flat_map(|model| files_of(model));
        files.any(|file| behind_links(&file) == target)
    }
}

/// Would a file at `target` replace `read`, or a file of values in the folder `read`?
fn holds(read: &Path, target: &Path) -> bool {
    let read = behind_links(read);
    read == target || read.is_dir() && target.parent() == Some(&read) && target.extension().is_some_and(|e| e == "pb")
}

fn check_writable(path: &Path, form: Form) -> Result<(), Failure> {
    let refuse = |why: &dyn std::fmt::Display| {
        Failure::usage(format!("cannot write here: {why}"))
            .at(path)
            .help("choose another place, or make the folder first")
    };
    let target = behind_links(path);
    let folder = match (form, target.metadata()) {
        (Form::Folder, Ok(found)) if found.is_dir() => target.as_path(),
        (Form::Folder, Ok(_)) => {
            return Err(refuse(&"it is no folder; the name of an archive ends in .npz"));
        }
        // The command creates the folder and its parents later.
        (Form::Folder, Err(_)) => target.ancestors().skip(1).find(|f| f.exists()).unwrap_or(Path::new(".")),
        (_, Ok(found)) if found.is_dir() => return Err(refuse(&"it is a folder")),
        (_, Ok(found)) if !found.is_file() => return Err(refuse(&"it is no regular file but a pipe or device")),
        _ => folder_of(&target),
    };
    tempfile::tempfile_in(folder).map(drop).map_err(|error| match error.kind() {
        ErrorKind::NotFound => refuse(&error),
        kind => refuse(&error).help(advice(kind)),
    })
}

/// Is it written into as it stands: a pipe, a device, or what the system calls an open file?
pub fn is_stream(path: &Path) -> bool {
    let is_open_file =
        path == Path::new("/dev/stderr") || path.starts_with("/dev/fd") || path.starts_with("/proc/self/fd");
    is_open_file || path.metadata().is_ok_and(|found| !found.is_file() && !found.is_dir())
}

/// Does it mean standard output, by our name or one of the system's?
pub fn is_standard_output(path: &Path) -> bool {
    ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"].iter().any(|name| path == Path::new(name))
}
