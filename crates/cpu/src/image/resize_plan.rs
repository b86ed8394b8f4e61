//! The axes of a resize with their scales and sizes, from the operands as they are at run time.
//!
//! Where each element of an axis reads its input, and with what weights, is geometry that the operator defines (see
//! [`ResizeAxis`]); it is found here once per axis, not per element.

use sinter_backend::KernelError;
use sinter_base::Sizes;
use sinter_ops::image::resize_axis::{ResizeAxis, Taps};
use sinter_ops::image::{AspectRatio, Resize};

/// The operands beside the tensor itself; empty where left out.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Starts, then ends, of the resized axes.
    pub region: Vec<f64>,
    /// Factors of the resized axes.
    pub scales: Vec<f64>,
    /// Sizes of the resized axes.
    pub sizes: Vec<i64>,
}

/// One resized axis.
#[derive(Clone, Debug)]
pub struct Resized {
    /// Which axis of the tensor.
    pub axis: usize,
    /// What every element of the result reads; `None` where a crop leaves the input.
    pub taps: Vec<Option<Taps>>,
}

/// What becomes of each axis.
#[derive(Clone, Debug)]
pub struct ResizePlan {
    /// Sizes of the result.
    pub sizes: Sizes,
    /// The axes that do not just stay as they are.
    pub axes: Vec<Resized>,
}

/// Sizes beyond this cannot be told from their neighbours in a float.
const MAX_SIZE: f64 = 9_007_199_254_740_992.0;

fn size_of(size: f64) -> Result<usize, KernelError> {
    if (0.0..MAX_SIZE).contains(&size) {
        return Ok(size as usize);
    }
    Err(KernelError::Data(format!("an axis would have {size} elements")))
}

/// Scale and size of every resized axis.
fn targets(op: &Resize, sizes: &[usize], wanted: &Wanted) -> Result<Vec<(f64, usize)>, KernelError> {
    let given = if wanted.scales.is_empty() { wanted.sizes.len() } else { wanted.scales.len() };
    if given != sizes.len() {
        return Err(KernelError::Data(format!("{given} scales or sizes for {} axes", sizes.len())));
    }
    if !wanted.scales.is_empty() {
        let target = |(&scale, &size): (&f64, &usize)| {
            if scale.is_nan() || scale <= 0.0 {
                return Err(KernelError::Data(format!("scale {scale} is not positive")));
            }
            // In f32, as shapes are inferred.
            Ok((scale, size_of(f64::from((size as f32 * scale as f32).floor()))?))
        };
        return wanted.scales.iter().zip(sizes).map(target).collect();
    }
    let ratio = |(&asked, &size): (&i64, &usize)| asked as f64 / size as f64;
    let mut ratios = wanted.sizes.iter().zip(sizes).map(ratio);
    let uniform = match op.aspect_ratio {
        AspectRatio::Stretch => {
            return ratios.zip(&wanted.sizes).map(|(ratio, &asked)| Ok((ratio, size_of(asked as f64)?))).collect();
        }
        AspectRatio::NotLarger => ratios.by_ref().fold(f64::INFINITY, f64::min),
        AspectRatio::NotSmaller => ratios.by_ref().fold(0.0, f64::max),
    };
    sizes.iter().map(|&size| Ok((uniform, size_of((uniform * size as f64 + 0.5).floor())?))).collect()
}

impl ResizePlan {
    /// The plan for a tensor of sizes `x`.
    ///
    /// # Errors
    /// When the operands do not fit, or there is nothing to read.
    pub fn new(op: &Resize, x: &[usize], wanted: &Wanted) -> Result<Self, KernelError> {
        let axes = match &op.axes {
            Some(axes) => {
                sinter_ops::axes::distinct_axes(axes, x.len()).map_err(|e| KernelError::Data(e.to_string()))?
            }
            None => (0..x.len()).collect(),
        };
        let inputs: Vec<usize> = axes.iter().map(|&axis| x[axis]).collect();
        let targets = targets(op, &inputs, wanted)?;
        let mut plan = Self { sizes: Sizes::from_slice(x), axes: Vec::new() };
        for (&axis, &(_, size)) in axes.iter().zip(&targets) {
            plan.sizes[axis] = size;
        }
        if plan.sizes.contains(&0) {
            return Ok(plan);
        }
        if x.contains(&0) {
            return Err(KernelError::Data(format!("{x:?} has no elements to resize to {:?}", plan.sizes)));
        }
        let crops = op.coordinates == sinter_ops::image::Coordinates::Crop;
        if crops && wanted.region.len() != 2 * axes.len() {
            let found = wanted.region.len();
            return Err(KernelError::Data(format!("{found} numbers describe a region of {} axes", axes.len())));
        }
        for (i, (&axis, (scale, output))) in axes.iter().zip(targets).enumerate() {
            let end = |list: &[f64], at: usize, default: f64| list.get(at).copied().unwrap_or(default);
            let resized = ResizeAxis {
                input: inputs[i],
                output,
                scale,
                region: (end(&wanted.region, i, 0.0), end(&wanted.region, axes.len() + i, 1.0)),
                coordinates: op.coordinates,
                interpolation: &op.interpolation,
                exclude_outside: op.exclude_outside,
            };
            let taps: Vec<Option<Taps>> = (0..output).map(|o| resized.taps(o)).collect();
            let itself = |(o, taps): (usize, &Option<Taps>)| taps.as_deref() == Some(&[(o, 1.0)]);
            if output != inputs[i] || !taps.iter().enumerate().all(itself) {
                plan.axes.push(Resized { axis, taps });
            }
        }
        Ok(plan)
    }
}
