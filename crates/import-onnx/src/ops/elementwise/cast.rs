//! Cast-25 and CastLike-25.

use sinter_base::DataType;
use sinter_base::minifloat::ScaleRounding;
use sinter_ops::pointwise::CastMode;

use crate::context::{Imported, NodeContext};
use crate::error::Problem;
use crate::ops::elementwise::expression_of_one;
use crate::ops::host::string_cast::string_cast;

fn mode(cx: &NodeContext<'_, '_>) -> Result<CastMode, Problem> {
    let scale_rounding = match cx.text("round_mode", "up").as_str() {
        "up" => ScaleRounding::Up,
        "down" => ScaleRounding::Down,
        "nearest" => ScaleRounding::Nearest,
        other => return Err(cx.problem(format!("round_mode '{other}' is unknown"))),
    };
    Ok(CastMode { saturate: cx.flag("saturate", true), scale_rounding })
}

fn cast_to(cx: &mut NodeContext<'_, '_>, to: DataType) -> Imported {
    let x = cx.input(0)?;
    let mode = mode(cx)?;
    let from = cx.data_type(x)?;
    if from == to {
        return Ok(vec![x]);
    }
    if from == DataType::String || to == DataType::String {
        return Ok(vec![string_cast(cx, x, to)?]);
    }
    Ok(vec![expression_of_one(cx, x, |x| x.cast_with(to, mode))?])
}

/// Cast: to the type of attribute `to`.
pub fn cast(cx: &mut NodeContext<'_, '_>) -> Imported {
    match cx.data_type_attribute("to")? {
        Some(to) => cast_to(cx, to),
        None => Err(cx.problem("attribute to is missing")),
    }
}

/// CastLike: to the type of the second input.
pub fn cast_like(cx: &mut NodeContext<'_, '_>) -> Imported {
    let like = cx.input(1)?;
    let to = cx.data_type(like)?;
    cast_to(cx, to)
}
