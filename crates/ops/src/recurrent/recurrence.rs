//! Common parts of all recurrent layers: directions, layouts, types, and the loop over the steps.
//!
//! Inputs: x [T, B, I]; w [D, G H, I]; r [D, G H, H]; bias [D, 2 G H] (of w, then of r), optional; sequence lengths
//! [B] i32, optional; initial states [D, B, H], optional. Results: y [T, D, B, H]; last states [D, B, H]. With
//! `batch_first` x is [B, T, I], states are [B, D, H] and y is [B, T, D, H]. A sequence shorter than T ends after its
//! own length: the rest of y is 0, and the last state is that of its own last step. D is 2 for both directions, else 1.

use sinter_base::{Attributes, DataType, Dim, Tensor, Value, ValueType};

use crate::error::{EvalError, InferError};
use crate::infer::InferContext;
use crate::invalid;
use crate::operands::{Arguments, Operands};
use crate::operator::Cost;
use crate::recurrent::activation::Activation;

/// The order in which the steps are walked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Attributes)]
pub enum Direction {
    /// First to last.
    #[default]
    Forward,
    /// Last to first.
    Reverse,
    /// Both, with weights of their own.
    Both,
}

impl Direction {
    /// Number of directions.
    pub fn count(self) -> usize {
        if self == Direction::Both { 2 } else { 1 }
    }
}

/// Attributes that all recurrent layers share.
#[derive(Clone, Debug, PartialEq, Attributes)]
pub struct Recurrence {
    /// Order of the steps.
    pub direction: Direction,
    /// The batch axis stands in front of the step axis.
    pub batch_first: bool,
    /// Arguments of activations are limited to [-clip, clip].
    pub clip: Option<f64>,
    /// Activations of one cell, for each direction.
    pub activations: Vec<Activation>,
}

/// Positions of the inputs.
const X: usize = 0;
const W: usize = 1;
const R: usize = 2;
const BIAS: usize = 3;
const LENGTHS: usize = 4;
/// Position of the first initial state.
pub const STATE: usize = 5;

/// Inputs of a recurrent layer as numbers.
pub struct Cells {
    hidden: usize,
    gates: usize,
    r: Vec<f64>,
    bias: Vec<f64>,
    /// Activations with their clipping, per direction.
    activations: Vec<Vec<Activation>>,
    clip: Option<f64>,
}

impl Cells {
    /// Number of hidden units.
    pub fn hidden(&self) -> usize {
        self.hidden
    }

    /// Row `unit` of the recurrence matrix of a gate times a state.
    pub fn recurrent(&self, direction: usize, gate: usize, unit: usize, state: &[f64]) -> f64 {
        let row = ((direction * self.gates + gate) * self.hidden + unit) * self.hidden;
        self.r[row..row + self.hidden].iter().zip(state).map(|(r, h)| r * h).sum()
    }

    /// Bias beside the recurrence matrix.
    pub fn recurrent_bias(&self, direction: usize, gate: usize, unit: usize) -> f64 {
        self.bias_at(direction, self.gates + gate, unit)
    }

    fn bias_at(&self, direction: usize, row: usize, unit: usize) -> f64 {
        let at = (direction * 2 * self.gates + row) * self.hidden + unit;
        self.bias.get(at).copied().unwrap_or(0.0)
    }

    /// An activation of the cell, after clipping its argument.
    pub fn activate(&self, direction: usize, which: usize, x: f64) -> f64 {
        let x = self.clip.map_or(x, |clip| x.clamp(-clip, clip));
        self.activations[direction][which].evaluate(x)
    }
}

/// One step of a cell: direction, `w x + bias` of every gate and unit, states to update in place.
pub type Cell<'c> = dyn Fn(&Cells, usize, &[f64], &mut [Vec<f64>]) + 'c;

impl Recurrence {
    /// Forward, steps in front, no clipping.
    pub fn forward(activations: &[Activation]) -> Self {
        let activations = activations.to_vec();
        Self { direction: Direction::Forward, batch_first: false, clip: None, activations }
    }

    /// Both directions with the same activations.
    #[must_use]
    pub fn both_ways(mut self) -> Self {
        self.direction = Direction::Both;
        self.activations.extend_from_within(..);
        self
    }

    /// Types of the results: y, then the last states.
    ///
    /// # Errors
    /// When inputs or attributes contradict each other.
    pub fn infer(
        &self,
        inputs: &Operands<'_>,
        gates: usize,
        states: usize,
        functions: usize,
        cx: &mut InferContext,
    ) -> Result<Vec<ValueType>, InferError> {
        let data_type = inputs.data_type_where(X, "a float type", DataType::is_float)?;
        for index in [W, R, BIAS].into_iter().chain(STATE..inputs.len()) {
            if inputs.has(index) {
                inputs.data_type_where(index, &data_type.to_string(), |t| t == data_type)?;
            }
        }
        let directions = self.direction.count();
        if self.activations.len() != directions * functions {
            let given = self.activations.len();
            invalid!("{given} activations for {directions} directions of {functions} each");
        }
        if self.clip.is_some_and(|clip| clip.is_nan() || clip < 0.0) {
            invalid!("clip is {:?}", self.clip);
        }
        let x = inputs.dims_of_rank(X, 3)?;
        let (w, r) = (inputs.dims_of_rank(W, 3)?, inputs.dims_of_rank(R, 3)?);
        let (steps, batch) = if self.batch_first { (&x[1], &x[0]) } else { (&x[0], &x[1]) };
        let hidden = r[2].clone();
        let (directions, rows) = (Dim::from(directions), hidden.mul(&Dim::from(gates)));
        for (matrix, name) in [(w, "w"), (r, "r")] {
            cx.require_equal(&matrix[0], &directions, &format!("directions of {name}"))?;
            cx.require_equal(&matrix[1], &rows, &format!("rows of {name}: gates times hidden units"))?;
        }
        cx.require_equal(&w[2], &x[2], "columns of w and features of x")?;
        if inputs.has(BIAS) {
            let bias = inputs.dims_of_rank(BIAS, 2)?;
            cx.require_equal(&bias[0], &directions, "directions of the bias")?;
            cx.require_equal(&bias[1], &rows.mul(&Dim::from(2usize)), "size of the bias: twice the rows")?;
        }
        if inputs.has(LENGTHS) {
            inputs.data_type_where(LENGTHS, "i32", |t| t == DataType::I32)?;
            cx.require_equal(&inputs.dims_of_rank(LENGTHS, 1)?[0], batch, "number of sequence lengths")?;
        }
        let state = if self.batch_first {
            vec![batch.clone(), directions.clone(), hidden.clone()]
        } else {
            vec![directions.clone(), batch.clone(), hidden.clone()]
        };
        for index in (STATE..STATE + states).filter(|i| inputs.has(*i)) {
            for (own, expected) in inputs.dims_of_rank(index, 3)?.iter().zip(&state) {
                cx.require_equal(own, expected, "sizes of an initial state")?;
            }
        }
        let y = if self.batch_first {
            vec![batch.clone(), steps.clone(), directions, hidden]
        } else {
            vec![steps.clone(), directions, batch.clone(), hidden]
        };
        let mut types = vec![ValueType::tensor(data_type, y)];
        types.resize(1 + states, ValueType::tensor(data_type, state));
        Ok(types)
    }

    /// Types of the results when a rank is unknown.
    ///
    /// # Errors
    /// When the input is no tensor.
    pub fn unranked(&self, inputs: &Operands<'_>, states: usize) -> Result<Vec<ValueType>, InferError> {
        Ok(vec![ValueType::unranked(inputs.data_type(X)?); 1 + states])
    }

    /// Walks all directions, sequences and steps. The first state is what y records.
    ///
    /// # Errors
    /// When the inputs do not fit; `sizes` are those that inference gave.
    pub fn run(
        &self,
        inputs: &Arguments<'_>,
        sizes: &[sinter_base::Sizes],
        gates: usize,
        cell: &Cell<'_>,
    ) -> Result<Vec<Value>, EvalError> {
        let (x, w, r) = (inputs.tensor(X)?, inputs.tensor(W)?, inputs.tensor(R)?);
        let (hidden, features) = (r.sizes()[2], x.sizes()[2]);
        let [steps, batch] = if self.batch_first { [x.sizes()[1], x.sizes()[0]] } else { [x.sizes()[0], x.sizes()[1]] };
        let directions = self.direction.count();
        let states = sizes.len() - 1;
        let cells = Cells {
            hidden,
            gates,
            r: r.to_floats(),
            bias: inputs.optional_tensor(BIAS)?.map(Tensor::to_floats).unwrap_or_default(),
            activations: self
                .activations
                .chunks((self.activations.len() / directions).max(1))
                .map(<[Activation]>::to_vec)
                .collect(),
            clip: self.clip,
        };
        let lengths = match inputs.optional_tensor(LENGTHS)? {
            None => vec![steps; batch],
            Some(lengths) => {
                let lengths = lengths.to_i64();
                let known: Option<Vec<usize>> =
                    lengths.iter().map(|&l| usize::try_from(l).ok().filter(|l| *l <= steps)).collect();
                let Some(known) = known else { invalid!(eval: "sequence lengths {lengths:?} of {steps} steps") };
                known
            }
        };
        let (xs, ws) = (x.to_floats(), w.to_floats());
        let state_at = |d: usize, b: usize| if self.batch_first { b * directions + d } else { d * batch + b };
        let mut last: Vec<Vec<f64>> = Vec::with_capacity(states);
        for index in STATE..STATE + states {
            let given = inputs.optional_tensor(index)?.map(Tensor::to_floats);
            last.push(given.unwrap_or_else(|| vec![0.0; directions * batch * hidden]));
        }
        let mut y = vec![0.0; steps * directions * batch * hidden];
        for d in 0..directions {
            let backward = self.direction == Direction::Reverse || d == 1;
            for (b, &length) in lengths.iter().enumerate() {
                let at = state_at(d, b) * hidden;
                let mut state: Vec<Vec<f64>> = last.iter().map(|all| all[at..at + hidden].to_vec()).collect();
                for step in 0..length {
                    let t = if backward { length - 1 - step } else { step };
                    let x_at = if self.batch_first { b * steps + t } else { t * batch + b } * features;
                    let x_row = &xs[x_at..x_at + features];
                    let mut projected = Vec::with_capacity(gates * hidden);
                    for row in 0..gates * hidden {
                        let w_at = (d * gates * hidden + row) * features;
                        let sum: f64 = ws[w_at..w_at + features].iter().zip(x_row).map(|(w, x)| w * x).sum();
                        projected.push(sum + cells.bias_at(d, row / hidden, row % hidden));
                    }
                    cell(&cells, d, &projected, &mut state);
                    let y_at = if self.batch_first {
                        (b * steps + t) * directions + d
                    } else {
                        (t * directions + d) * batch + b
                    };
                    y[y_at * hidden..(y_at + 1) * hidden].copy_from_slice(&state[0]);
                }
                for (all, own) in last.iter_mut().zip(state) {
                    all[at..at + hidden].copy_from_slice(&own);
                }
            }
        }
        let mut results = vec![Tensor::from_floats(x.data_type(), &sizes[0], &y)?.into()];
        for (state, sizes) in last.iter().zip(&sizes[1..]) {
            results.push(Tensor::from_floats(x.data_type(), sizes, state)?.into());
        }
        Ok(results)
    }

    /// Two matrix products per step and direction.
    pub fn cost(&self, inputs: &Operands<'_>, outputs: &[ValueType]) -> Cost {
        let plain = Cost::elementwise(inputs, outputs, 1);
        let (Ok(x), Ok(w), Ok(r)) = (inputs.dims(X), inputs.dims(W), inputs.dims(R)) else { return plain };
        if x.len() != 3 || w.len() != 3 || r.len() != 3 {
            return plain;
        }
        let rows = x[0].mul(&x[1]).mul(&w[0]).mul(&w[1]);
        Cost { operations: rows.mul(&w[2].add(&r[2])).mul(&Dim::constant(2)), ..plain }
    }
}
