//! Rnn, Gru and Lstm.
//!
//! The input part of all steps is one blocked product per direction, done before the walk. The sequences of a batch and
//! the directions are independent of each other: one task walks each, with its states in separate memory.
//! `cpu.recurrent.packed.f32` takes its weights packed in the plan, `cpu.recurrent.blocked` packs them in every launch
//! and supports every float type.

use sinter_backend::{KernelError, Numerics, Refusal, Region};
use sinter_base::{DataType, Dim, Sizes, Tensor, View};
use sinter_ops::recurrent::recurrence::{Direction, Recurrence};
use sinter_ops::{Op, OpKind};

use crate::elements::Elements;
use crate::float::Float;
use crate::launch::{Kernel, Launch, Loaded};
use crate::packed::{Fit, PackedRow, no_extra, one_recipe, packed_tensor};
use crate::product::wide::Order;
use crate::recurrent::cells::{Cell, Kind};
use crate::recurrent::weights::Weights;
use crate::share::{Cost, share};
use crate::tactic::{Row, Speed};

/// f32 with weights of the plan.
pub const PACKED: PackedRow = PackedRow {
    name: "cpu.recurrent.packed.f32",
    roots: &[OpKind::Rnn, OpKind::Gru, OpKind::Lstm],
    speed: Speed { per_byte: 0.1, per_operation: 0.02 },
    extra: no_extra,
    recipes: one_recipe,
    fit: |region, _| fit(region),
    pack: pack_weight,
};

/// Any float type, any operands.
pub const BLOCKED: Row = Row {
    name: "cpu.recurrent.blocked",
    roots: &[OpKind::Rnn, OpKind::Gru, OpKind::Lstm],
    numerics: Numerics::Reassociated,
    in_place: &[],
    speed: Speed::VECTOR,
    kernel,
};

fn layer(region: &Region, packed: Option<usize>) -> Result<Layer, Refusal> {
    let (kind, recurrence) = match region.only().map(|node| &node.op) {
        Some(Op::Rnn(op)) => (Kind::Rnn, &op.recurrence),
        Some(Op::Gru(op)) => (Kind::Gru { linear_before_reset: op.linear_before_reset }, &op.recurrence),
        Some(Op::Lstm(op)) => (Kind::Lstm { input_forget: op.input_forget }, &op.recurrence),
        _ => return Err(Refusal::OtherOperator),
    };
    Ok(Layer { kind, recurrence: recurrence.clone(), packed })
}

fn kernel(region: &Region) -> Result<Loaded, Refusal> {
    Ok(Loaded::Kernel(Box::new(layer(region, None)?)))
}

/// Positions of the operands in the operator.
const W: usize = 1;
const R: usize = 2;
const BIAS: usize = 3;
const LENGTHS: usize = 4;
const STATE: usize = 5;
const PEEPHOLES: usize = 7;

fn fit(region: &Region) -> Result<Fit, Refusal> {
    // Another operator is refused for what it is.
    layer(region, None)?;
    let sizes = |index: usize| -> Option<Sizes> { region.input(index)?.shape.sizes() };
    let (Some(w), Some(r)) = (sizes(W), sizes(R)) else { return Err(Refusal::new("weights of unknown sizes")) };
    if region.input(R).map(|t| t.data_type) != Some(DataType::F32) {
        return Err(Refusal::new("weights of another type than f32"));
    }
    let (&[_, _, _], &[_, _, hidden]) = (&w[..], &r[..]) else {
        return Err(Refusal::new(format!("weights of sizes {w:?} and {r:?}")));
    };
    let kernel = Loaded::Kernel(Box::new(layer(region, Some(hidden))?));
    Ok(Fit { kernel, packed: vec![W, R], workspace: Dim::constant(0), in_place: Vec::new() })
}

fn pack_weight(region: &Region, operand: usize, weight: &Tensor) -> Result<Tensor, KernelError> {
    let layer = layer(region, None).map_err(|refusal| KernelError::Recipe(refusal.to_string()))?;
    let &[directions, _, columns] = weight.sizes() else {
        return Err(KernelError::Data(format!("a weight of sizes {:?}", weight.sizes())));
    };
    let values = weight.elements::<f32>().map_err(|e| KernelError::Data(e.to_string()))?;
    let gates = layer.kind.gates();
    let rows = values.len() / (directions * columns).max(1);
    let weights = Weights { kind: layer.kind, directions, features: columns, hidden: rows / gates };
    let mut packed;
    if operand == W {
        packed = vec![0.0; directions * weights.w_len::<f32>()];
        weights.pack_w(&values[..], &mut packed);
    } else {
        packed = vec![0.0; directions * weights.r_len()];
        weights.pack_r(&values[..], &mut packed);
    }
    packed_tensor(packed)
}

struct Layer {
    kind: Kind,
    recurrence: Recurrence,
    /// Hidden units of a layer whose weights are packed.
    packed: Option<usize>,
}

/// The lengths of the sequences; all are of `steps` where they are left out.
fn lengths(view: Option<View<'_>>, steps: usize) -> Result<impl Fn(usize) -> usize + Sync, KernelError> {
    let given = view.map(|view| view.elements::<i32>());
    let length = move |given: i32| usize::try_from(given).ok().filter(|length| *length <= steps);
    if let Some(given) = given
        && given.iter().any(|given| length(*given).is_none())
    {
        return Err(KernelError::Data(format!("sequence lengths {given:?} of {steps} steps")));
    }
    Ok(move |b: usize| given.map_or(steps, |given| given.get(b).copied().and_then(length).unwrap_or(0)))
}

impl Layer {
    fn run<T: Float>(&self, launch: &mut Launch<'_, '_>) -> Result<(), KernelError> {
        let (workers, scratch) = (launch.workers, launch.scratch);
        let (x, w, r) = (launch.input(0)?, launch.input(W)?, launch.input(R)?);
        let &[first, second, features] = x.sizes() else {
            return Err(KernelError::Data(format!("x of sizes {:?}", x.sizes())));
        };
        let hidden = match (self.packed, r.sizes()) {
            (Some(hidden), _) | (None, &[_, _, hidden]) => hidden,
            (None, sizes) => return Err(KernelError::Data(format!("a recurrence matrix of sizes {sizes:?}"))),
        };
        let batch_first = self.recurrence.batch_first;
        let (steps, batch) = if batch_first { (second, first) } else { (first, second) };
        let directions = self.recurrence.direction.count();
        let weights = Weights { kind: self.kind, directions, features, hidden };
        let (rows, w_len, r_len) = (weights.rows(), weights.w_len::<T>(), weights.r_len());
        let length = lengths(launch.optional(LENGTHS), steps)?;
        let read = |index: usize| launch.optional(index).map(|view| T::read(view, scratch)).transpose();
        let (x, mut w, mut r) = (T::read(x, scratch)?, T::read(w, scratch)?, T::read(r, scratch)?);
        if self.packed.is_none() {
            let (mut w_packed, mut r_packed) =
                (scratch.allocate(directions * w_len), scratch.allocate(directions * r_len));
            weights.pack_w(&w, &mut w_packed);
            weights.pack_r(&r, &mut r_packed);
            (w, r) = (Elements::Converted(w_packed), Elements::Converted(r_packed));
        }
        if (w.len(), r.len()) != (directions * w_len, directions * r_len) {
            let found = (w.len(), r.len());
            return Err(KernelError::Recipe(format!("packed weights of {found:?} elements for {weights:?}")));
        }
        let is_lstm = matches!(self.kind, Kind::Lstm { .. });
        let peepholes = if is_lstm { read(PEEPHOLES)? } else { None };
        let peepholes = peepholes.as_deref().unwrap_or_default();
        let given_bias = read(BIAS)?;
        // A bias before the reset gate cannot be added to the input part.
        let resets = matches!(self.kind, Kind::Gru { linear_before_reset: true });
        let joined = if resets { rows - hidden } else { rows };
        let mut bias = scratch.filled(directions * rows, T::default());
        let mut reset_bias = scratch.filled(directions * hidden, T::default());
        for (d, given) in given_bias.as_deref().unwrap_or_default().chunks_exact((2 * rows).max(1)).enumerate() {
            let (of_w, of_r) = given.split_at(rows);
            let own = &mut bias[d * rows..(d + 1) * rows];
            own.copy_from_slice(of_w);
            own[..joined].iter_mut().zip(of_r).for_each(|(sum, b)| *sum += *b);
            if resets {
                reset_bias[d * hidden..(d + 1) * hidden].copy_from_slice(&of_r[joined..]);
            }
        }
        let mut projected = scratch.allocate::<T>(directions * steps * batch * rows);
        for (d, projected) in projected.chunks_exact_mut((steps * batch * rows).max(1)).enumerate() {
            let (w, bias) = (&w[d * w_len..(d + 1) * w_len], &bias[d * rows..(d + 1) * rows]);
            T::project(&x, w, features, bias, projected, workers);
        }
        let functions = self.recurrence.activations.len() / directions;
        let cell = |d: usize| Cell {
            kind: self.kind,
            hidden,
            r: &r[d * r_len..(d + 1) * r_len],
            reset_bias: &reset_bias[d * hidden..(d + 1) * hidden],
            peepholes: peepholes.get(d * 3 * hidden..(d + 1) * 3 * hidden).unwrap_or_default(),
            activations: &self.recurrence.activations[d * functions..(d + 1) * functions],
            clip: self.recurrence.clip,
        };
        let states = self.kind.states();
        let mut given_states = [None, None];
        for (index, given) in given_states.iter_mut().enumerate().take(states) {
            *given = read(STATE + index)?;
        }
        let state_at = |d: usize, b: usize| if batch_first { b * directions + d } else { d * batch + b } * hidden;
        // For every task: its states, the sums of a step, and the first state after every step.
        let (own, made) = (states * hidden, steps * hidden);
        let unit = own + rows + made;
        let mut walked = scratch.allocate::<T>(directions * batch * unit);
        let walk = |task: usize, buffer: &mut [T]| {
            let (d, b) = (task / batch, task % batch);
            let cell = cell(d);
            let backward = self.recurrence.direction == Direction::Reverse || d == 1;
            let (states, buffer) = buffer.split_at_mut(own);
            let (sums, made) = buffer.split_at_mut(rows);
            for (state, given) in states.chunks_exact_mut(hidden.max(1)).zip(&given_states) {
                match given {
                    Some(given) => state.copy_from_slice(&given[state_at(d, b)..][..hidden]),
                    None => state.fill(T::default()),
                }
            }
            let length = length(b);
            for step in 0..length {
                let t = if backward { length - 1 - step } else { step };
                let row = d * steps * batch + if batch_first { b * steps + t } else { t * batch + b };
                let order = if step % 2 == 0 { Order::Forward } else { Order::Backward };
                cell.step(&projected[row * rows..(row + 1) * rows], states, sums, order);
                made[t * hidden..(t + 1) * hidden].copy_from_slice(&states[..hidden]);
            }
            made[length * hidden..].fill(T::default());
        };
        share(workers, &mut walked, unit, Cost::PerElement(hidden * self.kind.gates()), |first, chunk| {
            chunk.chunks_exact_mut(unit).enumerate().for_each(|(i, buffer)| walk(first + i, buffer));
        });
        let mut y = scratch.allocate::<T>(directions * batch * made);
        let mut last = scratch.allocate::<T>(directions * batch * own);
        for (task, buffer) in walked.chunks_exact(unit.max(1)).enumerate() {
            let (d, b) = (task / batch, task % batch);
            for (t, state) in buffer[own + rows..].chunks_exact(hidden.max(1)).enumerate() {
                let at = if batch_first { (b * steps + t) * directions + d } else { (t * directions + d) * batch + b };
                y[at * hidden..(at + 1) * hidden].copy_from_slice(state);
            }
            for (index, state) in buffer[..own].chunks_exact(hidden.max(1)).enumerate() {
                last[index * directions * batch * hidden + state_at(d, b)..][..hidden].copy_from_slice(state);
            }
        }
        T::write(&y, launch.output(0));
        for index in 0..states {
            let each = directions * batch * hidden;
            T::write(&last[index * each..(index + 1) * each], launch.output(1 + index));
        }
        Ok(())
    }
}

impl Kernel for Layer {
    fn launch(&self, launch: &mut Launch<'_, '_>) -> Result<(), KernelError> {
        match launch.input(0)?.data_type() {
            DataType::F32 => self.run::<f32>(launch),
            _ => self.run::<f64>(launch),
        }
    }
}
