//! Concatenation of whole runs of bytes.

use sinter_base::{DataType, Tensor, Value};
use sinter_ops::axes::axis_of;
use sinter_ops::infer::result_sizes;
use sinter_ops::movement::Concat;
use sinter_ops::{Arguments, EvalError};

/// `None` for elements that are no whole bytes.
pub(super) fn concat(op: &Concat, inputs: &Arguments<'_>) -> Result<Option<Vec<Value>>, EvalError> {
    let tensors = (0..inputs.len()).map(|i| inputs.tensor(i)).collect::<Result<Vec<&Tensor>, _>>()?;
    let Some(data_type) = tensors.first().map(|t| t.data_type()) else { return Ok(None) };
    if data_type == DataType::String || data_type.bits() % 8 != 0 {
        return Ok(None);
    }
    let sizes = result_sizes(op, inputs)?.swap_remove(0);
    let axis = axis_of(op.axis, sizes.len())?;
    let outer: usize = sizes[..axis].iter().product();
    let mut bytes = Vec::with_capacity(tensors.iter().map(|t| t.bytes().len()).sum());
    for at in 0..outer {
        for tensor in &tensors {
            let run = tensor.bytes().len() / outer;
            bytes.extend_from_slice(&tensor.bytes()[at * run..][..run]);
        }
    }
    Ok(Some(vec![Tensor::from_bytes(data_type, &sizes, bytes.into())?.into()]))
}
