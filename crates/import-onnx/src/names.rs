//! Refuses names that a scope defines twice, because their readers are ambiguous.
//!
//! An input that is an initializer too is one value with a default. A graph inside a node may define a name of the
//! graph around it once more, although ONNX forbids it: exporters write such models, and mean the inner definition. The
//! same holds for attributes of a node, functions of a model, and versions of an operator set.

use std::collections::{HashMap, HashSet};

use sinter_base::Location;

use crate::error::Problem;
use crate::graph::{domain_of, location_of};
use crate::proto::{GraphProto, ModelProto, NodeProto, OperatorSetIdProto};

/// Names that a scope of the model defines twice.
pub(crate) fn check_names(model: &ModelProto) -> Vec<Problem> {
    let mut problems = Vec::new();
    if let Some(graph) = &model.graph {
        check_graph(graph, &mut problems);
    }
    check_versions(&model.opset_import, &Location::default(), &mut problems);
    let mut functions = HashSet::new();
    for function in &model.functions {
        let location = Location::default().with_detail(&format!("function '{}'", function.name()));
        if !functions.insert((domain_of(function.domain()), function.name(), function.overload())) {
            let reason = "the model defines it twice, and its callers could mean either";
            problems.push(Problem::new(location.clone(), reason));
        }
        check_versions(&function.opset_import, &location, &mut problems);
        let named = function.attribute.iter().map(String::as_str);
        let with_default = function.attribute_proto.iter().map(|attribute| attribute.name());
        check_attributes(named.chain(with_default), &location, &mut problems);
        let mut scope = Scope::default();
        for name in &function.input {
            scope.define(name, "input", &Location::default(), &mut problems);
        }
        check_nodes(&function.node, scope, &mut problems);
    }
    problems
}

fn check_versions(sets: &[OperatorSetIdProto], location: &Location, problems: &mut Vec<Problem>) {
    let mut versions = HashMap::new();
    for set in sets {
        let (domain, version) = (domain_of(set.domain()), set.version());
        let first = *versions.entry(domain).or_insert(version);
        if first != version {
            let domain_name = if domain.is_empty() { "ai.onnx" } else { domain };
            let reason = format!(
                "operator set {domain_name} is imported in version {first} and in version {version}; leave one"
            );
            problems.push(Problem::new(location.clone(), reason));
        }
    }
}

fn check_attributes<'m>(names: impl Iterator<Item = &'m str>, location: &Location, problems: &mut Vec<Problem>) {
    let (mut known, mut told) = (HashSet::new(), HashSet::new());
    for name in names {
        if !known.insert(name) && told.insert(name) {
            let reason = format!("attribute {name} is given more than once; leave one");
            problems.push(Problem::new(location.clone(), reason));
        }
    }
}

/// The kind and the location of each definition so far, by name.
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
        check_attributes(node.attribute.iter().map(|attribute| attribute.name()), &location, problems);
        for name in node.output.iter().filter(|name| !name.is_empty()) {
            scope.define(name, "output", &location, problems);
        }
        for graph in node.attribute.iter().flat_map(|attribute| attribute.g.iter().chain(&attribute.graphs)) {
            check_graph(graph, problems);
        }
    }
}
