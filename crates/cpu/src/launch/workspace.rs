//! The scratch memory of one launch.

use std::ops::{Deref, DerefMut};

use bytemuck::Pod;

use crate::launch::scratch::{Scratch, ScratchBuffer};

/// Scratch memory for a number of elements, contents unspecified: the workspace of the launch, or a scratch buffer of
/// the context where the workspace is too small, as it is where only the run knows the sizes.
pub enum Workspace<'w, T: Pod> {
    /// The workspace of the launch.
    Given(&'w mut [T]),
    /// A scratch buffer of the context.
    Allocated(ScratchBuffer<'w, T>),
}

impl<'w, T: Pod> Workspace<'w, T> {
    /// Scratch memory for `length` elements.
    ///
    /// # Panics
    /// When the scratch memory exceeds its limit; see [`Scratch::allocate`].
    pub fn of(given: &'w mut [u8], scratch: &'w Scratch, length: usize) -> Self {
        let bytes = length.saturating_mul(size_of::<T>());
        match bytemuck::try_cast_slice_mut(given.get_mut(..bytes).unwrap_or_default()) {
            Ok(elements) if elements.len() == length => Self::Given(elements),
            _ => Self::Allocated(scratch.allocate(length)),
        }
    }
}

impl<T: Pod> Deref for Workspace<'_, T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match self {
            Self::Given(elements) => elements,
            Self::Allocated(buffer) => buffer,
        }
    }
}

impl<T: Pod> DerefMut for Workspace<'_, T> {
    fn deref_mut(&mut self) -> &mut [T] {
        match self {
            Self::Given(elements) => elements,
            Self::Allocated(buffer) => buffer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workspace_that_is_too_small_is_not_used() {
        let scratch = Scratch::default();
        let mut given = [0u64; 4];
        let place = given.as_ptr().cast::<f32>();
        let fits = Workspace::<f32>::of(bytemuck::cast_slice_mut(&mut given), &scratch, 8);
        assert_eq!((fits.as_ptr(), fits.len()), (place, 8));
        drop(fits);
        let mut larger = Workspace::<f32>::of(bytemuck::cast_slice_mut(&mut given), &scratch, 9);
        larger.fill(1.0);
        assert_eq!(larger.len(), 9);
        assert_ne!(larger.as_ptr(), place);
        assert!(Workspace::<f32>::of(&mut [], &scratch, 0).is_empty());
    }
}
