//! Fallible allocations.
//!
//! Sizes from files and callers may exceed the system's memory. The functions of this file return an error when such an
//! allocation fails, and mark it as an attempt: a program that ends when memory runs out (its global allocator sees
//! every failure, expected ones included) ignores failures of attempts.

use std::cell::Cell;

use crate::tensor::TensorError;

thread_local! {
    static ATTEMPTS: Cell<usize> = const { Cell::new(0) };
}

/// Runs `allocate` as an attempt: failures of its allocations are expected, and its result reports them.
pub fn attempt<T>(allocate: impl FnOnce() -> T) -> T {
    /// Ends the attempt, also when `allocate` panics.
    struct Ended;

    impl Drop for Ended {
        fn drop(&mut self) {
            ATTEMPTS.set(ATTEMPTS.get() - 1);
        }
    }

    ATTEMPTS.set(ATTEMPTS.get() + 1);
    let _ended = Ended;
    allocate()
}

/// Does a caller on this thread expect that an allocation may fail?
pub fn is_attempt() -> bool {
    ATTEMPTS.try_with(Cell::get).is_ok_and(|attempts| attempts > 0)
}

/// An empty list with capacity for so many elements.
///
/// # Errors
/// When the system does not have so much memory.
pub fn with_capacity<T>(count: usize) -> Result<Vec<T>, TensorError> {
    let mut list = Vec::new();
    let memory = |_| TensorError::Memory { bytes: count.saturating_mul(size_of::<T>()) };
    attempt(|| list.try_reserve_exact(count)).map_err(memory)?;
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_end() {
        assert!(!is_attempt());
        assert!(attempt(|| is_attempt() && attempt(is_attempt) && is_attempt()));
        assert!(std::panic::catch_unwind(|| attempt(|| panic!("inside"))).is_err());
        assert!(!is_attempt());
        assert_eq!(with_capacity::<u64>(usize::MAX / 32), Err(TensorError::Memory { bytes: usize::MAX / 32 * 8 }));
        assert!(with_capacity::<u64>(3).unwrap().capacity() >= 3);
    }
}
