//! The axes of a resize with their scales and sizes, from the contents of the operands at run time.
//!
//! The operator defines the input elements and weights of each element of an axis (see [`ResizeAxis`]); the plan
//! computes them once per axis, not per element.

use sinter_backend::KernelError;
use sinter_base::Sizes;
use sinter_ops::image::resize_axis::ResizeAxis;
use sinter_ops::image::{AspectRatio, Resize};
use smallvec::SmallVec;

use crate::launch::{Scratch, ScratchBuffer};

/// The operands beside the tensor itself; empty where left out.
#[derive(Clone, Copy, Debug)]
pub struct Requested<'a> {
    /// Starts, then ends, of the resized axes.
    pub region: &'a [f64],
    /// Factors of the resized axes.
    pub scales: &'a [f64],
    /// Sizes of the resized axes.
    pub sizes: &'a [i64],
}

/// One resized axis.
pub struct Resized<'r> {
    /// Which axis of the tensor.
    pub axis: usize,
    /// Of every element of the result, where its taps begin; behind the last, where they end.
    starts: ScratchBuffer<'r, usize>,
    sources: ScratchBuffer<'r, usize>,
    weights: ScratchBuffer<'r, f64>,
    /// Per element of the result: 1 where a crop leaves the input.
    outside: ScratchBuffer<'r, u8>,
}

impl<'r> Resized<'r> {
    fn new(axis: usize, resize: &ResizeAxis<'_>, scratch: &'r Scratch) -> Self {
        let (mut starts, mut outside) = (scratch.allocate(resize.output + 1), scratch.allocate(resize.output));
        let taps = |o: usize, visit: &mut dyn FnMut(usize, f64)| resize.each_tap(o, visit);
        let mut count = 0;
        for o in 0..resize.output {
            starts[o] = count;
            outside[o] = u8::from(!taps(o, &mut |_, _| count += 1));
        }
        starts[resize.output] = count;
        let (mut sources, mut weights) = (scratch.allocate(count), scratch.allocate(count));
        let mut places = sources.iter_mut().zip(&mut *weights);
        for o in 0..resize.output {
            taps(o, &mut |from, weight| {
                if let Some((source, factor)) = places.next() {
                    (*source, *factor) = (from, weight);
                }
            });
        }
        Self { axis, starts, sources, weights, outside }
    }

    /// Elements of the result.
    pub fn output(&self) -> usize {
        self.outside.len()
    }

    /// Positions of the taps of an element of the result, among all.
    pub fn taps(&self, output: usize) -> std::ops::Range<usize> {
        self.starts[output]..self.starts[output + 1]
    }

    /// Positions that all taps read.
    pub fn sources(&self) -> &[usize] {
        &self.sources
    }

    /// Their weights.
    pub fn weights(&self) -> &[f64] {
        &self.weights
    }

    /// Does a crop leave the input there?
    pub fn is_outside(&self, output: usize) -> bool {
        self.outside[output] != 0
    }

    /// Is there such an element?
    pub fn leaves(&self) -> bool {
        self.outside.contains(&1)
    }

    /// Does every element of the result read its own and nothing else?
    fn is_identity(&self) -> bool {
        let itself = |o: usize| self.sources[self.taps(o)] == [o] && self.weights[self.taps(o)] == [1.0];
        !self.leaves() && (0..self.output()).all(itself)
    }
}

/// The plan of each axis.
pub struct ResizePlan<'r> {
    /// Sizes of the result.
    pub sizes: Sizes,
    /// The axes that do not just stay as they are.
    pub axes: SmallVec<[Resized<'r>; 4]>,
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
type Targets = SmallVec<[(f64, usize); 6]>;

fn targets(op: &Resize, sizes: &[usize], requested: Requested<'_>) -> Result<Targets, KernelError> {
    let given = if requested.scales.is_empty() { requested.sizes.len() } else { requested.scales.len() };
    if given != sizes.len() {
        return Err(KernelError::Data(format!("{given} scales or sizes for {} axes", sizes.len())));
    }
    if !requested.scales.is_empty() {
        let target = |(&scale, &size): (&f64, &usize)| {
            if scale.is_nan() || scale <= 0.0 {
                return Err(KernelError::Data(format!("scale {scale} is not positive")));
            }
            // In f32, as shapes are inferred.
            Ok((scale, size_of(f64::from((size as f32 * scale as f32).floor()))?))
        };
        return requested.scales.iter().zip(sizes).map(target).collect();
    }
    let ratio = |(&asked, &size): (&i64, &usize)| asked as f64 / size as f64;
    let mut ratios = requested.sizes.iter().zip(sizes).map(ratio);
    let uniform = match op.aspect_ratio {
        AspectRatio::Stretch => {
            return ratios.zip(requested.sizes).map(|(ratio, &asked)| Ok((ratio, size_of(asked as f64)?))).collect();
        }
        AspectRatio::NotLarger => ratios.by_ref().fold(f64::INFINITY, f64::min),
        AspectRatio::NotSmaller => ratios.by_ref().fold(0.0, f64::max),
    };
    sizes.iter().map(|&size| Ok((uniform, size_of((uniform * size as f64 + 0.5).floor())?))).collect()
}

impl<'r> ResizePlan<'r> {
    /// The plan for a tensor of sizes `x`.
    ///
    /// # Errors
    /// When the operands do not fit, or there is nothing to read.
    pub fn new(op: &Resize, x: &[usize], requested: Requested<'_>, scratch: &'r Scratch) -> Result<Self, KernelError> {
        let axes: Sizes = match &op.axes {
            Some(axes) => {
                sinter_ops::axes::distinct_axes(axes, x.len()).map_err(|e| KernelError::Data(e.to_string()))?
            }
            None => (0..x.len()).collect(),
        };
        let inputs: Sizes = axes.iter().map(|&axis| x[axis]).collect();
        let targets = targets(op, &inputs, requested)?;
        let mut plan = Self { sizes: Sizes::from_slice(x), axes: SmallVec::new() };
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
        if crops && requested.region.len() != 2 * axes.len() {
            let found = requested.region.len();
            return Err(KernelError::Data(format!("{found} numbers describe a region of {} axes", axes.len())));
        }
        for (i, (&axis, (scale, output))) in axes.iter().zip(targets).enumerate() {
            let end = |list: &[f64], at: usize, default: f64| list.get(at).copied().unwrap_or(default);
            let resize = ResizeAxis {
                input: inputs[i],
                output,
                scale,
                region: (end(requested.region, i, 0.0), end(requested.region, axes.len() + i, 1.0)),
                coordinates: op.coordinates,
                interpolation: &op.interpolation,
                exclude_outside: op.exclude_outside,
            };
            let resized = Resized::new(axis, &resize, scratch);
            if output != inputs[i] || !resized.is_identity() {
                plan.axes.push(resized);
            }
        }
        Ok(plan)
    }

    /// The one element that an index of an axis of the result reads; the crop does not leave the input.
    pub fn nearest(&self, axis: usize, index: usize) -> usize {
        let resized = self.axes.iter().find(|resized| resized.axis == axis);
        resized.map_or(index, |resized| resized.sources[resized.starts[index]])
    }
}
