//! Models that contradict themselves.

use sinter_import_onnx::decode::decode_text;
use sinter_import_onnx::{ImportOptions, import_model};

use crate::all_problems::{node, problems};

/// The problems of a graph, of which there are as many as given here, each with these words.
fn refused(graph: &str, words: &[&[&str]]) {
    let found = problems("", graph);
    assert_eq!(found.len(), words.len(), "{found:?}");
    for (problem, words) in found.iter().zip(words) {
        assert!(words.iter().all(|word| problem.contains(word)), "{problem} lacks one of {words:?}");
    }
}

#[test]
fn names_stand_for_one_value() {
    let weight = "initializer { name: 'w' data_type: 1 dims: 2 float_data: 1 float_data: 2 } ";
    let (relu, neg) = (node("Relu", "x", "y"), node("Neg", "x", "y"));
    refused(&(relu.clone() + &neg), &[&["Neg node 'y'", "output 'y'", "output of Relu node 'y'"]]);
    refused(&(relu.clone() + &node("Neg", "c", "x")), &[&["Neg node 'x'", "name of an input"], &["Neg node 'x'"]]);
    refused(&(weight.to_owned() + &relu + &node("Neg", "x", "w")), &[&["Neg node 'w'", "name of an initializer"]]);
    refused(&(weight.repeat(2) + &relu), &[&["initializer 'w'", "name of an initializer"]]);
    let input = "input { name: 'x' type { tensor_type { elem_type: 1 shape { dim { dim_value: 2 } } } } } ";
    refused(&(input.to_owned() + &relu), &[&["input 'x'", "name of an input"]]);
    // An initializer gives an input its value, and a body may use a name again.
    let same = weight.replace("'w'", "'x'");
    assert_eq!(problems("", &(same + &relu)), Vec::<String>::new());
    let branch = |name: &str, nodes: &str| {
        format!("attribute {{ name: '{name}' type: GRAPH g {{ name: 'b' {nodes} output {{ name: 'o' }} }} }} ")
    };
    let twice = node("Relu", "x", "o") + &node("Neg", "x", "o");
    let choice = |then: &str| {
        let branches = branch("then_branch", then) + &branch("else_branch", &node("Neg", "r", "o"));
        format!("{} node {{ op_type: 'If' input: 'c' output: 'y' {branches} }}", node("Relu", "x", "r"))
    };
    assert_eq!(problems("", &choice(&(node("Neg", "x", "r") + &node("Relu", "r", "o")))), Vec::<String>::new());
    refused(&choice(&twice), &[&["Neg node 'o'", "output of Relu node 'o'"]]);
}

#[test]
fn declared_element_types_are_those_of_the_values() {
    let declared = |elements: i32| {
        let shape = "shape { dim { dim_value: 7 } }";
        format!(
            "{} output {{ name: 'z' type {{ tensor_type {{ elem_type: {elements} {shape} }} }} }} {}",
            node("Relu", "x", "y"),
            node("Neg", "x", "z")
        )
    };
    // The sizes are those of the nodes.
    assert_eq!(problems("", &declared(1)), Vec::<String>::new());
    refused(&declared(7), &[&["output 'z'", "declares", "i64", "f32"]]);
}

/// Exporters that list every weight as an input are many: such an input is a weight.
#[test]
fn inputs_with_an_initializer_are_constants() {
    let ty = "type { tensor_type { elem_type: 1 shape { dim { dim_value: 2 } } } }";
    let text = format!(
        "ir_version: 8 opset_import {{ version: 17 }} graph {{
         input {{ name: 'x' {ty} }} input {{ name: 'w' {ty} }} output {{ name: 'y' }} output {{ name: 'y' }}
         initializer {{ name: 'w' data_type: 1 dims: 2 float_data: 1 float_data: 2 }}
         node {{ op_type: 'Add' input: 'x' input: 'w' output: 'y' }} }}"
    );
    let model = decode_text(text.as_bytes()).unwrap();
    let network = import_model(&model, None, &ImportOptions::default()).unwrap();
    assert_eq!(network.inputs.iter().map(|input| input.name.as_str()).collect::<Vec<_>>(), ["x"]);
    // Listed twice, it is one all the same.
    assert_eq!((network.weights.len(), network.outputs.len()), (1, 1));
    let shapes = [("w".to_owned(), vec![2])].into();
    let error = import_model(&model, None, &ImportOptions { shapes, ..ImportOptions::default() }).unwrap_err();
    assert!(error.to_string().contains("input 'w': it has a value in the model and is built in"), "{error}");
}
