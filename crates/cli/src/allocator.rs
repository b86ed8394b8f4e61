//! Memory that the system does not give: the program ends with a message and a code.
//!
//! The language knows two ways on when an allocation fails: whoever asks for memory takes the failure as a value, or the
//! process aborts. Sizes that come from data are asked for in the first way ([`sinter::internals::base::allocation`]); for all other
//! memory the allocator itself says what happened, since nothing can be done once an abort is on its way.
#![allow(unsafe_code, reason = "a global allocator is an unsafe interface")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sinter::internals::base::allocation::is_attempt;

use crate::failure::{Exit, OUT_OF_MEMORY};

/// The system's allocator; a failure that nobody expects ends the program.
pub struct Ending;

/// Is the program ending?
static IS_ENDING: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// Does this thread end it?
    static ENDS: Cell<bool> = const { Cell::new(false) };
}

/// Hands memory on, or ends the program if there is none.
fn checked(memory: *mut u8, bytes: usize) -> *mut u8 {
    // What the end itself cannot get it does without.
    if memory.is_null() && !is_attempt() && !ENDS.try_with(Cell::get).unwrap_or(true) {
        end(bytes);
    }
    memory
}

#[cold]
fn end(bytes: usize) -> ! {
    ENDS.set(true);
    if IS_ENDING.swap(true, Ordering::SeqCst) {
        // Another thread does it.
        loop {
            std::thread::sleep(Duration::from_secs(1));
        }
    }
    // On the stack: there is no other memory.
    let mut text = [0u8; 512];
    let mut rest = &mut text[..];
    let what = "the system gives no more memory";
    let _ = writeln!(rest, "error: {what}: {bytes} bytes were asked for\n  what to do: {OUT_OF_MEMORY}");
    let left = rest.len();
    let _ = std::io::stderr().write_all(&text[..text.len() - left]);
    std::process::exit(Exit::Usage as i32)
}

// SAFETY: every function hands its arguments to the system's allocator, whose contract is the same, and its answer back;
// what is done besides allocates nothing.
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
