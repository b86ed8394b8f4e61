//! The importer reports all problems of a model at once.

use sinter_import_onnx::decode::decode_text;
use sinter_import_onnx::{ImportError, ImportOptions, import_model};

/// Problems of a model over the inputs `x: f32[2]` and `c: bool`, with the output `y`, as text.
pub(crate) fn problems(functions: &str, graph: &str) -> Vec<String> {
    let text = format!(
        "ir_version: 8 opset_import {{ version: 17 }} opset_import {{ domain: 'f' version: 1 }} {functions}
         graph {{ name: 'g' {graph} output {{ name: 'y' }}
           input {{ name: 'x' type {{ tensor_type {{ elem_type: 1 shape {{ dim {{ dim_value: 2 }} }} }} }} }}
           input {{ name: 'c' type {{ tensor_type {{ elem_type: 9 shape {{ }} }} }} }} }}"
    );
    let model = decode_text(text.as_bytes()).unwrap();
    match import_model(&model, None, &ImportOptions::default()) {
        Ok(_) => Vec::new(),
        Err(ImportError::Model(problems)) => problems.iter().map(ToString::to_string).collect(),
        Err(other) => panic!("{other}"),
    }
}

/// A node of one input and one output.
pub(crate) fn node(op: &str, input: &str, output: &str) -> String {
    format!("node {{ op_type: '{op}' input: '{input}' output: '{output}' }} ")
}

/// The operators named `Un...`, none of which exists, that the problems name, in order.
fn missing(functions: &str, graph: &str) -> Vec<String> {
    let found = problems(functions, graph);
    let name = |text: &String| text.split("ai.onnx::").nth(1).map(|rest| rest.split(' ').next().unwrap().to_owned());
    found.iter().filter_map(name).collect()
}

fn branches(then: &str, otherwise: &str, condition: &str) -> String {
    let branch = |name: &str, nodes: &str| {
        format!("attribute {{ name: '{name}' type: GRAPH g {{ name: 'b' {nodes} output {{ name: 'o' }} }} }}")
    };
    let (then, otherwise) = (branch("then_branch", then), branch("else_branch", otherwise));
    format!("node {{ op_type: 'If' input: '{condition}' output: 'y' {then} {otherwise} }}")
}

#[test]
fn operators_that_do_not_exist_are_named_wherever_they_stand() {
    let chain = node("UnA", "x", "a") + &node("Relu", "a", "r") + &node("UnB", "r", "b") + &node("UnC", "b", "y");
    assert_eq!(missing("", &chain), ["UnA", "UnB", "UnC"]);
    let both = branches(&node("UnA", "x", "o"), &node("UnB", "x", "o"), "c");
    assert_eq!(missing("", &both), ["UnA", "UnB"]);
    let behind = branches(&node("UnB", "x", "o"), &node("UnC", "x", "o"), "a");
    assert_eq!(missing("", &(node("UnA", "c", "a") + &behind)), ["UnA", "UnB", "UnC"]);
    let cycle = node("Relu", "b", "a") + &node("UnA", "a", "b") + &node("UnB", "x", "y");
    assert_eq!(missing("", &cycle), ["UnA", "UnB"]);
    // Once, although it is called twice.
    let function = format!(
        "functions {{ name: 'F' domain: 'f' input: 'p' output: 'q' opset_import {{ version: 17 }} {} }}",
        node("UnB", "p", "q")
    );
    let call = |input: &str, output: &str| node("F", input, output).replace("op_type", "domain: 'f' op_type");
    let calls = node("UnA", "x", "a") + &call("a", "b") + &call("b", "y");
    assert_eq!(missing(&function, &calls), ["UnA", "UnB"]);
    // The side of a branch that is never taken is no problem.
    let one = "initializer { name: 'always' data_type: 9 int32_data: 1 } ";
    let taken = branches(&node("Relu", "x", "o"), &node("UnA", "x", "o"), "always");
    assert_eq!(problems("", &(one.to_owned() + &taken)), Vec::<String>::new());
}
