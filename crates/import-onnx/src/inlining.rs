//! Counts the nodes of a model with all functions inlined, before the importer inlines any: in a chain of functions,
//! each of which calls the next twice, the count grows exponentially.

use std::collections::HashMap;

use crate::error::Problem;
use crate::graph::{domain_of, location_of};
use crate::proto::{FunctionProto, GraphProto, NodeProto};

/// Functions calling functions deeper than this are refused: they would be recursive.
const MAX_DEPTH: usize = 64;

/// As many nodes may come of inlining in any model,
const FREE_NODES: usize = 100_000;

/// and for each node that is written, so many more.
const NODES_EACH: usize = 100;

/// Domain, name and overload.
pub(crate) type Key<'m> = (&'m str, &'m str, &'m str);

/// The functions of a model.
pub(crate) type Functions<'m> = HashMap<Key<'m>, &'m FunctionProto>;

/// The function that a node calls, if the model has one of that name.
pub(crate) fn key_of(node: &NodeProto) -> Key<'_> {
    (domain_of(node.domain()), node.op_type(), node.overload())
}

/// The size of some nodes after inlining.
#[derive(Clone, Copy, Default)]
struct Size {
    /// Nodes after inlining, calls counted too.
    nodes: usize,
    /// Calls within calls.
    levels: usize,
}

#[derive(Default)]
struct Count<'m> {
    functions: Functions<'m>,
    known: HashMap<Key<'m>, Size>,
}

impl<'m> Count<'m> {
    fn of(&mut self, nodes: &'m [NodeProto], depth: usize) -> Result<Size, Problem> {
        let mut all = Size::default();
        for node in nodes {
            let graphs = node.attribute.iter().flat_map(|attribute| attribute.g.iter().chain(&attribute.graphs));
            let mut parts = graphs.map(|graph| self.of(&graph.node, depth)).collect::<Result<Vec<Size>, _>>()?;
            if let Some(function) = self.functions.get(&key_of(node)).copied() {
                parts.push(self.of_call(function, node, depth + 1)?);
            }
            all.nodes = parts.iter().fold(all.nodes.saturating_add(1), |sum, part| sum.saturating_add(part.nodes));
            all.levels = parts.iter().fold(all.levels, |most, part| most.max(part.levels));
        }
        Ok(all)
    }

    fn of_call(&mut self, function: &'m FunctionProto, call: &'m NodeProto, depth: usize) -> Result<Size, Problem> {
        let known = self.known.get(&key_of(call)).copied();
        // The call itself is counted by both.
        if depth + known.map_or(1, |size| size.levels) > MAX_DEPTH + 1 {
            let reason = format!("function '{}' calls functions deeper than {MAX_DEPTH}", function.name());
            return Err(Problem::new(location_of(call), reason));
        }
        if let Some(known) = known {
            return Ok(known);
        }
        let body = self.of(&function.node, depth)?;
        let size = Size { levels: body.levels + 1, ..body };
        self.known.insert(key_of(call), size);
        Ok(size)
    }
}

/// Refuses models that inlining would make much larger than they are written.
///
/// # Errors
/// When there would be too many nodes, or functions call each other without end.
pub(crate) fn check_inlining<'m>(graph: &'m GraphProto, functions: &Functions<'m>) -> Result<(), Problem> {
    let mut as_written = Count::default();
    let mut written = as_written.of(&graph.node, 0)?.nodes;
    for function in functions.values() {
        written = written.saturating_add(as_written.of(&function.node, 0)?.nodes);
    }
    let mut inlined = Count { functions: functions.clone(), ..Count::default() };
    let most = written.saturating_mul(NODES_EACH).saturating_add(FREE_NODES);
    let mut nodes: usize = 0;
    for node in &graph.node {
        nodes = nodes.saturating_add(inlined.of(std::slice::from_ref(node), 0)?.nodes);
        if nodes > most {
            let reason = format!(
                "up to here, inlining functions makes {nodes} nodes of the {written} that the model writes; {most} are \
                 allowed"
            );
            return Err(Problem::new(location_of(node), reason));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{ModelProto, OperatorSetIdProto};
    use crate::{ImportError, ImportOptions, import_model};

    fn node(op_type: &str, input: &str, output: &str) -> NodeProto {
        let domain = if op_type.starts_with('F') { "f" } else { "" };
        NodeProto {
            op_type: Some(op_type.to_owned()),
            domain: Some(domain.to_owned()),
            input: vec![input.to_owned()],
            output: vec![output.to_owned()],
            ..NodeProto::default()
        }
    }

    /// `F<name>` calls these in a row.
    fn function(name: usize, calls: &[&str]) -> FunctionProto {
        let step = |i: usize| if i == 0 { "x".to_owned() } else { format!("v{i}") };
        FunctionProto {
            name: Some(format!("F{name}")),
            domain: Some("f".to_owned()),
            input: vec!["x".to_owned()],
            output: vec![step(calls.len())],
            node: calls.iter().enumerate().map(|(i, call)| node(call, &step(i), &step(i + 1))).collect(),
            ..FunctionProto::default()
        }
    }

    fn problem(functions: Vec<FunctionProto>, calls: &str) -> Option<String> {
        let opset =
            |domain: &str, version| OperatorSetIdProto { domain: Some(domain.to_owned()), version: Some(version) };
        let text = "ir_version: 8 graph { input { name: 'x' type { tensor_type { elem_type: 1
            shape { dim { dim_value: 2 } } } } } output { name: 'y' } }";
        let mut model: ModelProto = crate::decode::decode_text(text.as_bytes()).unwrap();
        model.opset_import = vec![opset("", 17), opset("f", 1)];
        model.functions = functions;
        model.graph.as_mut().unwrap().node = vec![node(calls, "x", "y")];
        match import_model(&model, None, &ImportOptions::default()) {
            Ok(_) => None,
            Err(ImportError::Model(problems)) => {
                assert_eq!(problems.len(), 1, "{problems:?}");
                Some(problems[0].to_string())
            }
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn functions_that_double_are_counted_not_inlined() {
        let mut functions = vec![function(0, &["Relu"])];
        functions.extend((1..60).map(|i| function(i, &[&format!("F{}", i - 1), &format!("F{}", i - 1)])));
        // 3 * 2^n - 2 nodes in function n, and the call.
        assert_eq!(problem(functions.clone(), "F10"), None);
        let text = problem(functions.clone(), "F20").unwrap();
        assert!(text.contains("makes 3145727 nodes of the 120"), "{text}");
        let text = problem(functions, "F59").unwrap();
        assert!(text.contains("F59") && text.contains("112000 are allowed"), "{text}");
    }

    #[test]
    fn functions_that_call_themselves_are_refused() {
        for calls in [&["F0"][..], &["F0", "F0"], &["Relu", "F1"]] {
            let functions = vec![function(0, calls), function(1, &["F0", "F0"])];
            let text = problem(functions, "F0").unwrap();
            assert!(text.contains("calls functions deeper than 64"), "{text}");
        }
    }

    #[test]
    fn long_chains_are_refused_from_wherever_they_are_called() {
        let mut functions = vec![function(0, &["Relu"])];
        functions.extend((1..70).map(|i| function(i, &[&format!("F{}", i - 1)])));
        // Function 63 is known, and found again too deep.
        functions.push(function(70, &["F62", "F63"]));
        assert_eq!(problem(functions.clone(), "F63"), None);
        assert!(problem(functions.clone(), "F64").is_some());
        assert!(problem(functions, "F70").is_some());
    }
}
