//! Machine code of kernels: the builder compiles it, the device loads it. A plan carries it as plain bytes.

use bytes::Bytes;

/// Compiled code of a recipe for a region, for example a module of a device. Only the back end that compiled it reads
/// it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Code(pub Bytes);
