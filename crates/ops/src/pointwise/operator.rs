//! The pointwise operator: a scalar program applied to every element of its broadcast operands.
//!
//! `y_r[i] = program_r(x_0[i], x_1[i], ...)` with NumPy broadcasting. Each scalar operation states the type it computes
//! in, so fusing never narrows an intermediate. Covers ONNX's elementwise operators, Cast and Where.

use sinter_base::shape::{self, broadcast_sizes};
use sinter_base::types::MAX_KNOWN_ELEMENTS;
use sinter_base::{Attributes, DataType, Dim, KnownValue, Tensor, TensorType, Value, ValueType};

use crate::error::{EvalError, InferError};
use crate::evaluate::EvalContext;
use crate::example::Example;
use crate::infer::InferContext;
use crate::invalid;
use crate::operands::{Arguments, Operands};
use crate::operator::{Cost, Operator};
use crate::pointwise::expr::Expr;
use crate::pointwise::program::{Program, Step};
use crate::pointwise::scalar::{Scalar, ScalarOp};

/// See the module documentation.
#[derive(Clone, Debug, PartialEq, Attributes)]
pub struct Pointwise {
    /// The scalar program that is applied to each element.
    pub program: Program,
}

impl Pointwise {
    fn check_inputs(&self, inputs: &Operands<'_>) -> Result<(), InferError> {
        for step in self.program.steps() {
            if let Step::Input { index, data_type } = step {
                let found = inputs.data_type(*index)?;
                if found != *data_type {
                    let expected = data_type.to_string();
                    return Err(InferError::DataType { index: *index, expected, found });
                }
            }
        }
        Ok(())
    }

    /// Symbolic contents of the results when all operands' contents are known integers.
    fn known_values(&self, inputs: &Operands<'_>, dims: &[Dim]) -> Option<Vec<Option<KnownValue>>> {
        let sizes = sinter_base::Shape::Ranked(dims.to_vec()).sizes()?;
        let count = shape::element_count(&sizes)?;
        if count > MAX_KNOWN_ELEMENTS {
            return None;
        }
        let mut operands = Vec::new();
        for index in 0..inputs.len() {
            let own = inputs.tensor(index).ok()?.shape.sizes()?;
            operands.push((inputs.ints(index)?, shape::broadcast_strides(&own, &sizes)));
        }
        let mut results: Vec<Option<Vec<Dim>>> = vec![Some(Vec::new()); self.program.results().len()];
        // Skips contents that would exceed the limit.
        let mut nodes = vec![0; results.len()];
        shape::for_each_index(&sizes, |at| {
            if results.iter().all(Option::is_none) {
                return;
            }
            let element: Vec<Dim> = operands.iter().map(|(v, s)| v[shape::ravel(at, s)].clone()).collect();
            let values = symbolic_steps(&self.program, &element);
            for ((result, nodes), &position) in results.iter_mut().zip(&mut nodes).zip(self.program.results()) {
                *nodes += values[position].as_ref().map_or(0, Dim::nodes);
                match (&mut *result, &values[position]) {
                    (Some(list), Some(value)) if *nodes <= MAX_KNOWN_ELEMENTS as u64 => list.push(value.clone()),
                    _ => *result = None,
                }
            }
        });
        Some(results.into_iter().map(|r| r.map(KnownValue::Ints)).collect())
    }
}

/// The steps as dimension expressions, where that is possible.
fn symbolic_steps(program: &Program, inputs: &[Dim]) -> Vec<Option<Dim>> {
    let mut values: Vec<Option<Dim>> = Vec::with_capacity(program.steps().len());
    for step in program.steps() {
        let value = match step {
            Step::Input { index, .. } => Some(inputs[*index].clone()),
            Step::Constant { value: Scalar::Int(v), .. } => i64::try_from(*v).ok().map(Dim::constant),
            Step::Constant { .. } => None,
            Step::Apply { op, compute, args } => {
                let args: Option<Vec<&Dim>> = args.iter().map(|&a| values[a].as_ref()).collect();
                args.and_then(|args| symbolic_step(*op, *compute, &args))
            }
        };
        values.push(value.filter(|dim| !dim.is_too_large()));
    }
    values
}

/// One operation on symbolic integers of at least 32 bits; sizes never overflow those.
fn symbolic_step(op: ScalarOp, compute: DataType, args: &[&Dim]) -> Option<Dim> {
    use sinter_base::Truth;
    let truth = |t: Truth| match t {
        Truth::Yes => Some(Dim::constant(1)),
        Truth::No => Some(Dim::constant(0)),
        Truth::Unknown => None,
    };
    let wide = matches!(compute, DataType::I64 | DataType::I32 | DataType::U64 | DataType::U32);
    if let Some(constants) = args.iter().map(|d| d.as_constant()).collect::<Option<Vec<i64>>>()
        && !compute.is_float()
    {
        let scalars: Vec<Scalar> = constants.into_iter().map(|v| Scalar::Int(i128::from(v))).collect();
        return i64::try_from(op.evaluate(compute, &scalars).int()).ok().map(Dim::constant);
    }
    match (op, args) {
        (ScalarOp::Select, [condition, then, otherwise]) => match condition.as_constant() {
            Some(0) => Some((*otherwise).clone()),
            Some(_) => Some((*then).clone()),
            None => None,
        },
        (ScalarOp::Equal, [a, b]) => truth(a.equals(b)),
        (ScalarOp::LessOrEqual, [a, b]) => truth(a.less_or_equal(b)),
        (ScalarOp::Less, [a, b]) => truth(a.add(&Dim::constant(1)).less_or_equal(b)),
        _ if !wide => None,
        (ScalarOp::Cast(_), [a]) => Some((*a).clone()),
        (ScalarOp::Neg, [a]) => Some(a.neg()),
        (ScalarOp::Add, [a, b]) => Some(a.add(b)),
        (ScalarOp::Sub, [a, b]) => Some(a.sub(b)),
        (ScalarOp::Mul, [a, b]) => Some(a.mul(b)),
        // Truncation and floor agree where nothing is negative.
        (ScalarOp::Div, [a, b]) if a.lower_bound() >= 0 && b.lower_bound() > 0 => Some(a.floor_div(b)),
        (ScalarOp::Mod, [a, b]) if b.lower_bound() > 0 => Some(a.modulo(b)),
        (ScalarOp::Min, [a, b]) => Some(a.minimum(b)),
        (ScalarOp::Max, [a, b]) => Some(a.maximum(b)),
        _ => None,
    }
}

impl Operator for Pointwise {
    const NAME: &'static str = "Pointwise";

    fn infer(&self, inputs: &Operands<'_>, cx: &mut InferContext) -> Result<Vec<ValueType>, InferError> {
        self.check_inputs(inputs)?;
        let shapes = (0..inputs.len()).map(|i| inputs.dims(i)).collect::<Result<Vec<_>, _>>()?;
        let dims = cx.broadcast(&shapes)?;
        let mut values = self.known_values(inputs, &dims).unwrap_or_default().into_iter();
        let types = self.program.result_types().into_iter().map(|data_type| {
            let ty = TensorType::ranked(data_type, dims.clone());
            match values.next().flatten() {
                Some(value) if !data_type.is_float() => ty.with_value(value).into(),
                _ => ty.into(),
            }
        });
        Ok(types.collect())
    }

    fn unranked(&self, inputs: &Operands<'_>) -> Result<Vec<ValueType>, InferError> {
        self.check_inputs(inputs)?;
        Ok(self.program.result_types().into_iter().map(ValueType::unranked).collect())
    }

    fn reference(&self, inputs: &Arguments<'_>, _cx: &EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let tensors = (0..inputs.len()).map(|i| inputs.tensor(i)).collect::<Result<Vec<_>, _>>()?;
        let shapes: Vec<&[usize]> = tensors.iter().map(|t| t.sizes()).collect();
        let Some(sizes) = broadcast_sizes(&shapes) else { invalid!(eval: "shapes {shapes:?} do not broadcast") };
        // Programs choose between strings and do not compute with them: positions in a list of all strings represent
        // them.
        let texts: Vec<&String> = tensors.iter().filter_map(|t| t.strings().ok()).flatten().collect();
        let mut first = 0;
        let mut elements = |tensor: &Tensor| match tensor.strings() {
            Ok(own) => {
                first += own.len();
                (first - own.len()..first).map(|place| Scalar::Int(place as i128)).collect()
            }
            Err(_) => scalars(tensor),
        };
        let operands: Vec<(Vec<Scalar>, _)> =
            tensors.iter().map(|t| (elements(t), shape::broadcast_strides(t.sizes(), &sizes))).collect();
        let results = self.program.results();
        let mut columns: Vec<Vec<Scalar>> = vec![Vec::new(); results.len()];
        let (mut element, mut steps) = (Vec::new(), Vec::new());
        shape::for_each_index(&sizes, |at| {
            element.clear();
            element.extend(operands.iter().map(|(values, strides)| values[shape::ravel(at, strides)]));
            self.program.evaluate(&element, &mut steps);
            for (column, &result) in columns.iter_mut().zip(results) {
                column.push(steps[result]);
            }
        });
        let result = |(column, ty): (&Vec<Scalar>, DataType)| {
            if ty != DataType::String {
                return Ok(from_scalars(ty, &sizes, column)?.into());
            }
            let text = |place: &Scalar| usize::try_from(place.int()).ok().and_then(|place| texts.get(place).copied());
            let Some(chosen) = column.iter().map(|place| text(place).cloned()).collect() else {
                invalid!(eval: "a string that is none of the operands'");
            };
            Ok(Tensor::from_strings(&sizes, chosen)?.into())
        };
        columns.iter().zip(self.program.result_types()).map(result).collect()
    }

    fn cost(&self, inputs: &Operands<'_>, outputs: &[ValueType]) -> Cost {
        let count = i64::try_from(self.program.operation_count()).unwrap_or(i64::MAX);
        Cost::elementwise(inputs, &outputs[..1.min(outputs.len())], count)
    }

    fn examples() -> Vec<Example> {
        let x = Expr::input(0, DataType::F32);
        let y = Expr::input(1, DataType::F32);
        let op = |results: &[Expr]| Expr::into_pointwise(results).expect("well-typed expressions");
        let activations = [
            ScalarOp::Gelu,
            ScalarOp::GeluTanh,
            ScalarOp::Swish,
            ScalarOp::HardSigmoid,
            ScalarOp::HardSwish,
            ScalarOp::Mish,
        ];
        let activations = op(&activations.map(|function| x.unary(function)));
        let ends = [f32::NEG_INFINITY, f32::INFINITY, f32::NAN, -1e30, 1e30, -200.0, -0.0, 40.0];
        let mut examples = vec![
            Example::new("swish", op(&[&x * &x.unary(ScalarOp::Sigmoid)])).float(&[3, 17]),
            Example::new("add, broadcast both ways", op(&[&x + &y])).float(&[3, 1, 5]).float(&[7, 1]),
            Example::new("two results", op(&[&x + &y, &x - &y])).float(&[2, 5]).float(&[2, 5]),
            Example::new("activations", activations.clone()).uniform(DataType::F32, &[5, 61], -12.0, 12.0),
            Example::new("activations at the ends", activations)
                .tensor(Tensor::from_vec(&[ends.len()], ends.to_vec()).expect("as many values as the size says")),
            Example::new("scalar", op(&[&x * 2.0])).float(&[]),
            Example::new("no elements", op(&[&x * 2.0])).float(&[3, 0]),
            Example::new("select", op(&[x.binary(ScalarOp::Less, &y).select(&x, &y)])).float(&[31]).float(&[31]),
        ];
        let strings = |sizes: &[usize], strings: &[&str]| {
            Tensor::from_strings(sizes, strings.iter().map(|s| (*s).to_owned()).collect()).expect("as many strings")
        };
        let text = |index| Expr::input(index, DataType::String);
        let chosen = op(&[x.binary(ScalarOp::Less, &y).select(&text(2), &text(3))]);
        examples.push(
            Example::new("select between strings", chosen)
                .float(&[2, 3])
                .float(&[3])
                .tensor(strings(&[2, 1], &["left", ""]))
                .tensor(strings(&[3], &["a", "b", "left"])),
        );
        for &(from, to) in
            &[(DataType::F32, DataType::I32), (DataType::U8, DataType::F16), (DataType::I64, DataType::Bool)]
        {
            let cast = op(&[Expr::input(0, from).cast(to)]);
            examples.push(Example::new("cast", cast).uniform(from, &[13], 0.0, 100.0));
        }
        examples
    }
}

/// The elements of a tensor of numbers as scalars.
pub fn scalars(tensor: &Tensor) -> Vec<Scalar> {
    if tensor.data_type().is_float() {
        tensor.to_floats().into_iter().map(Scalar::Float).collect()
    } else {
        tensor.to_ints().into_iter().map(Scalar::Int).collect()
    }
}

/// A tensor from scalars of its type.
///
/// # Errors
/// When the count does not match the sizes.
pub fn from_scalars(data_type: DataType, sizes: &[usize], values: &[Scalar]) -> Result<Tensor, EvalError> {
    if let Some(format) = data_type.mini_float() {
        // Infinities and NaN are already what the cast made of them: no second saturation.
        let codes =
            values.iter().map(|v| format.encode(v.float(), sinter_base::minifloat::Overflow::Special)).collect();
        return Ok(Tensor::from_codes(data_type, sizes, codes)?);
    }
    if data_type.is_float() {
        let floats: Vec<f64> = values.iter().map(|v| v.float()).collect();
        return Ok(Tensor::from_floats(data_type, sizes, &floats)?);
    }
    let ints: Vec<i128> = values.iter().map(|v| v.int()).collect();
    Ok(Tensor::from_ints(data_type, sizes, &ints)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::ReferenceEvaluator;
    use sinter_base::Attribute;

    #[test]
    fn broadcasting_and_several_results() {
        let (x, y) = (Expr::input(0, DataType::F32), Expr::input(1, DataType::F32));
        let op = Expr::into_pointwise(&[&x + &y, x.binary(ScalarOp::Less, &y)]).unwrap();
        let inputs = [
            Some(Tensor::from_vec(&[2, 1], vec![1f32, 2.0]).unwrap().into()),
            Some(Tensor::from_vec(&[3], vec![0f32, 1.0, 2.0]).unwrap().into()),
        ];
        let results = op.reference(&Arguments::new(&inputs), &EvalContext::new(&ReferenceEvaluator)).unwrap();
        assert_eq!(results[0], Tensor::from_vec(&[2, 3], vec![1f32, 2.0, 3.0, 2.0, 3.0, 4.0]).unwrap().into());
        let less = Tensor::from_ints(DataType::Bool, &[2, 3], &[0, 0, 1, 0, 0, 0]).unwrap();
        assert_eq!(results[1], less.into());
    }

    #[test]
    fn strings_are_chosen_and_broadcast() {
        let text = |index| Expr::input(index, DataType::String);
        let op = Expr::into_pointwise(&[Expr::input(0, DataType::Bool).select(&text(1), &text(2))]).unwrap();
        let strings = |sizes: &[usize], all: &[&str]| {
            Tensor::from_strings(sizes, all.iter().map(|s| (*s).to_owned()).collect()).unwrap()
        };
        let condition = Tensor::from_ints(DataType::Bool, &[2, 1], &[1, 0]).unwrap();
        let inputs = [condition, strings(&[2], &["a", "b"]), strings(&[], &["none"])];
        let expected = strings(&[2, 2], &["a", "b", "none", "none"]);
        let results = crate::infer::reference_of(&op, &inputs.each_ref()).unwrap();
        assert_eq!(results, std::slice::from_ref(&expected));
        // Inference evaluates what is known.
        let types = inputs.each_ref().map(|t| ValueType::Tensor(TensorType::of(t)));
        let types = types.each_ref().map(Some);
        let inferred = crate::infer::infer(&op.into(), &Operands::new(&types), &mut InferContext::default()).unwrap();
        assert_eq!(inferred, [TensorType::of(&expected).into()]);
    }

    #[test]
    fn equal_steps_stand_once() {
        let x = Expr::input(0, DataType::F32);
        let op = Expr::into_pointwise(&[&(&x * &x) + &(&x * &x)]).unwrap();
        assert_eq!(op.program.steps().len(), 3);
        assert_eq!(Pointwise::from_attr(&op.to_attr().to_string().parse().unwrap()).unwrap(), op);
    }

    #[test]
    fn ill_typed_programs_are_refused() {
        let (x, n) = (Expr::input(0, DataType::F32), Expr::input(1, DataType::I32));
        assert!(Expr::into_pointwise(&[&x + &n]).is_err());
        assert!(Expr::into_pointwise(&[n.unary(ScalarOp::Sqrt)]).is_err());
    }

    #[test]
    fn shape_arithmetic_stays_symbolic() {
        let (x, y) = (Expr::input(0, DataType::I64), Expr::input(1, DataType::I64));
        let op = Expr::into_pointwise(&[&(&x * &y) + 1.0]).unwrap();
        let known = |d: Dim| {
            ValueType::Tensor(
                TensorType::ranked(DataType::I64, vec![1i64.into()]).with_value(KnownValue::Ints(vec![d])),
            )
        };
        let (a, b) = (known(Dim::symbol("N")), known(Dim::constant(3)));
        let types = op.infer(&Operands::new(&[Some(&a), Some(&b)]), &mut InferContext::default()).unwrap();
        assert_eq!(types[0].as_tensor().unwrap().ints().unwrap()[0].to_string(), "3*N + 1");
        // Each square doubles the expression; inference treats expressions beyond the size limit as unknown.
        let squares = (0..14).fold(x.clone(), |u, _| &(&u * &u) + &x);
        let op = Expr::into_pointwise(&[squares, &x + 1.0]).unwrap();
        let types = op.infer(&Operands::new(&[Some(&a)]), &mut InferContext::default()).unwrap();
        let known: Vec<_> = types.iter().map(|ty| ty.as_tensor().unwrap().ints().is_some()).collect();
        assert_eq!(known, [false, true]);
    }
}
