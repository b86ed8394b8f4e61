//! Synthetic inputs for a plan, when the user gives none: floats are standard normal, integers repeat those that the build
//! verified the plan with, else they lie in `0..60`, and masks are ones. One plan always gets the same values.

use std::collections::HashMap;

use sinter::internals::base::shape::element_count;
use sinter::internals::base::{DataType, Dim, Tensor, Value, ValueType};
use sinter::internals::interp::inputs::elements;
use sinter::internals::plan::SizeRange;
use sinter::internals::source::Declared;

use crate::failure::{Exit, Failure};
use crate::flags::Shape;

/// Size of a dimension that nothing pins.
const FREE_SIZE: i64 = 1;

/// One value per declared input, together at most `max_bytes` large. Inputs of `shapes` have these sizes; dynamic dimensions that
/// they do not name are 1, or as near as their ranges allow. `known` are values that suit the plan.
///
/// # Errors
/// When an input is no tensor of numbers, has no declared rank, or is too large, or when the shapes do not fit the inputs.
pub fn generate(
    inputs: &[Declared],
    ranges: &[SizeRange],
    shapes: &[Shape],
    known: &[(String, Value)],
    max_bytes: u64,
) -> Result<Vec<(String, Value)>, Failure> {
    let mut left = usize::try_from(max_bytes).unwrap_or(usize::MAX);
    let mut values = Vec::new();
    let named = named_sizes(inputs, shapes)?;
    let free = |name: &str| {
        let range = ranges.iter().find(|range| range.symbol == name);
        let usual = || range.map_or(FREE_SIZE, |range| FREE_SIZE.min(range.high).max(range.low));
        Some(named.get(name).copied().unwrap_or_else(usual))
    };
    for (stream, input) in (0u64..).zip(inputs) {
        let refuse = |why: &str| {
            Failure::usage(format!("no values can be synthesized for input '{}' ({}): {why}", input.name, input.ty))
                .help("give --inputs")
        };
        let tensor = input.ty.as_tensor().ok_or_else(|| refuse("it is no tensor"))?;
        if tensor.data_type == DataType::String {
            return Err(refuse("it holds text"));
        }
        let given = shapes.iter().find(|shape| shape.name == input.name);
        let sizes = match (tensor.dims(), given) {
            (Err(_), Some(given)) => given.sizes.clone(),
            (Err(_), None) => return Err(refuse("its rank is not declared")),
            (Ok(dims), given) => {
                let size = |dim: &Dim| usize::try_from(dim.evaluate(&free)?).ok();
                let sizes: Option<Vec<usize>> = dims.iter().map(size).collect();
                let sizes = sizes.ok_or_else(|| refuse("its sizes are not known"))?;
                if let Some(misfit) = given.filter(|given| given.sizes != sizes) {
                    return Err(does_not_fit(misfit, &input.ty));
                }
                sizes
            }
        };
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

/// What shapes of inputs say of named sizes.
fn named_sizes(inputs: &[Declared], shapes: &[Shape]) -> Result<HashMap<String, i64>, Failure> {
    let mut named: HashMap<String, i64> = HashMap::new();
    for shape in shapes {
        let Some(input) = inputs.iter().find(|input| input.name == shape.name) else {
            let known: Vec<&str> = inputs.iter().map(|input| input.name.as_str()).collect();
            let what = format!("--shapes names the input '{}'; there is {}", shape.name, known.join(", "));
            return Err(Failure::usage(what).help("`sinter inspect FILE` shows the inputs and their types"));
        };
        let Some(Ok(dims)) = input.ty.as_tensor().map(|tensor| tensor.dims()) else { continue };
        if dims.len() != shape.sizes.len() {
            return Err(does_not_fit(shape, &input.ty));
        }
        for (dim, size) in dims.iter().zip(&shape.sizes) {
            let size = i64::try_from(*size).unwrap_or(i64::MAX);
            let Some(name) = dim.as_symbol() else { continue };
            let known = *named.entry(name.to_owned()).or_insert(size);
            if known != size {
                let what = format!("--shapes gives the size '{name}' as {known} and as {size}");
                return Err(Failure::usage(what).help("inputs that share a named size must agree on it"));
            }
        }
    }
    Ok(named)
}

fn does_not_fit(shape: &Shape, ty: &ValueType) -> Failure {
    Failure::usage(format!("--shapes gives input '{}' the sizes {:?}, it is {ty}", shape.name, shape.sizes))
        .help("`sinter inspect FILE` shows the inputs and their types")
}

/// The same inputs with other floats: standard normal numbers that the seed decides. Integers keep what suits the model.
pub fn redrawn(inputs: Vec<(String, Value)>, seed: u32) -> Vec<(String, Value)> {
    let redraw = |(stream, (name, value)): (u64, (String, Value))| {
        // The streams of the first seed follow those of inputs without a seed.
        let stream = (u64::from(seed) + 1) << 32 | stream;
        let drawn = value.as_tensor().filter(|tensor| tensor.data_type().is_float()).and_then(|tensor| {
            let elements = elements(&name, tensor.data_type(), None, stream, tensor.count());
            Tensor::from_floats(tensor.data_type(), tensor.sizes(), &elements).ok()
        });
        (name, drawn.map_or(value, Value::Tensor))
    };
    (0u64..).zip(inputs).map(redraw).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let values = generate(&inputs, &[], &[], &[], 1 << 20).unwrap();
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
        let ids = generate(&inputs, &[], &[], &known, 1 << 20).unwrap().swap_remove(1).1;
        assert!(ids.as_tensor().unwrap().to_floats().starts_with(&[70.0, 90.0, 70.0]));
        assert_eq!(generate(&inputs, &[], &[], &[], 1 << 20).unwrap(), values);
        let range = SizeRange { symbol: "N".to_owned(), low: 3, high: 9 };
        assert_eq!(
            generate(&inputs, &[range], &[], &[], 1 << 20).unwrap()[0].1.as_tensor().unwrap().sizes(),
            [3, 4001]
        );
        assert_eq!(generate(&inputs, &[], &[], &[], 100).unwrap_err().exit, Exit::Damaged);
    }

    #[test]
    fn shapes_name_sizes_and_must_fit() {
        let n = || Dim::symbol("N");
        let inputs = [
            declared("x", DataType::F32, vec![n(), Dim::constant(3)]),
            declared("y", DataType::F32, vec![n().mul(&Dim::constant(2))]),
            Declared { name: "z".into(), ty: ValueType::unranked(DataType::F32) },
        ];
        let shape = |text: &str| text.parse::<Shape>().unwrap();
        let made = |shapes: &[&str]| {
            let shapes: Vec<Shape> = shapes.iter().map(|text| shape(text)).collect();
            generate(&inputs, &[], &shapes, &[], 1 << 20)
        };
        let sizes = |shapes: &[&str]| -> Vec<Vec<usize>> {
            made(shapes).unwrap().iter().map(|(_, value)| value.as_tensor().unwrap().sizes().to_vec()).collect()
        };
        assert_eq!(sizes(&["x:4x3", "z:5"]), [vec![4, 3], vec![8], vec![5]]);
        assert_eq!(sizes(&["x:4x3", "y:8", "z:"]), [vec![4, 3], vec![8], vec![]]);
        for (wrong, named) in [
            (&["w:1"][..], "there is x, y, z"),
            (&["x:4"], "[4], it is f32[N, 3]"),
            (&["x:4x4", "z:1"], "[4, 4], it is f32[N, 3]"),
            (&["x:4x3", "y:9", "z:1"], "[9], it is f32[2*N]"),
            (&["x:4x3"], "its rank is not declared"),
        ] {
            let failure = made(wrong).unwrap_err();
            assert!(failure.exit == Exit::Usage && failure.what.contains(named), "{wrong:?}: {failure}");
        }
    }

    #[test]
    fn a_seed_draws_other_floats_and_the_same_every_time() {
        let inputs = || {
            vec![
                ("x".to_owned(), Value::Tensor(Tensor::from_vec(&[4], vec![0f32; 4]).unwrap())),
                ("ids".to_owned(), Tensor::of_i64(&[5, 6]).into()),
            ]
        };
        let (one, two) = (redrawn(inputs(), 0), redrawn(inputs(), 1));
        assert_eq!((&one[1], &two[1]), (&inputs()[1], &inputs()[1]));
        assert!(one[0] != inputs()[0] && one[0] != two[0]);
        assert_eq!(redrawn(inputs(), 1), two);
    }
}
