//! Problems of a model file.

use std::fmt;
use std::path::PathBuf;

use sinter_base::{Location, one_line};

/// One thing that keeps a model from being imported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where: node, attribute, tensor.
    pub location: Location,
    /// The problem and the expectation.
    pub reason: String,
}

impl Problem {
    /// A problem at this place.
    pub fn new(location: Location, reason: impl Into<String>) -> Self {
        Self { location, reason: reason.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.location, one_line(&self.reason))
    }
}

/// A failed import.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file could not be opened.
    #[error("cannot open {path}: {source}")]
    Open {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The file is no ONNX model.
    #[error("{path} is not a readable ONNX model: {}", one_line(reason))]
    Decode {
        /// The file.
        path: PathBuf,
        /// Where decoding stopped and why.
        reason: String,
    },
    /// The model was read and cannot be imported; all problems at once.
    #[error("{}", list("the model has", .0))]
    Model(Vec<Problem>),
    /// The shapes that the caller asks for do not fit the model's inputs.
    #[error("{}", list("the shapes asked for have", .0))]
    Shapes(Vec<Problem>),
}

fn list(what: &str, problems: &[Problem]) -> String {
    let mut text = match problems.len() {
        1 => format!("{what} a problem:"),
        n => format!("{what} {n} problems:"),
    };
    for problem in problems {
        text.push_str(&format!("\n  {problem}"));
    }
    text
}
