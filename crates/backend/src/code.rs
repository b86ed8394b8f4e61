//! Machine code of kernels: compiled when a plan is built, loaded when it is opened. A plan carries it as plain bytes.

use bytes::Bytes;

/// What a back end's compiler made of a recipe and a region: a module for a device, say. Only that back end reads it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Code(pub Bytes);
