//! `cpu.image.grid_sample`: an image read at positions between its elements.
//!
//! The channels of a sample share their positions, so the neighbours of every position and their weights are found
//! first, once per sample, and each channel is then a list of weighted sums. Positions are computed in f64 and rounded
//! to the grid's type: which element is nearest depends on it.

use sinter_backend::{KernelError, Numerics, Refusal, Region};
use sinter_base::shape::{for_each_index, strides};
use sinter_base::{DataType, Sizes};
use sinter_ops::OpKind;
use sinter_ops::image::{GridInterpolation, GridPadding, GridSample};

use crate::elements::floats;
use crate::launch::{Kernel, Launch, Loaded, Workers};
use crate::number::{Formula, Inputs, Means, Number, evaluate};
use crate::only_operator;
use crate::share::{Cost, share, share_both};
use crate::tactic::{Row, Speed};

/// See the module documentation.
pub const GRID_SAMPLE: Row = Row {
    name: "cpu.image.grid_sample",
    roots: &[OpKind::GridSample],
    numerics: Numerics::Reassociated,
    in_place: &[],
    speed: Speed::SCALAR,
    kernel,
};

fn kernel(region: &Region) -> Result<Loaded, Refusal> {
    let op = only_operator!(region, GridSample);
    Ok(Loaded::Kernel(Box::new(Sampler { op: op.clone() })))
}

struct Sampler {
    op: GridSample,
}

/// The cubic kernel's parameter, as PyTorch and ONNX have it.
const CUBIC: f64 = -0.75;

/// A position has up to four neighbours on every axis: with more axes than this they cannot be listed.
const MAX_AXES: usize = 12;

/// An element that counts as zero.
const NOWHERE: usize = usize::MAX;

/// Weights of the four elements around a position, `share` beyond the second.
fn cubic_weights(share: f64) -> [f64; 4] {
    let near = |t: f64| ((CUBIC + 2.0) * t - (CUBIC + 3.0)) * t * t + 1.0;
    let far = |t: f64| ((CUBIC * t - 5.0 * CUBIC) * t + 8.0 * CUBIC) * t - 4.0 * CUBIC;
    [far(share + 1.0), near(share), near(1.0 - share), far(2.0 - share)]
}

/// Neighbours on one axis: index, or [`NOWHERE`], and weight.
type Neighbours = [(usize, f64); 4];

impl Sampler {
    fn neighbour_count(&self) -> usize {
        match self.op.interpolation {
            GridInterpolation::Nearest => 1,
            GridInterpolation::Linear => 2,
            GridInterpolation::Cubic => 4,
        }
    }

    /// Mirrors a position at the ends of an axis: through the outermost elements, or half an element beyond them.
    fn mirrored(&self, at: f64, size: usize) -> f64 {
        let (low, range) = if self.op.align_corners { (0.0, size as f64 - 1.0) } else { (-0.5, size as f64) };
        if range <= 0.0 {
            return low;
        }
        if at >= low && at <= low + range {
            return at;
        }
        // The image and its mirror image repeat together.
        let turn = (at - low).rem_euclid(2.0 * range);
        low + if turn > range { 2.0 * range - turn } else { turn }
    }

    /// The element that stands at an integral position.
    fn element(&self, at: f64, size: usize) -> usize {
        let last = size as f64 - 1.0;
        let inside = match self.op.padding {
            GridPadding::Zeros if at >= 0.0 && at <= last => at,
            GridPadding::Zeros => return NOWHERE,
            GridPadding::Border => at,
            GridPadding::Reflection => self.mirrored(at, size).trunc(),
        };
        inside.clamp(0.0, last) as usize
    }

    /// The neighbours on an axis of a coordinate in -1..=1.
    fn neighbours(&self, coordinate: f64, size: usize, grid_type: DataType) -> Neighbours {
        let full = size as f64;
        let place = match self.op.align_corners {
            true => (coordinate + 1.0) / 2.0 * (full - 1.0),
            false => ((coordinate + 1.0) * full - 1.0) / 2.0,
        };
        let mut place = grid_type.round(place);
        let nearest = self.op.interpolation == GridInterpolation::Nearest;
        let cubic = self.op.interpolation == GridInterpolation::Cubic;
        if nearest {
            place = place.round_ties_even();
        }
        match self.op.padding {
            // Cubic weights keep the distance to the true position.
            GridPadding::Border if !cubic => place = place.clamp(0.0, full - 1.0),
            GridPadding::Reflection => place = self.mirrored(place, size),
            _ => {}
        }
        let unused = (NOWHERE, 0.0);
        if nearest {
            return [(self.element(place.trunc(), size), 1.0), unused, unused, unused];
        }
        let floor = place.floor();
        let share = place - floor;
        if cubic {
            let weights = cubic_weights(share);
            return std::array::from_fn(|i| (self.element(floor + i as f64 - 1.0, size), weights[i]));
        }
        let (low, high) = (self.element(floor, size), self.element(floor + 1.0, size));
        [(low, 1.0 - share), (high, share), unused, unused]
    }
}

struct Problem<'a> {
    sampler: &'a Sampler,
    /// Sizes and distances of the image's spatial axes.
    image: Sizes,
    strides: Sizes,
    channels: usize,
    positions: usize,
    grid: &'a [f64],
    grid_type: DataType,
}

impl Problem<'_> {
    /// The weighted elements of every position of a sample, as many for each position.
    fn list<T: Number>(&self, sample: usize, (places, weights): (&mut [usize], &mut [T]), workers: &dyn Workers) {
        let spatial = self.image.len();
        let each = self.sampler.neighbour_count();
        let counts: Sizes = self.image.iter().map(|_| each).collect();
        let unit = each.pow(spatial as u32);
        let grid = &self.grid[sample * self.positions * spatial..];
        share_both(workers, (places, weights), (unit, unit), Cost::PerElement(8), |position, places, weights| {
            let mut axes: [Neighbours; MAX_AXES] = [[(NOWHERE, 0.0); 4]; MAX_AXES];
            let axes = &mut axes[..spatial];
            let coordinates = &grid[position * spatial..][..spatial];
            // Coordinates come last axis first.
            for ((axis, &size), &coordinate) in axes.iter_mut().zip(&self.image).zip(coordinates.iter().rev()) {
                *axis = self.sampler.neighbours(coordinate, size, self.grid_type);
            }
            let mut entries = places.iter_mut().zip(weights);
            for_each_index(&counts, |pick| {
                let (mut place, mut weight) = (0, 1.0);
                for (axis, &p) in pick.iter().enumerate() {
                    let (index, share) = axes[axis][p];
                    weight *= share;
                    place = match (place, index) {
                        (NOWHERE, _) | (_, NOWHERE) => NOWHERE,
                        _ => place + index * self.strides[axis],
                    };
                }
                if let Some((to, factor)) = entries.next() {
                    (*to, *factor) = (place, T::of(weight));
                }
            });
        });
    }
}

impl Formula for Problem<'_> {
    fn compute<T: Number>(&self, inputs: &Inputs<'_, T>, y: &mut [T], means: Means<'_>) -> Result<(), KernelError> {
        let Means { workers, scratch } = means;
        let x = inputs.given(0);
        let image: usize = self.image.iter().product();
        let unit = self.sampler.neighbour_count().pow(self.image.len() as u32);
        let (mut places, mut weights) =
            (scratch.allocate(self.positions * unit), scratch.allocate::<T>(self.positions * unit));
        for (sample, y) in y.chunks_exact_mut(self.channels * self.positions).enumerate() {
            self.list(sample, (&mut places, &mut weights), workers);
            let (places, weights) = (&*places, &*weights);
            share(workers, y, self.positions, Cost::PerElement(unit), |first, chunk| {
                for (i, plane) in chunk.chunks_exact_mut(self.positions).enumerate() {
                    let from = (sample * self.channels + first + i) * image;
                    let source = &x[from..from + image];
                    let entries = places.chunks_exact(unit).zip(weights.chunks_exact(unit));
                    for (y, (places, weights)) in plane.iter_mut().zip(entries) {
                        let terms = places.iter().zip(weights).filter(|(place, _)| **place != NOWHERE);
                        *y = terms.fold(T::default(), |sum, (&place, &weight)| sum + weight * source[place]);
                    }
                }
            });
        }
        Ok(())
    }
}

impl Kernel for Sampler {
    fn launch(&self, launch: &mut Launch<'_, '_>) -> Result<(), KernelError> {
        let (x, grid) = (launch.input(0)?, launch.input(1)?);
        let (workers, scratch) = (launch.workers, launch.scratch);
        let y = launch.output(0);
        if y.count() == 0 {
            return Ok(());
        }
        if x.count() == 0 {
            // Nothing to read: zeros.
            y.bytes().fill(0);
            return Ok(());
        }
        let image = Sizes::from_slice(&x.sizes()[2..]);
        if image.len() > MAX_AXES {
            return Err(KernelError::Data(format!("{} spatial axes, at most {MAX_AXES}", image.len())));
        }
        let positions = floats(grid, scratch);
        let problem = Problem {
            sampler: self,
            strides: strides(&image),
            image,
            channels: y.sizes()[1],
            positions: y.sizes()[2..].iter().product(),
            grid: &positions,
            grid_type: grid.data_type(),
        };
        evaluate(&problem, &[Some(x)], y, workers, scratch)
    }
}
