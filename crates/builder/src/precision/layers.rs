//! The nodes that a layer precision names.

use std::collections::BTreeSet;

use sinter_base::{DataType, Location};
use sinter_ir::{Graph, Network};

use crate::precision::assign::{Assignment, Decision, Fixed, FixedNodes};
use crate::precision::error::PrecisionError;
use crate::precision::request::{Precision, PrecisionOptions};

/// Names that an error lists.
const MOST_NEAR: usize = 5;

/// The names of a node: its own, and those of nodes merged into it.
fn names(location: &Location) -> impl Iterator<Item = &str> {
    let others = location.others.iter().flat_map(|others| others.iter());
    std::iter::once(location).chain(others).filter_map(|location| location.node.as_deref())
}

/// Is the text this pattern, in which `*` stands for any text?
fn matches(pattern: &str, text: &str) -> bool {
    let Some((head, tail)) = pattern.split_once('*') else { return pattern == text };
    let Some(rest) = text.strip_prefix(head) else { return false };
    let ends = rest.char_indices().map(|(at, _)| at).chain([rest.len()]);
    ends.into_iter().any(|at| matches(tail, rest.get(at..).unwrap_or_default()))
}

/// The number of letters to insert, remove or exchange (Levenshtein 1966).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut next = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let exchanged = row[j] + usize::from(x != *y);
            next.push(exchanged.min(row[j + 1] + 1).min(next[j] + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

/// Names like one that does not exist.
fn near(name: &str, known: &BTreeSet<&str>) -> Vec<String> {
    let lower = name.to_lowercase();
    let rank = |other: &&str| {
        let text = other.to_lowercase();
        let contains = text.contains(lower.trim_matches('*')) || lower.contains(&text);
        (!contains, distance(&lower, &text))
    };
    let mut near: Vec<&str> = known.iter().copied().collect();
    near.retain(|other| {
        let (differs, distance) = rank(other);
        !differs || distance * 2 <= name.chars().count().max(2)
    });
    near.sort_by_key(rank);
    near.into_iter().take(MOST_NEAR).map(str::to_owned).collect()
}

/// The positions of the nodes that a name or pattern means; `None` where the model has no such name. A node that the passes
/// removed has no position.
fn named(imported: &Network, network: &Network, graph: &Graph<'_>, pattern: &str) -> Option<BTreeSet<usize>> {
    let is_meant = |location: &Location| names(location).any(|name| matches(pattern, name));
    let mut positions: BTreeSet<usize> =
        network.locations.iter().enumerate().filter(|(_, location)| is_meant(location)).map(|(at, _)| at).collect();
    let outputs: Vec<_> = network.outputs.iter().filter(|output| matches(pattern, &output.name)).collect();
    positions.extend(outputs.iter().filter_map(|output| graph.producer_position(output.value)));
    let is_known = !positions.is_empty() || !outputs.is_empty() || imported.locations.iter().any(is_meant);
    is_known.then_some(positions)
}

/// What layer precisions fix in a network, which the passes made of the imported one.
///
/// # Errors
/// Names that the model does not have.
pub(super) fn fixed_nodes(
    imported: &Network,
    network: &Network,
    options: &PrecisionOptions,
) -> Result<FixedNodes, PrecisionError> {
    let graph = Graph::of_network(network);
    let mut fixed = FixedNodes::new();
    for (name, precision) in &options.layers {
        let Some(positions) = named(imported, network, &graph, name) else {
            let locations = imported.locations.iter().flat_map(names);
            let known = locations.chain(network.outputs.iter().map(|output| output.name.as_str())).collect();
            return Err(PrecisionError::UnknownLayer {
                name: name.clone(),
                precision: *precision,
                near: near(name, &known),
            });
        };
        for position in positions {
            let reason = format!("the layer precision of '{name}' is {precision}");
            fixed.insert(position, Fixed { storage: precision.storage(), reason, is_range: false });
        }
    }
    Ok(fixed)
}

/// Is every layer precision obeyed? One for a name is, if it is for one of the operators that the name stands for.
///
/// # Errors
/// A name none of whose operators has such a form.
pub(super) fn check_obeyed(
    imported: &Network,
    network: &Network,
    options: &PrecisionOptions,
    assignment: &Assignment,
) -> Result<(), PrecisionError> {
    let graph = Graph::of_network(network);
    for (index, (name, precision)) in options.layers.iter().enumerate() {
        if *precision == Precision::Fp32 {
            continue;
        }
        let mut positions = named(imported, network, &graph, name).unwrap_or_default();
        for (later, _) in options.layers.iter().skip(index + 1) {
            let others = named(imported, network, &graph, later).unwrap_or_default();
            positions.retain(|position| !others.contains(position));
        }
        let is_narrow = |position: &usize| match assignment.decisions.get(*position) {
            Some(Decision::Narrow(_, data_type)) => *data_type == precision.storage(),
            Some(Decision::Program(types)) => types.iter().flatten().any(|t| *t == precision.storage()),
            _ => false,
        };
        let Some(first) = positions.first().filter(|_| !positions.iter().any(is_narrow)) else { continue };
        let reason = assignment.kept.get(first).cloned();
        return Err(PrecisionError::NoForm {
            name: name.clone(),
            precision: *precision,
            node: network.locations.get(*first).map_or_else(String::new, ToString::to_string),
            reason: reason.unwrap_or_else(|| format!("it computes no {}", DataType::F32)),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_any_text() {
        for (pattern, text, expected) in [
            ("conv1", "conv1", true),
            ("conv1", "conv10", false),
            ("conv*", "conv10", true),
            ("*/norm/*", "/layer.0/norm/Mul", true),
            ("*/norm/*", "/layer.0/norm", false),
            ("a*b*c", "a-b-b-c", true),
            ("*", "", true),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn near_names_come_first() {
        let known = BTreeSet::from(["conv1", "conv2", "relu", "layer/conv1/bias"]);
        assert_eq!(near("conv_1", &known), ["conv1", "conv2"]);
        assert_eq!(near("CONV1", &known)[0], "conv1");
        assert!(near("softmax", &known).is_empty());
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
