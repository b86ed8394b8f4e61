//! Ctrl-C: the program ends with code 130 and leaves no partial file.
//!
//! Files are written to a temporary name and renamed. An interrupt that arrives meanwhile waits until that is over, so
//! that the temporary file never stays behind.

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
