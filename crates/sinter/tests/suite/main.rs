//! The public interface, used as a program outside this repository would.

mod builder;
mod model;
mod plan;
mod registry;

use sinter::{Model, Tensor, Value};

/// A model of y = relu(x) + x for x of f32, whose dimensions are given in the text form of ONNX.
fn residual(dims: &str) -> Model {
    Model::from_onnx_bytes(text(dims, "Relu")).unwrap()
}

/// The text of such a model, with another operator.
fn text(dims: &str, operator: &str) -> String {
    format!(
        r#"ir_version: 8
        opset_import {{ version: 17 }}
        graph {{
          name: "residual"
          node {{ name: "first" op_type: "{operator}" input: "x" output: "positive" }}
          node {{ name: "sum" op_type: "Add" input: "positive" input: "x" output: "y" }}
          input {{ name: "x" type {{ tensor_type {{ elem_type: 1 shape {{ {dims} }} }} }} }}
          output {{ name: "y" type {{ tensor_type {{ elem_type: 1 }} }} }}
        }}"#
    )
}

/// The dimensions `[N, 3]`.
const BATCH: &str = r#"dim { dim_param: "N" } dim { dim_value: 3 }"#;

/// A tensor of ones.
fn ones(sizes: &[usize]) -> Value {
    Tensor::from_vec(sizes, vec![1.0f32; sizes.iter().product()]).unwrap().into()
}
