//! `cpu.image.affine_grid`: the grid of positions of an affine transformation.
//!
//! The coordinates of every axis are listed first; a position is then one short product per row of the transformation,
//! in f64 as three terms cost nothing.

use sinter_backend::{KernelError, Numerics, Refusal, Region};
use sinter_base::Sizes;
use sinter_base::shape::unravel;
use sinter_ops::OpKind;
use sinter_ops::image::AffineGrid;
use smallvec::SmallVec;

use crate::launch::{Kernel, Launch, Loaded};
use crate::number::{Formula, Inputs, Means, Number, evaluate};
use crate::only_operator;
use crate::share::{Cost, share};
use crate::tactic::{Row, Speed};
use crate::target::placed;

/// See the module documentation.
pub const AFFINE_GRID: Row = Row {
    name: "cpu.image.affine_grid",
    roots: &[OpKind::AffineGrid],
    numerics: Numerics::Ordered,
    in_place: &[],
    speed: Speed::SCALAR,
    kernel,
};

fn kernel(region: &Region) -> Result<Loaded, Refusal> {
    let op = only_operator!(region, AffineGrid);
    Ok(Loaded::Kernel(Box::new(Grid { op: op.clone() })))
}

struct Grid {
    op: AffineGrid,
}

impl Grid {
    /// The coordinate of an element along an axis of `size` elements.
    fn coordinate(&self, i: usize, size: usize) -> f64 {
        let elements = size as f64;
        match (self.op.align_corners, size) {
            (true, 1) => -1.0,
            (true, _) => 2.0 * i as f64 / (elements - 1.0) - 1.0,
            (false, _) => (2.0 * i as f64 + 1.0) / elements - 1.0,
        }
    }
}

struct Positions<'a> {
    /// Sizes of the spatial axes, first axis first.
    sizes: &'a [usize],
    /// Coordinates along one axis after the other.
    coordinates: &'a [f64],
}

impl Formula for Positions<'_> {
    fn compute<T: Number>(&self, inputs: &Inputs<'_, T>, y: &mut [T], means: Means<'_>) -> Result<(), KernelError> {
        let workers = means.workers;
        let theta = inputs.given(0);
        let axes = self.sizes.len();
        let positions: usize = self.sizes.iter().product();
        share(workers, y, axes, Cost::PerElement(4 * axes), |first, chunk| {
            for (i, position) in chunk.chunks_exact_mut(axes).enumerate() {
                let sample = (first + i) / positions;
                let at = unravel((first + i) % positions, self.sizes);
                let mut start = 0;
                let at: SmallVec<[f64; 6]> = (at.iter().zip(self.sizes))
                    .map(|(i, size)| {
                        start += size;
                        self.coordinates[start - size + i]
                    })
                    .collect();
                let rows = theta[sample * axes * (axes + 1)..].chunks_exact(axes + 1);
                for (y, row) in position.iter_mut().zip(rows) {
                    // The first column belongs to the last axis.
                    let linear: f64 = row.iter().zip(at.iter().rev()).map(|(factor, at)| factor.wide() * at).sum();
                    *y = T::of(linear + row[axes].wide());
                }
            }
        });
        Ok(())
    }
}

impl Kernel for Grid {
    fn launch(&self, launch: &mut Launch<'_, '_>) -> Result<(), KernelError> {
        let (theta, size) = (launch.input(0)?, launch.input(1)?.elements::<i64>());
        let &[samples, axes, columns] = theta.sizes() else {
            return Err(KernelError::Data(format!("transformations of sizes {:?}", theta.sizes())));
        };
        let requested: Option<Sizes> = size.iter().map(|&s| usize::try_from(s).ok()).collect();
        let requested = requested.filter(|w| w.len() == axes + 2 && columns == axes + 1 && w[0] == samples && axes > 0);
        let Some(requested) = requested else {
            let message = format!("an image of sizes {size:?} by transformations of sizes {:?}", theta.sizes());
            return Err(KernelError::Data(message));
        };
        let mut sizes = Sizes::from_slice(&[samples]);
        sizes.extend_from_slice(&requested[2..]);
        sizes.push(axes);
        let (workers, scratch) = (launch.workers, launch.scratch);
        let mut y = placed(&mut launch.outputs[0], &sizes)?;
        if y.count() == 0 {
            return Ok(());
        }
        let sizes = &requested[2..];
        let along = |&size: &usize| (0..size).map(move |i| self.coordinate(i, size));
        let coordinates = scratch.list_of(sizes.iter().sum(), sizes.iter().flat_map(along));
        evaluate(&Positions { sizes, coordinates: &coordinates }, &[Some(theta)], &mut y, workers, scratch)
    }
}
