//! The scratch memory of one launch.

use std::ops::{Deref, DerefMut};

use bytemuck::Pod;

use crate::launch::rooms::{Room, Rooms};

/// Scratch memory for a number of elements, contents unspecified: what the launch was given, or memory of the context
/// where that is smaller, as it is where sizes are known only during the run.
pub enum Workspace<'w, T: Pod> {
    /// What the launch was given.
    Given(&'w mut [T]),
    /// Memory of the context.
    Taken(Room<'w, T>),
}

impl<'w, T: Pod> Workspace<'w, T> {
    /// Scratch memory for `length` elements.
    ///
    /// # Panics
    /// When more memory is needed than is allowed; see [`Rooms::take`].
    pub fn of(given: &'w mut [u8], rooms: &'w Rooms, length: usize) -> Self {
        let bytes = length.saturating_mul(size_of::<T>());
        match bytemuck::try_cast_slice_mut(given.get_mut(..bytes).unwrap_or_default()) {
            Ok(elements) if elements.len() == length => Self::Given(elements),
            _ => Self::Taken(rooms.take(length)),
        }
    }
}

impl<T: Pod> Deref for Workspace<'_, T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match self {
            Self::Given(elements) => elements,
            Self::Taken(room) => room,
        }
    }
}

impl<T: Pod> DerefMut for Workspace<'_, T> {
    fn deref_mut(&mut self) -> &mut [T] {
        match self {
            Self::Given(elements) => elements,
            Self::Taken(room) => room,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workspace_that_is_too_small_is_not_used() {
        let rooms = Rooms::default();
        let mut given = [0u64; 4];
        let place = given.as_ptr().cast::<f32>();
        let fits = Workspace::<f32>::of(bytemuck::cast_slice_mut(&mut given), &rooms, 8);
        assert_eq!((fits.as_ptr(), fits.len()), (place, 8));
        drop(fits);
        let mut larger = Workspace::<f32>::of(bytemuck::cast_slice_mut(&mut given), &rooms, 9);
        larger.fill(1.0);
        assert_eq!(larger.len(), 9);
        assert_ne!(larger.as_ptr(), place);
        assert!(Workspace::<f32>::of(&mut [], &rooms, 0).is_empty());
    }
}
