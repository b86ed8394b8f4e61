//! Operands that find errors which ordinary numbers hide.

use sinter_base::{DataType, Tensor, Value};
use sinter_ops::{Body, Op};

/// Elements of this size are smaller than the epsilon of any normalization, squared.
const SMALL: f64 = 1e-3;

/// Does a constant of the region's operator matter only beside small numbers?
pub(crate) fn has_epsilon(body: &Body) -> bool {
    body.nodes().iter().any(|node| matches!(node.op, Op::Normalize(_)))
}

/// The same operands, made small; weights stay, since a kernel may read them packed.
pub(crate) fn small(operands: &[Option<Value>], is_weight: &[bool]) -> Option<Vec<Option<Value>>> {
    let shrink = |(value, is_weight): (&Option<Value>, &bool)| -> Option<Option<Value>> {
        let Some(value) = value else { return Some(None) };
        let tensor = value.as_tensor()?;
        if !tensor.data_type().is_float() || *is_weight {
            return Some(Some(value.clone()));
        }
        let numbers: Vec<f64> = tensor.to_floats().into_iter().map(|v| v * SMALL).collect();
        Some(Some(Tensor::from_floats(tensor.data_type(), tensor.sizes(), &numbers).ok()?.into()))
    };
    operands.iter().zip(is_weight).map(shrink).collect()
}

/// The opposite truth value; `None` for other values.
pub(crate) fn opposite(value: &Value) -> Option<Value> {
    let tensor = value.as_tensor().filter(|t| t.data_type() == DataType::Bool)?;
    let other: Vec<i128> = tensor.to_bools().into_iter().map(|v| i128::from(!v)).collect();
    Tensor::from_ints(DataType::Bool, tensor.sizes(), &other).ok().map(Value::Tensor)
}

/// The same elements selected by indices that count from the end, every second one: the result stays the same, the
/// kernel's path to it does not. `None` where the region selects no elements along an axis.
pub(crate) fn from_the_end(body: &Body, operands: &[Option<Value>]) -> Option<Vec<Option<Value>>> {
    let [node] = body.nodes() else { return None };
    let axis = match &node.op {
        Op::Gather(op) => op.axis,
        Op::GatherElements(op) => op.axis,
        _ => return None,
    };
    let (x, picked) = (operands.first()?.as_ref()?.as_tensor()?, operands.get(1)?.as_ref()?.as_tensor()?);
    let axis = if axis < 0 { axis + i64::try_from(x.rank()).ok()? } else { axis };
    let size = i128::try_from(*x.sizes().get(usize::try_from(axis).ok()?)?).ok()?;
    let turn = |(at, index): (usize, i128)| match at % 2 {
        0 if index < 0 => index + size,
        0 => index - size,
        _ => index,
    };
    let turned: Vec<i128> = picked.to_ints().into_iter().enumerate().map(turn).collect();
    let mut operands = operands.to_vec();
    operands[1] = Some(Tensor::from_ints(picked.data_type(), picked.sizes(), &turned).ok()?.into());
    Some(operands)
}

#[cfg(test)]
mod tests {
    use sinter_backend::Region;
    use sinter_base::DataType;
    use sinter_ops::index::Gather;

    use super::*;

    #[test]
    fn weights_are_not_made_small() {
        let x = Value::from(Tensor::from_floats(DataType::F32, &[1], &[2.0]).unwrap());
        let found = small(&[Some(x.clone()), None, Some(x)], &[false, false, true]).unwrap();
        let numbers = |at: usize| found[at].as_ref().and_then(Value::as_tensor).map(Tensor::to_floats);
        assert!((numbers(0).unwrap()[0] - 2e-3).abs() < 1e-9 && numbers(1).is_none());
        assert_eq!(numbers(2).unwrap(), [2.0]);
    }

    #[test]
    fn every_second_index_counts_from_the_end() {
        let x = Value::from(Tensor::from_floats(DataType::F32, &[5], &[0.0, 1.0, 2.0, 3.0, 4.0]).unwrap());
        let picked = Value::from(Tensor::of_i64(&[3, 1, -4]));
        let types = [Some(x.value_type()), Some(picked.value_type())];
        let region = Region::single(Gather { axis: 0 }.into(), &types, vec![x.value_type()]);
        let turned = from_the_end(region.body(), &[Some(x), Some(picked)]).unwrap();
        assert_eq!(turned[1].as_ref().and_then(Value::as_tensor).unwrap().to_i64(), [-2, 1, 1]);
    }
}
