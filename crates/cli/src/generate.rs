//! Input values for a plan when the user has none: floats are standard normal, integers are those that the plan was
//! verified with, over and over, else they lie in `0..60`, and masks are ones. The same for the same plan, every time.

use sinter::base::shape::element_count;
use sinter::base::{DataType, Tensor, Value};
use sinter::interp::inputs::elements;
use sinter::plan::SizeRange;
use sinter::source::Declared;

use crate::failure::{Exit, Failure};

/// Size of a dimension that nothing pins.
const FREE_SIZE: i64 = 1;

/// One value per declared input, together at most `max_bytes` large; free sizes are 1, or as near as their ranges allow.
/// `known` are values that suit the plan.
///
/// # Errors
/// When an input is no tensor of numbers, has no declared rank, or is too large.
pub fn generate(
    inputs: &[Declared],
    ranges: &[SizeRange],
    known: &[(String, Value)],
    max_bytes: u64,
) -> Result<Vec<(String, Value)>, Failure> {
    let mut left = usize::try_from(max_bytes).unwrap_or(usize::MAX);
    let mut values = Vec::new();
    let free = |name: &str| {
        let range = ranges.iter().find(|range| range.symbol == name);
        Some(range.map_or(FREE_SIZE, |range| FREE_SIZE.min(range.high).max(range.low)))
    };
    for (stream, input) in (0u64..).zip(inputs) {
        let refuse = |why: &str| {
            Failure::usage(format!("no values can be made up for input '{}' ({}): {why}", input.name, input.ty))
                .help("give --inputs")
        };
        let tensor = input.ty.as_tensor().ok_or_else(|| refuse("it is no tensor"))?;
        if tensor.data_type == DataType::String {
            return Err(refuse("it holds text"));
        }
        let dims = tensor.dims().map_err(|_| refuse("its rank is not declared"))?;
        let size = |dim: &sinter::base::Dim| usize::try_from(dim.evaluate(&free)?).ok();
        let sizes: Option<Vec<usize>> = dims.iter().map(size).collect();
        let sizes = sizes.ok_or_else(|| refuse("its sizes are not known"))?;
        let count = element_count(&sizes);
        let bytes = count.and_then(|count| tensor.data_type.bytes_for(count));
        left = bytes.and_then(|bytes| left.checked_sub(bytes)).ok_or_else(|| {
            let what = format!("input '{}' ({}) is larger than the memory allowed", input.name, input.ty);
            Failure::new(Exit::Damaged, what).help("--max-memory sets the bound")
        })?;
        let known = known.iter().find(|(name, _)| *name == input.name).and_then(|(_, value)| value.as_tensor());
        let known = known.filter(|known| !tensor.data_type.is_float() && known.count() > 0).map(Tensor::to_floats);
        let count = count.unwrap_or(0);
        let elements = match known {
            Some(known) => known.into_iter().cycle().take(count).collect(),
            None => elements(&input.name, tensor.data_type, None, stream, count),
        };
        let tensor = Tensor::from_floats(tensor.data_type, &sizes, &elements).map_err(|e| refuse(&e.to_string()))?;
        values.push((input.name.clone(), tensor.into()));
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sinter::base::{Dim, ValueType};

    fn declared(name: &str, data_type: DataType, dims: Vec<Dim>) -> Declared {
        Declared { name: name.into(), ty: ValueType::tensor(data_type, dims) }
    }

    #[test]
    fn values_follow_the_declaration() {
        let inputs = [
            declared("x", DataType::F32, vec![Dim::symbol("N"), Dim::constant(4001)]),
            declared("ids", DataType::I64, vec![Dim::constant(1000)]),
            declared("tiny", DataType::U2, vec![Dim::constant(100)]),
            declared("attention_mask", DataType::I64, vec![Dim::constant(3)]),
        ];
        let values = generate(&inputs, &[], &[], 1 << 20).unwrap();
        let floats = |i: usize| values[i].1.as_tensor().unwrap().to_floats();
        assert_eq!(values[0].1.as_tensor().unwrap().sizes(), [1, 4001]);
        let x = floats(0);
        let mean = x.iter().sum::<f64>() / x.len() as f64;
        let variance = x.iter().map(|v| v * v).sum::<f64>() / x.len() as f64;
        assert!(mean.abs() < 0.05 && (variance - 1.0).abs() < 0.1, "{mean} {variance}");
        assert!(floats(1).iter().all(|v| (0.0..60.0).contains(v)) && floats(1).contains(&59.0));
        assert!(floats(2).iter().all(|v| (0.0..4.0).contains(v)));
        assert_eq!(floats(3), [1.0; 3]);
        let known = [("ids".to_owned(), Tensor::of_i64(&[70, 90]).into())];
        let ids = generate(&inputs, &[], &known, 1 << 20).unwrap().swap_remove(1).1;
        assert!(ids.as_tensor().unwrap().to_floats().starts_with(&[70.0, 90.0, 70.0]));
        assert_eq!(generate(&inputs, &[], &[], 1 << 20).unwrap(), values);
        let range = SizeRange { symbol: "N".to_owned(), low: 3, high: 9 };
        assert_eq!(generate(&inputs, &[range], &[], 1 << 20).unwrap()[0].1.as_tensor().unwrap().sizes(), [3, 4001]);
        assert_eq!(generate(&inputs, &[], &[], 100).unwrap_err().exit, Exit::Damaged);
    }
}
