//! Operator sets that are newer than any that was known when the table of operators was written.

use sinter_import_onnx::decode::decode_text;
use sinter_import_onnx::{ImportError, ImportOptions, import_model, table};

/// Problems of a model with two nodes of this domain, as text.
fn problems(domain: &str, version: i64, op: &str) -> Vec<String> {
    let text = format!(
        "ir_version: 10 opset_import {{ domain: '{domain}' version: {version} }} graph {{
         node {{ domain: '{domain}' op_type: '{op}' input: 'x' output: 'a' }}
         node {{ domain: '{domain}' op_type: '{op}' input: 'a' output: 'y' }}
         input {{ name: 'x' type {{ tensor_type {{ elem_type: 1 shape {{ dim {{ dim_value: 2 }} }} }} }} }}
         output {{ name: 'y' }} }}"
    );
    let model = decode_text(text.as_bytes()).unwrap();
    match import_model(&model, None, &ImportOptions::default()) {
        Ok(_) => Vec::new(),
        Err(ImportError::Model(problems)) => problems.iter().map(ToString::to_string).collect(),
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn operators_of_a_newer_set_are_not_guessed() {
    for (domain, domain_name, op) in
        [("", "ai.onnx", "Relu"), ("ai.onnx", "ai.onnx", "Relu"), ("com.microsoft", "com.microsoft", "Gelu")]
    {
        let newest = table::newest(if domain == "ai.onnx" { "" } else { domain }).unwrap();
        assert_eq!(problems(domain, newest, op), Vec::<String>::new());
        let later = problems(domain, newest + 1, op);
        // Once, not for every node.
        let [problem] = later.as_slice() else { panic!("{later:?}") };
        for part in
            [op, domain_name, &format!("version {}", newest + 1), &format!("up to {newest}"), "export the model"]
        {
            assert!(problem.contains(part), "{problem} does not say '{part}'");
        }
    }
}

#[test]
fn a_newer_set_that_no_node_uses_does_no_harm() {
    let text = "ir_version: 10 opset_import { version: 17 } opset_import { domain: 'ai.onnx.ml' version: 99 } graph {
         node { op_type: 'Relu' input: 'x' output: 'y' } output { name: 'y' }
         input { name: 'x' type { tensor_type { elem_type: 1 shape { dim { dim_value: 2 } } } } } }";
    let model = decode_text(text.as_bytes()).unwrap();
    assert!(import_model(&model, None, &ImportOptions::default()).is_ok());
}
