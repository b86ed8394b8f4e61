//! Convolutions as products of weights with unfolded windows, block by block.

use rayon::prelude::*;
use sinter_base::shape::{self, for_each_index};
use sinter_base::{Sizes, Tensor, Value};
use sinter_ops::conv::Convolution;
use sinter_ops::infer::result_sizes;
use sinter_ops::window::Axis;
use sinter_ops::{Arguments, EvalError};

use crate::fast::{rounded, sums_are_exact};
use crate::product::{MatrixView, Threads, product};

/// Most elements of a block of unfolded windows: it should stay in the cache.
const UNFOLDED: usize = 1 << 18;

/// Fewest columns of a block, however large the windows: a product of few columns reads all weights for little.
const COLUMNS: usize = 64;

/// Position of elements of the padding: beyond every plane.
const PADDING: usize = usize::MAX;

/// `None` for what float64 cannot sum exactly.
pub(super) fn convolution(op: &Convolution, inputs: &Arguments<'_>) -> Result<Option<Vec<Value>>, EvalError> {
    let (x, w) = (inputs.tensor(0)?, inputs.tensor(1)?);
    let (xs, ws) = (x.to_floats(), w.to_floats());
    if !x.data_type().is_float() && !sums_are_exact(&xs, &ws, w.count() / w.sizes()[0].max(1)) {
        return Ok(None);
    }
    let y_sizes = result_sizes(op, inputs)?.swap_remove(0);
    let spatial = x.rank() - 2;
    let axes: Vec<Axis<'_>> = (0..spatial)
        .map(|index| Axis {
            stride: op.strides[index],
            dilation: op.dilations[index],
            padding: &op.padding,
            index,
            ceil: false,
        })
        .collect();
    let begins: Vec<i64> = axes.iter().map(|a| a.begin(x.sizes()[a.index + 2], w.sizes()[a.index + 2])).collect();
    let bias = inputs.optional_tensor(2)?.map(Tensor::to_floats);
    let (group_inputs, outputs) = (w.sizes()[1], w.sizes()[0]);
    let group_outputs = outputs / op.groups.max(1);
    let kernel = &w.sizes()[2..];
    let taps: usize = kernel.iter().product();
    let window = group_inputs * taps;
    let (x_plane, y_plane): (usize, usize) = (x.sizes()[2..].iter().product(), y_sizes[2..].iter().product());
    let x_strides = shape::strides(&x.sizes()[2..]);
    let block = (UNFOLDED / window.max(1)).max(COLUMNS).clamp(1, y_plane.max(1));
    let mut y = vec![0.0; y_sizes.iter().product()];
    let is_copy =
        taps == 1 && op.strides.iter().all(|s| *s == 1) && x_plane == y_plane && begins.iter().all(|b| *b == 0);
    let blocks: Vec<usize> = (0..y_plane).step_by(block).collect();
    // Position of each tap of each window inside a channel's plane; the same for all channels and images.
    let sources: Vec<Vec<usize>> = blocks
        .par_iter()
        .map(|&first| {
            if is_copy {
                return Vec::new();
            }
            let columns = block.min(y_plane - first);
            let positions: Vec<Sizes> = (first..first + columns).map(|i| shape::unravel(i, &y_sizes[2..])).collect();
            let mut sources = Vec::with_capacity(taps * columns);
            for_each_index(kernel, |tap| {
                sources.extend(positions.iter().map(|at| {
                    let source = axes.iter().try_fold(0, |position, axis| {
                        let i = axis.index;
                        axis.source(at[i], tap[i], begins[i], x.sizes()[i + 2]).map(|p| position + p * x_strides[i])
                    });
                    source.unwrap_or(PADDING)
                }));
            });
            sources
        })
        .collect();
    // Computes the results of one group in one image, with blocks of columns in parallel where there are several.
    let group_of = |picture: usize, group: usize, target: &mut [f64], threads: Threads| {
        let planes = &xs[(picture * x.sizes()[1] + group * group_inputs) * x_plane..][..group_inputs * x_plane];
        let weights =
            MatrixView { data: &ws, offset: group * group_outputs * window, row_stride: window, column_stride: 1 };
        let (mut unfolded, mut products) = (Vec::new(), Vec::new());
        for (&first, sources) in blocks.iter().zip(&sources) {
            let columns = block.min(y_plane - first);
            let windows = if is_copy {
                MatrixView { data: planes, offset: first, row_stride: x_plane, column_stride: 1 }
            } else {
                unfolded.resize(window * columns, 0.0);
                let unfold = |(rows, plane): (&mut [f64], &[f64])| {
                    for (value, &source) in rows.iter_mut().zip(sources) {
                        *value = plane.get(source).copied().unwrap_or(0.0);
                    }
                };
                let (length, x_plane) = ((taps * columns).max(1), x_plane.max(1));
                match threads {
                    Threads::All => {
                        unfolded.par_chunks_mut(length).zip(planes.par_chunks(x_plane)).for_each(unfold);
                    }
                    Threads::One => unfolded.chunks_mut(length).zip(planes.chunks(x_plane)).for_each(unfold),
                }
                MatrixView { data: &unfolded, offset: 0, row_stride: columns, column_stride: 1 }
            };
            products.resize(group_outputs * columns, 0.0);
            product(group_outputs, columns, window, weights, windows, &mut products, threads);
            for (m, row) in products.chunks(columns.max(1)).enumerate().take(group_outputs) {
                let shift = bias.as_ref().map_or(0.0, |b| b[group * group_outputs + m]);
                let target = &mut target[m * y_plane + first..][..columns];
                target.iter_mut().zip(row).for_each(|(target, value)| *target = value + shift);
            }
        }
    };
    let target = (group_outputs * y_plane).max(1);
    let many = x.sizes()[0] * op.groups >= 2 * rayon::current_num_threads();
    let at = |index: usize| (index / op.groups.max(1), index % op.groups.max(1));
    if many {
        y.par_chunks_mut(target).enumerate().for_each(|(i, target)| group_of(at(i).0, at(i).1, target, Threads::One));
    } else {
        y.chunks_mut(target).enumerate().for_each(|(i, target)| group_of(at(i).0, at(i).1, target, Threads::All));
    }
    Ok(Some(vec![rounded(x.data_type(), &y_sizes, &y)?]))
}
