//! The memory of the device: counted, limited, and poisoned until it is written.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use sinter_backend::KernelError;

/// The poison in new memory.
const POISON: u8 = 0xC5;

/// The memory limit, and the bytes in use.
#[derive(Debug)]
pub struct Account {
    used: AtomicUsize,
    limit: usize,
}

impl Account {
    /// An account with this limit.
    pub fn of(limit: usize) -> Arc<Self> {
        Arc::new(Self { used: AtomicUsize::new(0), limit })
    }

    /// Bytes in use.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Allocates memory.
    pub(crate) fn take(self: &Arc<Self>, bytes: usize) -> Result<Allocation, KernelError> {
        let used = self.used.fetch_add(bytes, Ordering::Relaxed);
        if used.checked_add(bytes).is_none_or(|all| all > self.limit) {
            self.used.fetch_sub(bytes, Ordering::Relaxed);
            let (limit, left) = (self.limit, self.limit.saturating_sub(used));
            return Err(KernelError::Memory(format!("a block of {bytes} bytes, of {left} left in {limit}")));
        }
        Ok(Allocation { bytes: vec![POISON; bytes], account: self.clone() })
    }
}

/// A block; dropping it returns its bytes to the account.
pub struct Allocation {
    pub(crate) bytes: Vec<u8>,
    account: Arc<Account>,
}

impl Drop for Allocation {
    fn drop(&mut self) {
        self.account.used.fetch_sub(self.bytes.len(), Ordering::Relaxed);
    }
}
