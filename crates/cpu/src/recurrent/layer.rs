//! `cpu.recurrent.blocked`: Rnn, Gru and Lstm.
//!
//! The input part of all steps is one blocked product per direction, done before the walk. The sequences of a batch are
//! independent of each other: each is walked by one task, with its states in memory of its own.

use std::sync::Mutex;

use sinter_backend::{Kernel, KernelError, Launch, Loaded, Numerics, Refusal, Region};
use sinter_base::{DataType, View};
use sinter_ops::Op;
use sinter_ops::recurrent::recurrence::{Direction, Recurrence};

use crate::float::Float;
use crate::recurrent::cells::{Cell, Kind};
use crate::tactic::{Row, Speed};

/// See the module documentation.
pub const RECURRENT: Row = Row {
    name: "cpu.recurrent.blocked",
    numerics: Numerics::Reassociated,
    in_place: &[],
    speed: Speed::VECTOR,
    kernel,
};

fn kernel(region: &Region) -> Result<Loaded, Refusal> {
    let (kind, recurrence) = match region.only().map(|node| &node.op) {
        Some(Op::Rnn(op)) => (Kind::Rnn, &op.recurrence),
        Some(Op::Gru(op)) => (Kind::Gru { linear_before_reset: op.linear_before_reset }, &op.recurrence),
        Some(Op::Lstm(op)) => (Kind::Lstm { input_forget: op.input_forget }, &op.recurrence),
        _ => return Err(Refusal::new("takes Rnn, Gru and Lstm")),
    };
    Ok(Loaded::Views(Box::new(Layer { kind, recurrence: recurrence.clone() })))
}

const LENGTHS: usize = 4;
const STATE: usize = 5;
const PEEPHOLES: usize = 7;

struct Layer {
    kind: Kind,
    recurrence: Recurrence,
}

/// What one sequence in one direction gives.
#[derive(Default)]
struct Walked<T> {
    /// The first state after every step, in the order of the steps in memory.
    y: Vec<T>,
    states: Vec<Vec<T>>,
}

fn lengths(view: Option<View<'_>>, steps: usize, batch: usize) -> Result<Vec<usize>, KernelError> {
    let Some(view) = view else { return Ok(vec![steps; batch]) };
    let given = view.elements::<i32>();
    let known = given.iter().map(|&l| usize::try_from(l).ok().filter(|l| *l <= steps)).collect();
    Option::ok_or_else(known, || KernelError::Data(format!("sequence lengths {given:?} of {steps} steps")))
}

impl Layer {
    fn run<T: Float>(&self, launch: &mut Launch<'_, '_>) -> Result<(), KernelError> {
        let (x, w, r) = (launch.input(0)?, launch.input(1)?, launch.input(2)?);
        let (&[first, second, features], &[_, _, hidden]) = (x.sizes(), r.sizes()) else {
            return Err(KernelError::Data(format!("operands of sizes {:?} and {:?}", x.sizes(), r.sizes())));
        };
        let batch_first = self.recurrence.batch_first;
        let (steps, batch) = if batch_first { (second, first) } else { (first, second) };
        let (directions, rows) = (self.recurrence.direction.count(), self.kind.gates() * hidden);
        let lengths = lengths(launch.optional(LENGTHS), steps, batch)?;
        let (x, w, r) = (T::read(x)?, T::read(w)?, T::read(r)?);
        let read = |view: Option<View<'_>>| view.map(|v| T::read(v).map(|v| v.into_owned())).transpose();
        let bias = read(launch.optional(3))?.unwrap_or_default();
        let is_lstm = matches!(self.kind, Kind::Lstm { .. });
        let peepholes = read(launch.optional(PEEPHOLES).filter(|_| is_lstm))?.unwrap_or_default();
        let mut states = Vec::with_capacity(self.kind.states());
        for index in 0..self.kind.states() {
            let zeros = || vec![T::default(); directions * batch * hidden];
            states.push(read(launch.optional(STATE + index))?.unwrap_or_else(zeros));
        }
        let part = |all: &[T], d: usize, size: usize| all.get(d * size..(d + 1) * size).unwrap_or_default().to_vec();
        let functions = self.recurrence.activations.len() / directions;
        let mut y = vec![T::default(); steps * directions * batch * hidden];
        let projected: Vec<Vec<T>> = (0..directions)
            .map(|d| match features {
                0 => vec![T::default(); steps * batch * rows],
                _ => T::product(&x, &w[d * rows * features..(d + 1) * rows * features], features, launch.workers),
            })
            .collect();
        let own: Vec<(Vec<T>, Vec<T>)> =
            (0..directions).map(|d| (part(&bias, d, 2 * rows), part(&peepholes, d, 3 * hidden))).collect();
        let cells: Vec<Cell<'_, T>> = own
            .iter()
            .enumerate()
            .map(|(d, (bias, peepholes))| Cell {
                kind: self.kind,
                hidden,
                r: &r[d * rows * hidden..(d + 1) * rows * hidden],
                bias,
                peepholes,
                activations: &self.recurrence.activations[d * functions..(d + 1) * functions],
                clip: self.recurrence.clip,
            })
            .collect();
        let state_at = |d: usize, b: usize| if batch_first { b * directions + d } else { d * batch + b } * hidden;
        // Directions are as independent of each other as sequences are: all are walked side by side.
        let walked: Vec<Mutex<Walked<T>>> = (0..directions * batch).map(|_| Mutex::default()).collect();
        launch.workers.run(directions * batch, &|task| {
            let (d, b) = (task / batch, task % batch);
            let (cell, projected) = (&cells[d], &projected[d]);
            let backward = self.recurrence.direction == Direction::Reverse || d == 1;
            let at = state_at(d, b);
            let mut own: Vec<Vec<T>> = states.iter().map(|all| all[at..at + hidden].to_vec()).collect();
            let mut made = vec![T::default(); lengths[b] * hidden];
            let mut sums = vec![T::default(); rows];
            for step in 0..lengths[b] {
                let t = if backward { lengths[b] - 1 - step } else { step };
                let row = if batch_first { b * steps + t } else { t * batch + b };
                cell.step(&projected[row * rows..(row + 1) * rows], &mut own, &mut sums);
                made[t * hidden..(t + 1) * hidden].copy_from_slice(&own[0]);
            }
            if let Ok(mut slot) = walked[task].lock() {
                *slot = Walked { y: made, states: own };
            }
        });
        for (task, done) in walked.into_iter().enumerate() {
            let (d, b) = (task / batch, task % batch);
            let done = done.into_inner().map_err(|_| KernelError::Data("a task failed".to_owned()))?;
            for t in 0..lengths[b] {
                let at = if batch_first { (b * steps + t) * directions + d } else { (t * directions + d) * batch + b };
                y[at * hidden..(at + 1) * hidden].copy_from_slice(&done.y[t * hidden..(t + 1) * hidden]);
            }
            let at = state_at(d, b);
            for (all, own) in states.iter_mut().zip(done.states) {
                all[at..at + hidden].copy_from_slice(&own);
            }
        }
        T::write(&y, launch.output(0));
        for (index, state) in states.iter().enumerate() {
            T::write(state, launch.output(1 + index));
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
