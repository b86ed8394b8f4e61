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
fn attributes_functions_and_operator_sets_stand_for_one_value() {
    let alpha = |value: &str| format!("attribute {{ name: 'alpha' f: {value} type: FLOAT }} ");
    let leaky = |attributes: &str| node("LeakyRelu", "x", "y").replace("} ", &format!("{attributes} }} "));
    assert_eq!(problems("", &leaky(&alpha("0.1"))), Vec::<String>::new());
    // Equal values are refused too, and more than two are told once.
    for values in [&["0.1", "0.2"][..], &["0.1", "0.1", "0.1"]] {
        let attributes: String = values.iter().map(|value| alpha(value)).collect();
        refused(&leaky(&attributes), &[&["LeakyRelu node 'y'", "attribute alpha", "more than once"]]);
    }
    let inside = |nodes: &str| {
        let body = format!("g {{ name: 'b' {nodes} output {{ name: 'y' }} }}");
        let branch = |name: &str| format!("attribute {{ name: '{name}' type: GRAPH {body} }} ");
        format!(
            "node {{ op_type: 'If' input: 'c' output: 'y' {} {} }}",
            branch("then_branch"),
            branch("else_branch").replace("f: 0.2", "f: 0.1")
        )
    };
    let nested = problems("", &inside(&leaky(&alpha("0.1").repeat(2))));
    assert_eq!(nested.len(), 1, "{nested:?}");
    let function = |more: &str| {
        format!(
            "functions {{ name: 'F' domain: 'f' input: 'p' output: 'q' opset_import {{ version: 17 }} {more} {} }} ",
            node("Relu", "p", "q")
        )
    };
    let call = node("F", "x", "y").replace("op_type", "domain: 'f' op_type");
    assert_eq!(problems(&function(""), &call), Vec::<String>::new());
    for (functions, word) in [
        (function("").repeat(2), "twice"),
        (function("attribute: 'a' attribute: 'a'"), "attribute a"),
        (function("opset_import { version: 16 }"), "version 17 and in version 16"),
    ] {
        let found = problems(&functions, &call);
        assert!(found.len() == 1 && found[0].contains("function 'F'") && found[0].contains(word), "{found:?}");
    }
    // One operator set, written in both of its spellings.
    assert_eq!(
        problems("opset_import { domain: 'ai.onnx' version: 17 }", &node("Relu", "x", "y")),
        Vec::<String>::new()
    );
    let found = problems("opset_import { domain: 'ai.onnx' version: 11 }", &node("Relu", "x", "y"));
    assert!(found.len() == 1 && found[0].contains("version 17 and in version 11"), "{found:?}");
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
    // A value that is listed twice is still one value.
    assert_eq!((network.weights.len(), network.outputs.len()), (1, 1));
    let shapes = [("w".to_owned(), vec![2])].into();
    let error = import_model(&model, None, &ImportOptions { shapes, ..ImportOptions::default() }).unwrap_err();
    assert!(error.to_string().contains("input 'w': it has a value in the model and is built in"), "{error}");
}

/// One that is named stays an input, with its initializer as the default, dense or sparse.
#[test]
fn runtime_inputs_have_a_default() {
    let dense = "initializer { name: 'w' data_type: 1 dims: 2 float_data: 0 float_data: 2 }";
    let sparse = "sparse_initializer { values { name: 'w' data_type: 1 dims: 1 float_data: 2 }
                  indices { data_type: 7 dims: 1 int64_data: 1 } dims: 2 }";
    let import = |initializer: &str, dim: &str, options: &ImportOptions| {
        let ty = format!("type {{ tensor_type {{ elem_type: 1 shape {{ dim {{ {dim} }} }} }} }}");
        let text = format!(
            "ir_version: 8 opset_import {{ version: 17 }} graph {{
             input {{ name: 'x' {ty} }} input {{ name: 'w' {ty} }} output {{ name: 'y' }} {initializer}
             node {{ op_type: 'Add' input: 'x' input: 'w' output: 'y' }} }}"
        );
        import_model(&decode_text(text.as_bytes()).unwrap(), None, options)
    };
    let named = ImportOptions { runtime_inputs: ["w".into(), "no input".into()].into(), ..ImportOptions::default() };
    for initializer in [dense, sparse] {
        let constant = import(initializer, "dim_param: 'N'", &ImportOptions::default()).unwrap();
        assert_eq!((constant.inputs.len(), constant.weights.len()), (1, 1));
        let network = import(initializer, "dim_param: 'N'", &named).unwrap();
        let [x, w] = network.inputs.as_slice() else { panic!("{} inputs", network.inputs.len()) };
        assert_eq!((x.name.as_str(), w.name.as_str(), network.weights.len()), ("x", "w", 0));
        assert!(x.default.is_none());
        assert_eq!(w.default.as_ref().unwrap().to_floats(), [0.0, 2.0]);
        assert_eq!(network.body.ty(w.value).to_string(), "f32[N]");
    }
    let pinned = ImportOptions { shapes: [("x".to_owned(), vec![3])].into(), ..named.clone() };
    let network = import(dense, "dim_param: 'N'", &pinned).unwrap();
    assert_eq!(
        (network.body.ty(network.inputs[1].value).to_string().as_str(), &network.inputs[1].default),
        ("f32[3]", &None)
    );
    let error = import(dense, "dim_value: 3", &named).unwrap_err().to_string();
    assert!(error.contains("initializer 'w'") && error.contains("f32[2]") && error.contains("f32[3]"), "{error}");
}
