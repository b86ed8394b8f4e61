//! Ctrl-C: the program ends with code 130 and leaves no partial file.
//!
//! The program writes a file under a temporary name and renames it. An interrupt that arrives meanwhile waits for the rename,
//! so that no temporary file stays behind.

use std::sync::{Mutex, PoisonError};

use crate::failure::Exit;

static WRITING: Mutex<()> = Mutex::new(());

/// Starts to listen for Ctrl-C and requests to end.
pub fn install() {
    let outcome = ctrlc::set_handler(|| {
        let _no_writer = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
        eprintln!("interrupted");
        std::process::exit(Exit::Interrupted as i32);
    });
    if let Err(error) = outcome {
        eprintln!("warning: Ctrl-C ends the program at once and may leave a partial file: {error}");
    }
}

/// Holds interrupts back while a file is written.
pub fn while_writing<T>(write: impl FnOnce() -> T) -> T {
    let _writer = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
    write()
}
