//! The CUDA driver and the run-time compiler behind safe, typed functions: the only place with foreign functions.
//!
//! The `cudarc` crate declares the foreign functions and loads the libraries when they are first called. It panics where
//! a library is missing, so [`library`] asks for each library first, and every object here can only be made behind its
//! answer. Objects keep the context alive that they belong to, and every function makes it current on its thread.
//!
//! A launched kernel can write to any memory of this process on the device, and to no memory of the host but the pinned
//! buffers here, which the host reads as plain bytes. So a wrong kernel gives wrong results or a lost device, and no
//! undefined behaviour of the host.
#![allow(unsafe_code, reason = "foreign functions of the driver and of the run-time compiler")]

pub mod compiler;
pub mod context;
pub mod error;
pub mod event;
pub mod graph;
pub mod library;
pub mod memory;
pub mod module;
pub mod pinned;
pub mod staging;
pub mod stream;
pub mod tensor_map;

pub use compiler::{Compiled, compile};
pub use context::{Context, DeviceInfo};
pub use error::DriverError;
pub use event::Event;
pub use graph::Graph;
pub use memory::{DeviceBuffer, Pool};
pub use module::{Cooperation, Function, Geometry, Module};
pub use pinned::{FaultWord, Pinned};
pub use staging::Staging;
pub use stream::Stream;
pub use tensor_map::TensorMap;
