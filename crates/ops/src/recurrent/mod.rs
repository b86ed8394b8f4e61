//! Recurrent layers over whole sequences.

pub mod activation;
pub mod gru;
pub mod lstm;
pub mod recurrence;
pub mod rnn;

pub use activation::Activation;
pub use gru::Gru;
pub use lstm::Lstm;
pub use recurrence::{Direction, Recurrence};
pub use rnn::Rnn;
