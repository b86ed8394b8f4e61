//! Results whose sizes a kernel determines: memory for the largest ones, and the word for the true size of counted axes.

use sinter_backend::{Argument, KernelError};
use sinter_base::view::element_bytes;
use sinter_base::{BlockId, DataType, MemoryRef};

use crate::driver::DeviceBuffer;
use crate::kernel::{Bound, recipe};

/// A result that the caller has not taken yet.
pub(crate) struct Made {
    pub(crate) block: BlockId,
    pub(crate) data_type: DataType,
    pub(crate) bound: Bound,
    /// The most bytes that the caller takes.
    pub(crate) limit: usize,
}

/// The results of the last launch that determined sizes.
#[derive(Default)]
pub(crate) struct Dynamic {
    /// The word for the true size.
    pub(crate) total: Option<DeviceBuffer>,
    /// By result; `None` for one of known sizes, or taken.
    pub(crate) results: Vec<Option<Made>>,
}

/// Bytes of a result of these sizes.
///
/// # Errors
/// When no memory has so many.
pub(crate) fn bytes_of(data_type: DataType, sizes: &[usize]) -> Result<usize, KernelError> {
    let bytes = sizes.iter().try_fold(element_bytes(data_type), |bytes, size| bytes.checked_mul(*size));
    bytes.ok_or_else(|| KernelError::Memory(format!("a result of up to {sizes:?} elements")))
}

impl Made {
    /// The result with its true sizes.
    ///
    /// # Errors
    /// When the kernel reports more than the bound, or the caller takes no result of this size.
    pub(crate) fn argument(self, total: u64) -> Result<Argument, KernelError> {
        let Self { block, data_type, bound: Bound { mut sizes, counted }, limit } = self;
        if let Some(size) = counted.and_then(|axis| sizes.get_mut(axis)) {
            let found = usize::try_from(total).ok().filter(|found| *found <= *size);
            *size = found.ok_or_else(|| recipe(format!("a result of {total} elements where {size} are the most")))?;
        }
        let bytes = bytes_of(data_type, &sizes)?;
        if bytes > limit {
            return Err(KernelError::Memory(format!("a result of type {data_type} and sizes {sizes:?}")));
        }
        let memory = MemoryRef { block, offset: 0, bytes };
        Ok(Argument { memory, data_type, sizes, rows: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_is_the_size_of_the_counted_axis() {
        let made = |counted, limit| {
            let bound = Bound { sizes: [3, 10].into_iter().collect(), counted };
            Made { block: BlockId::new(0), data_type: DataType::I64, bound, limit }
        };
        let argument = made(Some(1), 1000).argument(4).expect("four of ten");
        assert_eq!((&argument.sizes[..], argument.memory.bytes), (&[3, 4][..], 96));
        let argument = made(None, 1000).argument(4).expect("sizes that nothing counts");
        assert_eq!((&argument.sizes[..], argument.memory.bytes), (&[3, 10][..], 240));
        assert!(matches!(made(Some(1), 1000).argument(11), Err(KernelError::Recipe(_))));
        assert!(matches!(made(Some(1), 90).argument(4), Err(KernelError::Memory(_))));
    }
}
