//! The formats of values, and the conversions between them.

use sinter_backend::Region;
use sinter_base::{Dim, ValueType};
use sinter_ops::movement::Transpose;
use sinter_ops::{InferContext, Op, Operands, ValueId, infer};

use crate::choose::cover::problem::Problem;
use crate::choose::select::select;

/// The order and device of a value's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Format {
    /// Row-major, as in the network.
    Plain,
    /// Axis 1 behind all others, after leading axes of size 1 up to this rank.
    ChannelsLast(usize),
    /// Row-major, on the device of the island.
    Island,
}

/// The type of a value in another format.
pub(crate) fn type_in(ty: &ValueType, format: Format) -> Option<ValueType> {
    let Format::ChannelsLast(rank) = format else { return Some(ty.clone()) };
    let tensor = ty.as_tensor()?;
    let dims = tensor.dims().ok()?;
    let mut all = vec![Dim::constant(1); rank.checked_sub(dims.len())?];
    all.extend_from_slice(dims);
    let widened = ValueType::tensor(tensor.data_type, all);
    let op = Op::from(Transpose::to_channels_last(rank));
    infer(&op, &Operands::new(&[Some(&widened)]), &mut InferContext::default()).ok()?.pop()
}

/// The region that converts a value into a format, from the other one.
pub(crate) fn conversion_region(problem: &Problem<'_>, id: ValueId, format: Format) -> Option<Region> {
    let plain = problem.body.ty(id);
    let rank = plain.as_tensor()?.dims().ok()?.len();
    let last = type_in(plain, Format::ChannelsLast(rank))?;
    let (op, from, to) = match format {
        Format::Plain => (Transpose::to_channels_first(rank), last, plain.clone()),
        Format::ChannelsLast(_) => (Transpose::to_channels_last(rank), plain.clone(), last),
        Format::Island => return None,
    };
    Some(Region::single(op.into(), &[Some(from)], vec![to]))
}

/// Does the device have kernels for all conversions that operands and results in these formats may need?
pub(crate) fn has_conversions(
    problem: &Problem<'_>,
    inputs: &[Option<(ValueId, Format)>],
    results: &[ValueId],
    formats: &[Format],
) -> bool {
    let Problem { back_end, target, database, .. } = problem;
    let has = |id: ValueId, to: Format| {
        let region = conversion_region(problem, id, to);
        region.is_some_and(|region| select(&region, *back_end, target, database).is_ok())
    };
    let operands = inputs.iter().flatten().filter(|(id, _)| problem.weight(*id).is_none());
    let results = results.iter().zip(formats);
    operands.filter(|(_, from)| *from != Format::Plain).all(|(id, format)| has(*id, *format))
        && results.filter(|(_, format)| **format != Format::Plain).all(|(id, _)| has(*id, Format::Plain))
}
