//! Pooling: one value from each window, and its inverse.

pub mod indexed;
pub mod nhwc;
pub mod unpool;
pub mod windows;

use crate::tactic::CudaTactic;

/// Best first.
pub const TACTICS: &[&dyn CudaTactic] = &[&nhwc::NHWC, &windows::WINDOWS, &indexed::INDEXED, &unpool::UNPOOL];
