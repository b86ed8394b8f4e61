//! Failed allocations: the program ends with a message and a code.
//!
//! When an allocation fails in Rust, either the caller handles the failure as a value, or the process aborts. Sinter handles
//! failures of allocations whose size comes from data ([`sinter::internals::base::allocation`]). For all other memory the
//! allocator itself prints the message, since code cannot intervene once the process aborts.
#![allow(unsafe_code, reason = "a global allocator is an unsafe interface")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sinter::internals::base::allocation::is_attempt;

use crate::failure::{Exit, OUT_OF_MEMORY};

/// The system's allocator; a failure that the caller does not handle ends the program.
pub struct Ending;

/// Is the program ending?
static IS_ENDING: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// Does this thread end it?
    static ENDS: Cell<bool> = const { Cell::new(false) };
}

/// Returns the memory, or ends the program if there is none.
fn checked(memory: *mut u8, bytes: usize) -> *mut u8 {
    // The code that ends the program tolerates failed allocations of its own.
    if memory.is_null() && !is_attempt() && !ENDS.try_with(Cell::get).unwrap_or(true) {
        end(bytes);
    }
    memory
}

#[cold]
fn end(bytes: usize) -> ! {
    ENDS.set(true);
    if IS_ENDING.swap(true, Ordering::SeqCst) {
        // Another thread ends the program.
        loop {
            std::thread::sleep(Duration::from_secs(1));
        }
    }
    // The message lies on the stack, because there is no other memory.
    let mut text = [0u8; 512];
    let mut rest = &mut text[..];
    let what = "the system gives no more memory";
    let _ = writeln!(rest, "error: {what}: {bytes} bytes were asked for\n  what to do: {OUT_OF_MEMORY}");
    let left = rest.len();
    let _ = std::io::stderr().write_all(&text[..text.len() - left]);
    std::process::exit(Exit::Usage as i32)
}

// SAFETY: every function passes its arguments to the system's allocator, whose contract is the same, and returns the
// result; the additional code allocates nothing.
unsafe impl GlobalAlloc for Ending {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract.
        checked(unsafe { System.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract.
        checked(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller keeps the contract.
        checked(unsafe { System.realloc(pointer, layout, size) }, size)
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract.
        unsafe { System.dealloc(pointer, layout) }
    }
}
