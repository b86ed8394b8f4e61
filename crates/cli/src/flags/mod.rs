//! Flags by group; a command takes the groups that it honours. There is no flag for a feature that does not exist yet.

mod device;
mod json;
mod model;
mod precision;
mod ranges;
mod size;
mod tuning;
mod values;

pub use device::{BackEnds, DeviceFlags, ThreadFlags};
pub use json::JsonFlags;
pub use model::{ModelFlags, Shape};
pub use precision::{Precision, PrecisionFlags};
pub use ranges::{RangeFlags, check_verify_data};
pub use size::{ByteSize, show_bytes};
pub use tuning::TuningFlags;
pub use values::InputFlags;
