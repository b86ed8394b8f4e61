//! The windows of a pooling operator: which elements of x: [N, C, spatial...] each result element sees.

use sinter_base::shape::{self, for_each_index};
use sinter_base::{Attributes, Dim};

use crate::error::InferError;
use crate::invalid;
use crate::window::{Axis, Padding};

/// More elements than this in a window are a damaged number, not a kernel.
const MAX_ELEMENTS: usize = 1 << 24;

/// Kernel and its steps over the spatial axes.
#[derive(Clone, Debug, PartialEq, Attributes)]
pub struct PoolWindow {
    /// Elements of a window, per spatial axis.
    pub kernel: Vec<usize>,
    /// Distance between windows, per spatial axis.
    pub strides: Vec<usize>,
    /// Distance between the elements of a window, per spatial axis.
    pub dilations: Vec<usize>,
    /// Border.
    pub padding: Padding,
    /// Round output sizes up.
    pub ceil: bool,
}

impl PoolWindow {
    /// A window of this kernel with stride and dilation 1 and no padding.
    pub fn of(kernel: &[usize]) -> Self {
        let ones = vec![1; kernel.len()];
        Self {
            kernel: kernel.to_vec(),
            strides: ones.clone(),
            dilations: ones,
            padding: Padding::zero(kernel.len()),
            ceil: false,
        }
    }

    fn axis(&self, index: usize) -> Axis<'_> {
        Axis {
            stride: self.strides[index],
            dilation: self.dilations[index],
            padding: &self.padding,
            index,
            ceil: self.ceil,
        }
    }

    /// Dimensions of the result for x: [N, C, spatial...].
    ///
    /// # Errors
    /// When the lists of the window do not fit the rank, or a window fits nowhere.
    pub fn output_dims(&self, x: &[Dim]) -> Result<Vec<Dim>, InferError> {
        let spatial = x.len().saturating_sub(2);
        if [&self.kernel, &self.strides, &self.dilations].iter().any(|list| list.len() != spatial) {
            invalid!("an input of {} dimensions needs {spatial} entries per window list; found {self:?}", x.len());
        }
        let elements = shape::element_count(&self.kernel).unwrap_or(usize::MAX);
        if elements == 0 || elements > MAX_ELEMENTS {
            invalid!("a kernel of {:?} must have between 1 and {MAX_ELEMENTS} elements", self.kernel);
        }
        let mut y = x[..2].to_vec();
        for (i, (size, &kernel)) in x[2..].iter().zip(&self.kernel).enumerate() {
            y.push(self.axis(i).output(size, &kernel.into())?);
        }
        Ok(y)
    }

    /// Calls `visit` for every result element in row-major order with the flat positions of the elements of x in its
    /// window, in kernel order, and with the number of window elements inside x or its padding.
    pub fn for_each_window(&self, x: &[usize], y: &[usize], mut visit: impl FnMut(&[usize], usize)) {
        let strides = shape::strides(x);
        let axes: Vec<Axis<'_>> = (0..self.kernel.len()).map(|i| self.axis(i)).collect();
        let pads: Vec<(i64, i64)> = axes.iter().zip(&self.kernel).map(|(a, &k)| a.pads(x[a.index + 2], k)).collect();
        let mut positions = Vec::new();
        for_each_index(y, |at| {
            positions.clear();
            let mut padded = 0;
            for_each_index(&self.kernel, |tap| {
                let mut position = Some(at[0] * strides[0] + at[1] * strides[1]);
                for axis in &axes {
                    let (i, (begin, end)) = (axis.index, pads[axis.index]);
                    let size = x[i + 2];
                    let step = axis.padded_position(at[i + 2], tap[i]);
                    if step >= i64::try_from(size).unwrap_or(i64::MAX).saturating_add(begin).saturating_add(end) {
                        return;
                    }
                    let source = axis.source(at[i + 2], tap[i], begin, size);
                    position = position.zip(source).map(|(p, s)| p + s * strides[i + 2]);
                }
                padded += 1;
                positions.extend(position);
            });
            visit(&positions, padded);
        });
    }
}
