//! Borders: Pad-1..25, CenterCropPad-18.

use sinter_base::{DataType, Dim, ValueType};
use sinter_ir::Handle;
use sinter_ops::index::Gather;
use sinter_ops::movement::{Concat, Pad, PadMode, Shape};

use crate::context::{Imported, NodeContext};
use crate::error::Problem;
use crate::ops::expressions::elementwise_all;
use crate::ops::sizes::integer;

fn mode(cx: &NodeContext<'_, '_>) -> Result<PadMode, Problem> {
    match cx.text("mode", "constant").as_str() {
        "constant" => Ok(PadMode::Constant),
        "reflect" => Ok(PadMode::Reflect),
        "edge" => Ok(PadMode::Edge),
        "wrap" if cx.version >= 19 => Ok(PadMode::Wrap),
        other => Err(cx.problem(format!("mode '{other}' is unknown in version {}", cx.version))),
    }
}

/// Pad: pads and value are attributes before version 11, inputs since; axes since version 18.
pub fn pad(cx: &mut NodeContext<'_, '_>) -> Imported {
    let (x, op) = (cx.input(0)?, Pad { mode: mode(cx)? });
    if cx.version >= 11 {
        let inputs: Vec<Option<Handle>> = (0..4).map(|i| cx.optional(i)).collect();
        return cx.add_optional(op, &inputs);
    }
    let name = if cx.version < 2 { "paddings" } else { "pads" };
    let Some(pads) = cx.ints(name) else { return Err(cx.problem(format!("attribute {name} is needed"))) };
    let pads = cx.int_list(&pads);
    let value = cx.scalar(cx.data_type(x)?, cx.float("value", 0.0))?;
    cx.add_optional(op, &[Some(x), Some(pads), Some(value)])
}

/// CenterCropPad: half of what is missing (or too much) at the beginning, rounded toward zero, the rest at the end.
pub fn center_crop_pad(cx: &mut NodeContext<'_, '_>) -> Imported {
    let (x, target) = (cx.input(0)?, cx.input(1)?);
    let target = cx.cast(target, DataType::I64)?;
    let given = cx.ints("axes");
    let sizes = cx.add(Shape::default(), &[x])?;
    let (sizes, axes) = match &given {
        Some(axes) => {
            let axes = cx.int_list(axes);
            (cx.add(Gather::default(), &[sizes, axes])?, Some(axes))
        }
        None => (sizes, None),
    };
    let borders = elementwise_all(cx, [target, sizes], |[target, size]| {
        let missing = &target - &size;
        let begin = &missing / &integer(2);
        vec![begin.clone(), &missing - &begin]
    })?;
    let pads = cx.add(Concat { axis: 0 }, &borders)?;
    let y = cx.add_optional(Pad::default(), &[Some(x), Some(pads), None, axes])?;
    narrow_to_target(cx, x, &y, target, given.as_deref())?;
    Ok(y)
}

/// The requested sizes are the sizes of the result.
fn narrow_to_target(
    cx: &mut NodeContext<'_, '_>,
    x: Handle,
    y: &[Handle],
    target: Handle,
    axes: Option<&[i64]>,
) -> Result<(), Problem> {
    let sizes: Option<Vec<Dim>> = cx.tensor_type(target)?.ints().map(<[Dim]>::to_vec);
    let (Some(sizes), Ok(dims), Some(&y)) = (sizes, cx.dims(x), y.first()) else { return Ok(()) };
    let mut dims = dims;
    for (k, size) in sizes.into_iter().enumerate() {
        let axis = match axes {
            Some(axes) => axes.get(k).copied().unwrap_or(0),
            None => i64::try_from(k).unwrap_or(0),
        };
        let position = cx.axis(axis, dims.len())?;
        if let Some(dim) = dims.get_mut(position) {
            *dim = size;
        }
    }
    let data_type = cx.data_type(y)?;
    cx.builder().set_type(y, ValueType::tensor(data_type, dims));
    Ok(())
}
