//! A global allocator that counts allocations, to prove that code allocates nothing. Each thread counts for itself, so
//! tests that run side by side do not disturb each other; threads that work for one test together count in its
//! [`Group`].
#![allow(unsafe_code, reason = "a global allocator is an unsafe interface; every call is handed on unchanged")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
    static GROUP: Cell<Option<&'static Group>> = const { Cell::new(None) };
}

/// The system's allocator, counting. Declare one as `#[global_allocator]`.
pub struct Counting;

fn count() {
    // A thread that is ending counts no more.
    let _ = COUNT.try_with(|count| count.set(count.get() + 1));
    if let Ok(Some(group)) = GROUP.try_with(Cell::get) {
        group.count.fetch_add(1, Ordering::Relaxed);
    }
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

/// A count that several threads share. Declare one as a static.
#[derive(Default)]
pub struct Group {
    count: AtomicUsize,
}

impl Group {
    /// Nothing counted yet.
    pub const fn new() -> Self {
        Self { count: AtomicUsize::new(0) }
    }

    /// Counts what this thread allocates while `work` runs.
    pub fn watch<R>(&'static self, work: impl FnOnce() -> R) -> R {
        let before = GROUP.replace(Some(self));
        let result = work();
        GROUP.set(before);
        result
    }

    /// How often the threads that were watched allocated so far. Always 0 unless [`Counting`] is the global allocator.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }
}
