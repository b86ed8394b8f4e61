//! Signal processing: DFT-17..20, STFT-17, HannWindow-17, HammingWindow-17, BlackmanWindow-17, MelWeightMatrix-17.

use std::f64::consts::{LN_10, TAU};

use sinter_base::DataType;
use sinter_ir::Handle;
use sinter_ops::index::Gather;
use sinter_ops::movement::{Slice, Unsqueeze};
use sinter_ops::pointwise::{Expr, ScalarOp};
use sinter_ops::signal::Dft;

use crate::context::{Imported, NodeContext};
use crate::error::Problem;
use crate::ops::expressions::{elementwise, equal};
use crate::ops::index::along;
use crate::ops::sizes::{as_scalar, integer, positions, size_of_axis};

/// DFT: the axis is an attribute (default 1) before version 20, an input (default -2) since.
pub fn dft(cx: &mut NodeContext<'_, '_>) -> Imported {
    let (x, length) = (cx.input(0)?, cx.optional(1));
    let axis = if cx.version < 20 {
        let axis = cx.int("axis", 1);
        Some(cx.int_list(&[axis]))
    } else {
        cx.optional(2)
    };
    let op = Dft { inverse: cx.flag("inverse", false), onesided: cx.flag("onesided", false) };
    cx.add_optional(op, &[Some(x), length, axis])
}

/// STFT: frames of the signal, a step apart, times the window, transformed. `[batch, length, c]` becomes
/// `[batch, frames, bins, 2]`.
pub fn stft(cx: &mut NodeContext<'_, '_>) -> Imported {
    let (x, step) = (cx.input(0)?, cx.input(1)?);
    let (window, frame_length) = (cx.optional(2), cx.optional(3));
    let x = match cx.rank(x) {
        Ok(2) => {
            let last = cx.int_list(&[-1]);
            cx.add(Unsqueeze::default(), &[x, last])?
        }
        _ => x,
    };
    let step = cx.cast(step, DataType::I64)?;
    let step = as_scalar(cx, step)?;
    let frame = match (frame_length, window) {
        (Some(length), _) => cx.cast(length, DataType::I64)?,
        (None, Some(window)) => size_of_axis(cx, window, 0)?,
        (None, None) => size_of_axis(cx, x, 1)?,
    };
    let frame = as_scalar(cx, frame)?;
    let total = size_of_axis(cx, x, 1)?;
    let total = as_scalar(cx, total)?;
    let frames =
        elementwise(cx, [total, frame, step], |[total, frame, step]| &(&(&total - &frame) / &step) + &integer(1))?;
    let (starts, offsets) = (positions(cx, frames)?, positions(cx, frame)?);
    let starts = along(cx, starts, 1)?;
    let indices = elementwise(cx, [starts, offsets, step], |[start, offset, step]| &(&start * &step) + &offset)?;
    let mut cut = cx.add(Gather { axis: 1 }, &[x, indices])?;
    if let Some(window) = window {
        let window = along(cx, window, 1)?;
        cut = elementwise(cx, [cut, window], |[x, w]| &x * &w)?;
    }
    cx.add_all(Dft { inverse: false, onesided: cx.flag("onesided", true) }, &[cut])
}

/// A window from the angle `2 pi n / N` of every position, `N` being the size, less one when not periodic.
fn window(cx: &mut NodeContext<'_, '_>, formula: impl FnOnce(&Expr) -> Expr) -> Imported {
    let size = cx.input(0)?;
    let to = cx.data_type_attribute("output_datatype")?.unwrap_or(DataType::F32);
    let size = cx.cast(size, DataType::I64)?;
    let size = as_scalar(cx, size)?;
    let place = positions(cx, size)?;
    let periodic = cx.flag("periodic", true);
    let y = elementwise(cx, [place, size], |[place, size]| {
        let period = if periodic { size } else { &size - &integer(1) };
        let angle = &(&place.cast(DataType::F64) * TAU) / &period.cast(DataType::F64);
        formula(&angle).cast(to)
    })?;
    Ok(vec![y])
}

fn cosine(angle: &Expr, times: f64) -> Expr {
    (angle * times).unary(ScalarOp::Cos)
}

/// HannWindow: `0.5 - 0.5 cos a`.
pub fn hann_window(cx: &mut NodeContext<'_, '_>) -> Imported {
    window(cx, |angle| &(&cosine(angle, 1.0) * -0.5) + 0.5)
}

/// HammingWindow: `25/46 - 21/46 cos a`.
pub fn hamming_window(cx: &mut NodeContext<'_, '_>) -> Imported {
    window(cx, |angle| &(&cosine(angle, 1.0) * (-21.0 / 46.0)) + 25.0 / 46.0)
}

/// BlackmanWindow: `0.42 - 0.5 cos a + 0.08 cos 2 a`.
pub fn blackman_window(cx: &mut NodeContext<'_, '_>) -> Imported {
    window(cx, |angle| &(&(&cosine(angle, 1.0) * -0.5) + &(&cosine(angle, 2.0) * 0.08)) + 0.42)
}

/// The entries `from..` of a list, or all before `to` when that is negative.
fn part(cx: &mut NodeContext<'_, '_>, list: Handle, from: i64, to: i64) -> Result<Handle, Problem> {
    let (from, to) = (cx.int_list(&[from]), cx.int_list(&[to]));
    cx.add(Slice::default(), &[list, from, to])
}

/// MelWeightMatrix: triangles over the spectrum's bins, evenly spaced on the mel scale
/// `2595 log10(1 + f / 700)`. The edges are rounded down to bins; each triangle rises from its left edge to its centre
/// and falls to its right edge. A triangle without rise has 1 at its centre.
pub fn mel_weight_matrix(cx: &mut NodeContext<'_, '_>) -> Imported {
    let to = cx.data_type_attribute("output_datatype")?.unwrap_or(DataType::F32);
    let mut numbers = Vec::with_capacity(5);
    for index in 0..5 {
        let number = cx.input(index)?;
        let number = cx.cast(number, if index < 3 { DataType::I64 } else { DataType::F64 })?;
        numbers.push(as_scalar(cx, number)?);
    }
    let [bands, length, rate, low, high] =
        numbers.try_into().map_err(|_| cx.problem("a mel weight matrix has five inputs"))?;
    let edges = elementwise(cx, [bands], |[bands]| &bands + &integer(2))?;
    let edge = positions(cx, edges)?;
    let edge = elementwise(cx, [edge, edges, length, rate, low, high], |[i, edges, length, rate, low, high]| {
        let mel = |hertz: &Expr| &(&(&(hertz / 700.0) + 1.0).unary(ScalarOp::Log) / LN_10) * 2595.0;
        let (low, high) = (mel(&low), mel(&high));
        let step = &(&high - &low) / &edges.cast(DataType::F64);
        let at = &(&i.cast(DataType::F64) * &step) + &low;
        let hertz = &(&low.same(10.0).binary(ScalarOp::Pow, &(&at / 2595.0)) - 1.0) * 700.0;
        let bins = &(&length + &integer(1)).cast(DataType::F64) * &hertz;
        (&bins / &rate.cast(DataType::F64)).unary(ScalarOp::Floor)
    })?;
    let (left, centre, right) = (part(cx, edge, 0, -2)?, part(cx, edge, 1, -1)?, part(cx, edge, 2, i64::MAX)?);
    let bins = elementwise(cx, [length], |[length]| &(&length / &integer(2)) + &integer(1))?;
    let bin = positions(cx, bins)?;
    let bin = along(cx, bin, 1)?;
    let weights = elementwise(cx, [bin, left, centre, right], |[bin, left, centre, right]| {
        let bin = bin.cast(DataType::F64);
        let zero = bin.same(0.0);
        let within = |low: &Expr, high: Expr| low.binary(ScalarOp::LessOrEqual, &bin).binary(ScalarOp::And, &high);
        let rising = within(&left, bin.binary(ScalarOp::LessOrEqual, &centre));
        let falling = within(&centre, bin.binary(ScalarOp::Less, &right));
        let rise = rising.select(&(&(&bin - &left) / &(&centre - &left)), &zero);
        let peak = equal(&bin, &centre).cast(DataType::F64);
        let left_side = equal(&centre, &left).select(&peak, &rise);
        falling.select(&(&(&right - &bin) / &(&right - &centre)), &left_side).cast(to)
    })?;
    Ok(vec![weights])
}
