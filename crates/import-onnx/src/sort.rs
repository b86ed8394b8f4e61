//! Execution order of the nodes of a graph, which files need not keep.

use std::collections::{BTreeSet, HashMap};

use crate::proto::{GraphProto, NodeProto};

/// Positions of the nodes in an order that defines every name before its use, as close to the file's order as possible.
///
/// # Errors
/// The positions of nodes that depend on themselves.
pub fn execution_order(nodes: &[NodeProto]) -> Result<Vec<usize>, Vec<usize>> {
    let mut maker: HashMap<&str, usize> = HashMap::new();
    for (position, node) in nodes.iter().enumerate() {
        for name in node.output.iter().filter(|n| !n.is_empty()) {
            maker.entry(name).or_insert(position);
        }
    }
    let mut waiting = vec![0usize; nodes.len()];
    let mut readers: Vec<Vec<usize>> = vec![Vec::new(); nodes.len()];
    for (position, node) in nodes.iter().enumerate() {
        let mut names = BTreeSet::new();
        used_names(node, &mut names);
        let before: BTreeSet<usize> = names.iter().filter_map(|n| maker.get(n).copied()).collect();
        for other in before {
            // A node that reads its own output keeps waiting and is reported below.
            if let (Some(list), Some(count)) = (readers.get_mut(other), waiting.get_mut(position)) {
                list.push(position);
                *count += 1;
            }
        }
    }
    let mut ready: BTreeSet<usize> = waiting.iter().enumerate().filter(|(_, c)| **c == 0).map(|(i, _)| i).collect();
    let mut order = Vec::with_capacity(nodes.len());
    while let Some(next) = ready.pop_first() {
        order.push(next);
        for &reader in readers.get(next).into_iter().flatten() {
            if let Some(count) = waiting.get_mut(reader) {
                *count -= 1;
                if *count == 0 {
                    ready.insert(reader);
                }
            }
        }
    }
    if order.len() == nodes.len() {
        return Ok(order);
    }
    Err(waiting.iter().enumerate().filter(|(_, c)| **c > 0).map(|(i, _)| i).collect())
}

/// All names that a node reads, those that its subgraphs take from outside included.
fn used_names<'a>(node: &'a NodeProto, names: &mut BTreeSet<&'a str>) {
    names.extend(node.input.iter().map(String::as_str).filter(|n| !n.is_empty()));
    for attribute in &node.attribute {
        for graph in attribute.g.iter().chain(&attribute.graphs) {
            free_names(graph, names);
        }
    }
}

fn free_names<'a>(graph: &'a GraphProto, names: &mut BTreeSet<&'a str>) {
    let mut inner = BTreeSet::new();
    for node in &graph.node {
        used_names(node, &mut inner);
    }
    inner.extend(graph.output.iter().map(|o| o.name()));
    let defined = graph.input.iter().map(|i| i.name()).chain(graph.initializer.iter().map(|t| t.name()));
    for name in defined.chain(graph.node.iter().flat_map(|n| n.output.iter().map(String::as_str))) {
        inner.remove(name);
    }
    names.extend(inner);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(inputs: &[&str], outputs: &[&str]) -> NodeProto {
        NodeProto {
            input: inputs.iter().map(ToString::to_string).collect(),
            output: outputs.iter().map(ToString::to_string).collect(),
            ..NodeProto::default()
        }
    }

    #[test]
    fn unsorted_nodes_are_sorted_and_sorted_ones_stay() {
        let nodes = [node(&["b"], &["c"]), node(&["x"], &["a"]), node(&["a"], &["b"])];
        assert_eq!(execution_order(&nodes), Ok(vec![1, 2, 0]));
        assert_eq!(execution_order(&nodes[1..]), Ok(vec![0, 1]));
    }

    #[test]
    fn cycles_are_reported() {
        let nodes = [node(&["x"], &["a"]), node(&["c"], &["b"]), node(&["b"], &["c"]), node(&["d"], &["d"])];
        assert_eq!(execution_order(&nodes), Err(vec![1, 2, 3]));
    }
}
