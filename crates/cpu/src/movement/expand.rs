//! `cpu.movement.expand` and `cpu.movement.tile`: repeats a tensor, by strided copies with stride 0 or with restarts.

use sinter_backend::{KernelError, Numerics, Refusal, Region};
use sinter_base::Sizes;
use sinter_base::shape::{broadcast_sizes, broadcast_strides, strides};
use sinter_base::view::element_bytes;
use sinter_ops::OpKind;

use crate::arguments::{integers, result};
use crate::launch::{Kernel, Launch, Loaded};
use crate::movement::strided::{Walk, Walks, copy};
use crate::movement::takes_views;
use crate::tactic::{Row, Speed};
use crate::{only_operator, refuse_data};

/// A tensor broadcast to a shape.
pub const EXPAND: Row = Row {
    name: "cpu.movement.expand",
    roots: &[OpKind::Expand],
    numerics: Numerics::Exact,
    in_place: &[],
    speed: Speed::STREAMING,
    kernel: expand,
};

/// A tensor repeated along its axes.
pub const TILE: Row = Row {
    name: "cpu.movement.tile",
    roots: &[OpKind::Tile],
    numerics: Numerics::Exact,
    in_place: &[],
    speed: Speed::STREAMING,
    kernel: tile,
};

fn expand(region: &Region) -> Result<Loaded, Refusal> {
    only_operator!(region, Expand);
    takes_views(region)?;
    Ok(Loaded::Kernel(Box::new(ExpandKernel)))
}

fn tile(region: &Region) -> Result<Loaded, Refusal> {
    only_operator!(region, Tile);
    takes_views(region)?;
    Ok(Loaded::Kernel(Box::new(TileKernel)))
}

struct ExpandKernel;

impl Kernel for ExpandKernel {
    fn launch(&self, launch: &mut Launch<'_, '_>) -> Result<(), KernelError> {
        let (x, shape) = (launch.input(0)?, integers(launch.input(1)?, launch.scratch)?);
        let entries: Option<Sizes> = shape.iter().map(|&size| usize::try_from(size).ok()).collect();
        let Some(sizes) = entries.and_then(|entries| broadcast_sizes(&[x.sizes(), &entries])) else {
            refuse_data!("sizes {:?} cannot be expanded to {:?}", x.sizes(), &*shape)
        };
        let steps = broadcast_strides(x.sizes(), &sizes);
        let axes: Walks = sizes.iter().zip(&steps).map(|(&size, &step)| Walk::new(size, step)).collect();
        let mut y = result(&mut launch.outputs[0], &sizes)?;
        copy(launch.workers, x.bytes(), element_bytes(x.data_type()), 0, &axes, y.bytes())
    }
}

struct TileKernel;

impl Kernel for TileKernel {
    fn launch(&self, launch: &mut Launch<'_, '_>) -> Result<(), KernelError> {
        let (x, repeats) = (launch.input(0)?, integers(launch.input(1)?, launch.scratch)?);
        if repeats.len() != x.sizes().len() {
            refuse_data!("{} repeats for sizes {:?}", repeats.len(), x.sizes());
        }
        let own = strides(x.sizes());
        let (mut sizes, mut axes) = (Sizes::new(), Walks::new());
        for ((&size, &repeat), &step) in x.sizes().iter().zip(&*repeats).zip(&own) {
            let times = usize::try_from(repeat).ok();
            let Some((times, all)) = times.and_then(|t| Some((t, t.checked_mul(size)?))) else {
                refuse_data!("an axis of {size} elements is repeated {repeat} times")
            };
            sizes.push(all);
            // An axis of the result is two of the walk: which copy, and where in it.
            axes.extend([Walk::new(times, 0), Walk::new(size, step)]);
        }
        let mut y = result(&mut launch.outputs[0], &sizes)?;
        copy(launch.workers, x.bytes(), element_bytes(x.data_type()), 0, &axes, y.bytes())
    }
}
