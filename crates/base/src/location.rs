//! Where a thing came from: file, node, attribute. Every message to a user carries one.

use std::fmt;
use std::sync::Arc;

/// A place in a source model. Cheap to clone; empty parts are not printed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Location {
    /// The model file.
    pub file: Option<Arc<str>>,
    /// Operator type in the source format, `Conv` say.
    pub operator: Option<Arc<str>>,
    /// Name of the node, or of its first output when the node has none.
    pub node: Option<Arc<str>>,
    /// Attribute or input within the node.
    pub detail: Option<Arc<str>>,
}

impl Location {
    /// A location inside a node.
    pub fn of_node(operator: &str, node: &str) -> Self {
        Self { operator: Some(operator.into()), node: Some(node.into()), ..Self::default() }
    }

    /// The same place, narrowed to an attribute or input.
    #[must_use]
    pub fn with_detail(&self, detail: &str) -> Self {
        Self { detail: Some(detail.into()), ..self.clone() }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        parts.extend(self.file.as_ref().map(|file| file.to_string()));
        match (&self.operator, &self.node) {
            (Some(operator), Some(node)) => parts.push(format!("{operator} node '{node}'")),
            (Some(operator), None) => parts.push(operator.to_string()),
            (None, Some(node)) => parts.push(format!("node '{node}'")),
            (None, None) => {}
        }
        parts.extend(self.detail.as_ref().map(|detail| detail.to_string()));
        if parts.is_empty() { f.write_str("model") } else { f.write_str(&parts.join(", ")) }
    }
}
