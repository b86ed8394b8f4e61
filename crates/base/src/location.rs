//! Source locations: file, node, attribute. Every message to a user contains one.

use std::fmt;
use std::sync::Arc;

use crate::one_line::one_line;

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
    /// Other locations whose nodes were merged into this one.
    pub others: Option<Arc<Vec<Location>>>,
}

impl Location {
    /// A location inside a node.
    pub fn of_node(operator: &str, node: &str) -> Self {
        Self { operator: Some(operator.into()), node: Some(node.into()), ..Self::default() }
    }

    /// Merges locations: the first one leads, and every other distinct one is kept.
    #[must_use]
    pub fn merged<'a>(places: impl IntoIterator<Item = &'a Location>) -> Self {
        let mut all: Vec<Location> = Vec::new();
        for place in places {
            let alone = Self { others: None, ..place.clone() };
            for place in std::iter::once(&alone).chain(place.others.iter().flat_map(|others| others.iter())) {
                if *place != Self::default() && !all.contains(place) {
                    all.push(place.clone());
                }
            }
        }
        let mut all = all.into_iter();
        let first = all.next().unwrap_or_default();
        let others: Vec<Location> = all.collect();
        Self { others: (!others.is_empty()).then(|| Arc::new(others)), ..first }
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
        if parts.is_empty() {
            f.write_str("model")?
        } else {
            f.write_str(&one_line(&parts.join(", ")))?
        }
        for other in self.others.iter().flat_map(|others| others.iter()) {
            write!(f, " + {other}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merging_keeps_every_place_once() {
        let (a, b, c) = (Location::of_node("Conv", "a"), Location::of_node("Mul", "b"), Location::of_node("Add", "c"));
        let ab = Location::merged([&a, &b]);
        assert_eq!(ab.to_string(), "Conv node 'a' + Mul node 'b'");
        assert_eq!(Location::merged([&ab, &a, &c]).to_string(), "Conv node 'a' + Mul node 'b' + Add node 'c'");
        assert_eq!(Location::merged([&Location::default(), &c]), c);
        assert_eq!(Location::merged([]), Location::default());
    }

    #[test]
    fn names_stay_in_their_line() {
        let place = Location { file: Some("a\nb.onnx".into()), ..Location::of_node("Conv", "c\nerror: d") };
        let other = Location::of_node("Mul", "e\r").with_detail("f\x1b");
        let text = Location::merged([&place, &other]).to_string();
        assert_eq!(text, r"a\nb.onnx, Conv node 'c\nerror: d' + Mul node 'e\r', f\u{1b}");
    }
}
