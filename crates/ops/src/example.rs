//! Example problems: an operator with inputs, used by conformance, benchmarks and the page of operators.

use sinter_base::{DataType, Tensor, Value};

use crate::catalog::Op;

/// One problem.
#[derive(Clone, Debug)]
pub struct Example {
    /// Its special property, in a few words.
    pub name: &'static str,
    /// The operator with its attributes.
    pub op: Op,
    /// Its inputs in order.
    pub inputs: Vec<ExampleInput>,
}

/// One input of a problem.
#[derive(Clone, Debug)]
pub enum ExampleInput {
    /// Left out.
    Absent,
    /// Exactly this value.
    Value(Value),
    /// Random elements, uniform in `low..=high`.
    Uniform {
        /// Element type.
        data_type: DataType,
        /// Sizes.
        sizes: Vec<usize>,
        /// Smallest element.
        low: f64,
        /// Largest element.
        high: f64,
    },
}

impl Example {
    /// A problem without inputs yet.
    pub fn new(name: &'static str, op: impl Into<Op>) -> Self {
        Self { name, op: op.into(), inputs: Vec::new() }
    }

    /// Adds a random f32 input, uniform in [-1, 1].
    #[must_use]
    pub fn float(self, sizes: &[usize]) -> Self {
        self.uniform(DataType::F32, sizes, -1.0, 1.0)
    }

    /// Adds a random input, uniform in `low..=high`.
    #[must_use]
    pub fn uniform(mut self, data_type: DataType, sizes: &[usize], low: f64, high: f64) -> Self {
        self.inputs.push(ExampleInput::Uniform { data_type, sizes: sizes.to_vec(), low, high });
        self
    }

    /// Adds exactly this tensor.
    #[must_use]
    pub fn tensor(self, tensor: Tensor) -> Self {
        self.value(Value::Tensor(tensor))
    }

    /// Adds exactly this value.
    #[must_use]
    pub fn value(mut self, value: Value) -> Self {
        self.inputs.push(ExampleInput::Value(value));
        self
    }

    /// Adds a one-dimensional i64 input: axes, sizes, indices.
    #[must_use]
    pub fn ints(self, values: &[i64]) -> Self {
        self.tensor(Tensor::of_i64(values))
    }

    /// Leaves an input out.
    #[must_use]
    pub fn absent(mut self) -> Self {
        self.inputs.push(ExampleInput::Absent);
        self
    }

    /// The inputs as values; random ones drawn from a stream of this seed.
    ///
    /// # Panics
    /// When an example declares a string input as random, which is an error in its table.
    pub fn values(&self, seed: u64) -> Vec<Option<Value>> {
        let mut state = seed;
        let mut next = move || {
            // splitmix64 (Steele, Lea, Flood 2014).
            state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
        };
        self.inputs
            .iter()
            .map(|input| match input {
                ExampleInput::Absent => None,
                ExampleInput::Value(value) => Some(value.clone()),
                ExampleInput::Uniform { data_type, sizes, low, high } => {
                    let count = sizes.iter().product();
                    let integer = !data_type.is_float();
                    let draw =
                        |u: f64| if integer { (low + u * (high - low + 1.0)).floor() } else { low + u * (high - low) };
                    let elements: Vec<f64> = (0..count).map(|_| draw(next())).collect();
                    let tensor = Tensor::from_floats(*data_type, sizes, &elements);
                    Some(Value::Tensor(tensor.expect("an example of a numeric type with few elements")))
                }
            })
            .collect()
    }
}
