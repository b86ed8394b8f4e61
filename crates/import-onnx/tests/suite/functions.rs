//! Functions of a model.

use sinter_import_onnx::decode::decode_text;
use sinter_import_onnx::{ImportError, ImportOptions, import_model};

/// A graph that is given to a function and refers to the attribute that it is itself.
#[test]
fn graphs_that_name_themselves_are_refused() {
    let branch = |name: &str| format!("attribute {{ name: '{name}' type: GRAPH ref_attr_name: 'body' }}");
    let node = |output: &str| {
        let (then, otherwise) = (branch("then_branch"), branch("else_branch"));
        format!("node {{ op_type: 'If' input: 'c' output: '{output}' {then} {otherwise} }}")
    };
    let text = format!(
        "ir_version: 8 opset_import {{ version: 17 }} opset_import {{ domain: 'f' version: 1 }}
         functions {{ name: 'F' domain: 'f' input: 'c' output: 'y' attribute: 'body' opset_import {{ version: 17 }} {} }}
         graph {{ name: 'g' output {{ name: 'y' }}
           input {{ name: 'c' type {{ tensor_type {{ elem_type: 9 shape {{ }} }} }} }}
           node {{ op_type: 'F' domain: 'f' input: 'c' output: 'y' attribute {{ name: 'body' type: GRAPH
             g {{ name: 'b' {} output {{ name: 'o' }} }} }} }} }}",
        node("y"),
        node("o")
    );
    let model = decode_text(text.as_bytes()).unwrap();
    let Err(ImportError::Model(problems)) = import_model(&model, None, &ImportOptions::default()) else {
        panic!("it was imported");
    };
    assert!(problems[0].reason.contains("the graph body of the function's caller"), "{problems:?}");
}
