//! A global allocator that counts, to prove that something allocates nothing. Each thread counts for itself, so tests that
//! run side by side do not disturb each other.
#![allow(unsafe_code, reason = "a global allocator is an unsafe interface; every call is handed on unchanged")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

/// The system's allocator, counting. Declare one as `#[global_allocator]`.
pub struct Counting;

fn count() {
    // A thread that is ending counts no more.
    let _ = COUNT.try_with(|count| count.set(count.get() + 1));
}

// SAFETY: every function hands its arguments to the system's allocator, whose contract is the same; counting touches a
// plain thread-local number and never allocates.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// How often this thread allocated so far.
pub fn allocated_so_far() -> usize {
    COUNT.with(Cell::get)
}

/// How often this thread allocates while `work` runs. Always 0 unless [`Counting`] is the global allocator.
pub fn allocations(work: impl FnOnce()) -> usize {
    let before = allocated_so_far();
    work();
    allocated_so_far() - before
}
