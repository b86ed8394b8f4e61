//! Pooling.
//!
//! [`windows`] walks the windows row by row for [`pooling`]; [`with_indices`] looks at one window after the other;
//! [`unpool`] moves elements back.

pub mod channels_last;
pub mod pooling;
pub mod unpool;
pub mod windows;
pub mod with_indices;

use crate::launch::HostTactic;

/// Best first.
pub const TACTICS: &[&dyn HostTactic] =
    &[&channels_last::CHANNELS_LAST, &pooling::POOL, &with_indices::WITH_INDICES, &unpool::UNPOOL];
