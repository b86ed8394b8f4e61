//! `cuda.recurrent.steps`: simple, gated and long short-term recurrent layers, a launch or two for each step.

use sinter_backend::{KernelError, Numerics, Refusal, Region};
use sinter_base::{DataType, Dim};
use sinter_ops::operator::count_of;
use sinter_ops::recurrent::{Activation, Direction, Recurrence};
use sinter_ops::{Op, OpKind};
use smallvec::SmallVec;

use crate::kernel::{Contraction, Kernel, Launch, recipe};
use crate::tactic::{Row, Speed, refuse_unknown_sizes};
use crate::text_kernel::{Text, TextKernel, typedefs};

/// See the module documentation.
pub const STEPS: Row = Row {
    name: "cuda.recurrent.steps",
    roots: &[OpKind::Rnn, OpKind::Gru, OpKind::Lstm],
    numerics: Numerics::Reassociated,
    speed: Speed { bandwidth: 0.1, arithmetic: 0.02, launches: 32.0 },
    kernel,
};

const BIAS: usize = 3;
const LENGTHS: usize = 4;
const STATE: usize = 5;
const PEEPHOLES: usize = 7;

const BEGIN: usize = 0;
const GATES: usize = 1;
const STEP: usize = 2;
const FINISH: usize = 3;

/// Arrays of states in scratch memory: both of h, those of c, and the gates of a GRU.
const ARRAYS: usize = 5;
/// Activations of a cell at most.
const FUNCTIONS: usize = 3;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Cell {
    Rnn,
    Gru,
    Lstm,
}

struct Layer {
    cell: Cell,
    recurrence: Recurrence,
    /// `input_forget` or `linear_before_reset`.
    option: bool,
    /// Bytes of a number in a state.
    width: usize,
}

impl Layer {
    fn gates(&self) -> usize {
        match self.cell {
            Cell::Rnn => 1,
            Cell::Gru => 3,
            Cell::Lstm => 4,
        }
    }
}

fn kernel(region: &Region) -> Result<Box<dyn Kernel>, Refusal> {
    let (cell, recurrence, option) = match region.only().map(|node| &node.op) {
        Some(Op::Rnn(op)) => (Cell::Rnn, &op.recurrence, false),
        Some(Op::Gru(op)) => (Cell::Gru, &op.recurrence, op.linear_before_reset),
        Some(Op::Lstm(op)) => (Cell::Lstm, &op.recurrence, op.input_forget),
        _ => return Err(Refusal::OtherOperator),
    };
    refuse_unknown_sizes(region)?;
    let data_type = region.input(0).map(|ty| ty.data_type);
    let (sum, width) = if data_type == Some(DataType::F64) { ("double", 8) } else { ("float", 4) };
    let name = match cell {
        Cell::Rnn => "RNN",
        Cell::Gru => "GRU",
        Cell::Lstm => "LSTM",
    };
    let text = Text {
        name: STEPS.name,
        interface: 1,
        generated: format!("{}typedef {sum} A;\n#define CELL {name}\n", typedefs(&[("T", data_type)])?),
        text: include_str!("steps.cu"),
        contraction: Contraction::On,
        entries: &["begin", "gates", "step", "finish"],
    };
    let state = region.output(1).ok_or_else(|| Refusal::new("the last states are results"))?;
    let workspace = count_of(&state.clone().into()).mul(&Dim::from(ARRAYS * width));
    let layer = Layer { cell, recurrence: recurrence.clone(), option, width };
    let kernel = TextKernel::new(region, text, move |launch| run(launch, &layer));
    Ok(kernel.with_workspace(workspace).boxed())
}

/// The words of `Function` in `steps.cu`.
fn function(activation: Activation) -> [u64; 3] {
    let (kind, alpha, beta) = match activation {
        Activation::Relu => (0, 0.0, 0.0),
        Activation::Tanh => (1, 0.0, 0.0),
        Activation::Sigmoid => (2, 0.0, 0.0),
        Activation::Affine { alpha, beta } => (3, alpha, beta),
        Activation::LeakyRelu { alpha } => (4, alpha, 0.0),
        Activation::ThresholdedRelu { alpha } => (5, alpha, 0.0),
        Activation::ScaledTanh { alpha, beta } => (6, alpha, beta),
        Activation::HardSigmoid { alpha, beta } => (7, alpha, beta),
        Activation::Elu { alpha } => (8, alpha, 0.0),
        Activation::Softsign => (9, 0.0, 0.0),
        Activation::Softplus => (10, 0.0, 0.0),
    };
    [kind, alpha.to_bits(), beta.to_bits()]
}

fn run(launch: &mut Launch<'_>, layer: &Layer) -> Result<(), KernelError> {
    let (x, w, r) = (launch.input(0)?, launch.input(1)?, launch.input(2)?);
    let recurrence = &layer.recurrence;
    let mismatch = || recipe(format!("a recurrent layer of {:?} by {:?} and {:?}", x.sizes, w.sizes, r.sizes));
    let (&[a, b, features], &[directions, rows, columns], &[_, _, hidden]) = (x.sizes, w.sizes, r.sizes) else {
        return Err(mismatch());
    };
    let (steps, batch) = if recurrence.batch_first { (b, a) } else { (a, b) };
    let (state, y) = match recurrence.batch_first {
        true => ([batch, directions, hidden], [batch, steps, directions, hidden]),
        false => ([directions, batch, hidden], [steps, directions, batch, hidden]),
    };
    let has = |index: usize, sizes: &[usize]| {
        launch.inputs.get(index).copied().flatten().is_none_or(|tensor| tensor.sizes == sizes)
    };
    let states = if layer.cell == Cell::Lstm { 2 } else { 1 };
    let fits = directions == recurrence.direction.count()
        && rows == layer.gates() * hidden
        && r.sizes == [directions, rows, hidden]
        && columns == features
        && has(BIAS, &[directions, 2 * rows])
        && has(LENGTHS, &[batch])
        && (STATE..STATE + states).all(|index| has(index, &state))
        && (layer.cell != Cell::Lstm || has(PEEPHOLES, &[directions, 3 * hidden]))
        && launch.outputs.first().is_none_or(|output| output.sizes == y)
        && launch.outputs.iter().skip(1).all(|output| output.sizes == state)
        && launch.outputs.len() <= 1 + states;
    if !fits {
        return Err(mismatch());
    }
    let units = directions * batch * hidden;
    if units == 0 {
        return Ok(());
    }
    let array = units * layer.width;
    let scratch = launch.scratch(array.saturating_mul(ARRAYS))?;
    let mut parameters: SmallVec<[u64; 64]> = SmallVec::new();
    parameters.extend([0, steps, batch, directions, features, hidden].map(|size| size as u64));
    let is_backward = recurrence.direction == Direction::Reverse;
    parameters.extend([is_backward, recurrence.batch_first, layer.option].map(u64::from));
    parameters.push(recurrence.clip.unwrap_or(f64::INFINITY).to_bits());
    let each = (recurrence.activations.len() / directions.max(1)).max(1);
    for direction in 0..2 {
        for which in 0..FUNCTIONS {
            let known = (direction < directions && which < each).then_some(direction * each + which);
            let activation = known.and_then(|at| recurrence.activations.get(at)).copied();
            parameters.extend(function(activation.unwrap_or(Activation::Relu)));
        }
    }
    parameters.extend([x.address, w.address, r.address, launch.address(BIAS), launch.address(LENGTHS)]);
    let (cell, peepholes) = match layer.cell {
        Cell::Lstm => (launch.address(STATE + 1), launch.address(PEEPHOLES)),
        Cell::Rnn | Cell::Gru => (0, 0),
    };
    parameters.extend([launch.address(STATE), cell, peepholes]);
    parameters.extend((0..3).map(|index| launch.outputs.get(index).map_or(0, |output| output.address)));
    parameters.extend((0..ARRAYS).map(|which| scratch + (which * array) as u64));
    parameters.push(launch.fault);
    launch.each(BEGIN, units * steps.max(1), &parameters)?;
    for step in 0..steps {
        parameters[0] = step as u64;
        if layer.cell == Cell::Gru && !layer.option {
            launch.each(GATES, units * 32, &parameters)?;
        }
        launch.each(STEP, units * 32, &parameters)?;
    }
    launch.each(FINISH, units, &parameters)
}
