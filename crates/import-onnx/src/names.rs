//! A name stands for one value: what a scope defines twice is refused, for its readers could mean either.
//!
//! An input that is an initializer too is one value with a default. A graph inside a node may define a name of the graph
//! around it once more, although ONNX forbids it: exporters write that, and the inner one is meant.

use std::collections::HashMap;

use sinter_base::Location;

use crate::error::Problem;
use crate::graph::location_of;
use crate::proto::{GraphProto, ModelProto, NodeProto};

/// What is defined twice in any scope of a model.
pub(crate) fn check_names(model: &ModelProto) -> Vec<Problem> {
    let mut problems = Vec::new();
    if let Some(graph) = &model.graph {
        check_graph(graph, &mut problems);
    }
    for function in &model.functions {
        let mut scope = Scope::default();
        for name in &function.input {
            scope.define(name, "input", &Location::default(), &mut problems);
        }
        check_nodes(&function.node, scope, &mut problems);
    }
    problems
}

/// What is defined so far, by name: what it is, and where.
#[derive(Default)]
struct Scope<'m>(HashMap<&'m str, (&'static str, Location)>);

impl<'m> Scope<'m> {
    fn define(&mut self, name: &'m str, what: &'static str, location: &Location, problems: &mut Vec<Problem>) {
        if let Some((other, place)) = self.0.get(name) {
            let place = if *place == Location::default() { String::new() } else { format!(" of {place}") };
            let reason = format!("'{name}' is the name of an {other}{place} already; every value needs its own name");
            problems.push(Problem::new(location.with_detail(&format!("{what} '{name}'")), reason));
        } else {
            self.0.insert(name, (what, location.clone()));
        }
    }
}

fn check_graph(graph: &GraphProto, problems: &mut Vec<Problem>) {
    let (mut scope, mut weights) = (Scope::default(), Scope::default());
    let dense = graph.initializer.iter().map(|tensor| tensor.name());
    let sparse =
        graph.sparse_initializer.iter().filter_map(|sparse| sparse.values.as_ref()).map(|values| values.name());
    for name in dense.chain(sparse).filter(|name| !name.is_empty()) {
        weights.define(name, "initializer", &Location::default(), problems);
    }
    for input in &graph.input {
        scope.define(input.name(), "input", &Location::default(), problems);
    }
    for (name, weight) in weights.0 {
        scope.0.entry(name).or_insert(weight);
    }
    check_nodes(&graph.node, scope, problems);
}

fn check_nodes<'m>(nodes: &'m [NodeProto], mut scope: Scope<'m>, problems: &mut Vec<Problem>) {
    for node in nodes {
        let location = location_of(node);
        for name in node.output.iter().filter(|name| !name.is_empty()) {
            scope.define(name, "output", &location, problems);
        }
        for graph in node.attribute.iter().flat_map(|attribute| attribute.g.iter().chain(&attribute.graphs)) {
            check_graph(graph, problems);
        }
    }
}
