//! `cpu.movement.strings`: tensors of strings through the kernels for numbers.
//!
//! The kernel sorts all strings of all operands into one table, the empty string first, and replaces them by positions.
//! Positions compare as the strings do, equal strings have equal positions, and the empty string has 0, as padding and
//! tests for "not zero" require. So any kernel that moves, picks or orders 64-bit numbers works for strings too, as
//! does a pointwise program that chooses between strings.

use sinter_backend::{KernelError, Numerics, Problem, Refusal, Region, Sizing, Target, ValueKernel};
use sinter_base::{Buffer, DataType, Shape, Tensor, TensorType, Value, ValueType, View};
use sinter_ops::OpKind;
use sinter_ops::pointwise::program::Step;
use sinter_ops::pointwise::{Pointwise, Program};
use sinter_ops::{InferContext, Op, Operands, infer_types};

use crate::arguments::data_error;
use crate::launch::{DynamicOutput, Kernel, Launch, Loaded, Operand, Output, Scratch};
use crate::refuse_data;
use crate::single_thread::SingleThread;
use crate::tactic::{Row, Speed};

/// See the module documentation.
pub const STRINGS: Row = Row {
    name: "cpu.movement.strings",
    roots: MOVES_STRINGS,
    numerics: Numerics::Exact,
    in_place: &[],
    speed: Speed::SCALAR,
    kernel,
};

/// Operators that move strings.
const MOVES_STRINGS: &[OpKind] = &[
    OpKind::Reshape,
    OpKind::Squeeze,
    OpKind::Unsqueeze,
    OpKind::Transpose,
    OpKind::Slice,
    OpKind::Concat,
    OpKind::Expand,
    OpKind::Tile,
    OpKind::Pad,
    OpKind::Shape,
    OpKind::ReverseSequence,
    OpKind::Gather,
    OpKind::GatherElements,
    OpKind::GatherNd,
    OpKind::ScatterElements,
    OpKind::ScatterNd,
    OpKind::TensorScatter,
    OpKind::NonZero,
    OpKind::Unique,
    OpKind::Pointwise,
];

/// Type of the position that represents a string.
const PLACE: DataType = DataType::U64;

fn kernel(region: &Region) -> Result<Loaded, Refusal> {
    let Some(node) = region.only() else { return Err(Refusal::new("takes one operator at a time")) };
    if !MOVES_STRINGS.contains(&node.op.kind()) {
        return Err(Refusal::OtherOperator);
    }
    let body = region.body();
    let is_text = |ty: &ValueType| ty.as_tensor().is_some_and(|t| t.data_type == DataType::String);
    if !body.inputs().iter().any(|id| is_text(body.ty(*id))) {
        return Err(Refusal::new("takes strings, not numbers"));
    }
    let op = on_places(&node.op).ok_or_else(|| Refusal::new("takes programs that choose between strings only"))?;
    let texts = node.outputs.iter().map(|id| is_text(body.ty(*id))).collect();
    let inputs: Vec<Option<ValueType>> = node.inputs.iter().map(|id| id.map(|id| numbered(body.ty(id)))).collect();
    let outputs: Vec<ValueType> = node.outputs.iter().map(|id| numbered(body.ty(*id))).collect();
    let inner = Region::single(op.clone(), &inputs, outputs);
    // The kernels for numbers look at one operator, not at a device.
    let (target, sizing) = (Target::unknown("cpu", "", 1), Sizing::default());
    let problem = Problem { region: &inner, target: &target, sizing: &sizing };
    let tactics = super::TACTICS.iter().chain(crate::index::TACTICS).chain(crate::pointwise::TACTICS);
    let kernel = tactics.filter(|tactic| tactic.name() != STRINGS.name).find_map(|tactic| {
        let candidate = tactic.offer(&problem, 1).ok()?.into_iter().next()?;
        match tactic.load(&candidate.recipe, &inner).ok()? {
            Loaded::Kernel(kernel) => Some(kernel),
            Loaded::Values(_) => None,
        }
    });
    match kernel {
        Some(kernel) => Ok(Loaded::Values(Box::new(Strings { op, texts, kernel }))),
        None => Err(Refusal::new(format!("takes no {} of 64-bit numbers", node.op.name()))),
    }
}

/// The type with places instead of strings.
fn numbered(ty: &ValueType) -> ValueType {
    match ty {
        ValueType::Tensor(t) if t.data_type == DataType::String => TensorType::new(PLACE, t.shape.clone()).into(),
        other => other.clone(),
    }
}

/// The operator on positions instead of strings; only pointwise programs contain types.
fn on_places(op: &Op) -> Option<Op> {
    let Op::Pointwise(pointwise) = op else { return Some(op.clone()) };
    let place = |ty: DataType| if ty == DataType::String { PLACE } else { ty };
    let mut program = Program::default();
    let mut renamed: Vec<usize> = Vec::with_capacity(pointwise.program.steps().len());
    for step in pointwise.program.steps() {
        let step = match step {
            Step::Input { index, data_type } => Step::Input { index: *index, data_type: place(*data_type) },
            Step::Constant { .. } => step.clone(),
            Step::Apply { op, compute, args } => {
                let args = args.iter().map(|&arg| renamed.get(arg).copied()).collect::<Option<_>>()?;
                Step::Apply { op: *op, compute: place(*compute), args }
            }
        };
        renamed.push(program.add(step).ok()?);
    }
    let results = pointwise.program.results().iter().map(|&r| renamed.get(r).copied()).collect::<Option<_>>()?;
    program.set_results(results).ok()?;
    Some(Pointwise { program }.into())
}

struct Strings {
    op: Op,
    /// By result: does it stand for strings?
    texts: Vec<bool>,
    kernel: Box<dyn Kernel>,
}

/// An operand for the kernel for numbers.
struct Numbered {
    ty: ValueType,
    data_type: DataType,
    sizes: Vec<usize>,
    memory: Buffer,
}

impl Numbered {
    fn of(tensor: &Tensor, table: &[&str]) -> Result<Self, KernelError> {
        let sizes = tensor.sizes().to_vec();
        if tensor.data_type() != DataType::String {
            let ty = TensorType::of(tensor).into();
            return Ok(Self { ty, data_type: tensor.data_type(), sizes, memory: Buffer::of(tensor) });
        }
        let strings = tensor.strings().map_err(data_error)?;
        let mut memory = Buffer::new(strings.len() * 8);
        let places = memory.bytes_mut().chunks_exact_mut(8).zip(strings);
        places.for_each(|(place, string)| {
            let position = table.partition_point(|entry| *entry < string.as_str());
            place.copy_from_slice(&(position as u64).to_ne_bytes());
        });
        let ty = TensorType::new(PLACE, Shape::from(tensor.sizes())).into();
        Ok(Self { ty, data_type: PLACE, sizes, memory })
    }

    fn operand(&self) -> Result<Operand<'_>, KernelError> {
        View::new(self.data_type, &self.sizes, self.memory.bytes()).map(Operand::View).map_err(data_error)
    }
}

impl ValueKernel for Strings {
    fn run(&self, inputs: &[Option<Value>]) -> Result<Vec<Value>, KernelError> {
        let mut tensors: Vec<Option<&Tensor>> = Vec::with_capacity(inputs.len());
        for input in inputs {
            match input.as_ref().map(|value| (value, value.as_tensor())) {
                None => tensors.push(None),
                Some((_, Some(tensor))) => tensors.push(Some(tensor)),
                Some((value, None)) => refuse_data!("a tensor is needed, found {}", value.value_type()),
            }
        }
        let all = tensors.iter().flatten().filter_map(|t| t.strings().ok()).flatten();
        let mut table: Vec<&str> = std::iter::once("").chain(all.map(String::as_str)).collect();
        table.sort_unstable();
        table.dedup();
        let numbered = tensors
            .iter()
            .map(|tensor| tensor.map(|tensor| Numbered::of(tensor, &table)).transpose())
            .collect::<Result<Vec<Option<Numbered>>, _>>()?;
        let types: Vec<Option<&ValueType>> = numbered.iter().map(|n| n.as_ref().map(|n| &n.ty)).collect();
        let results =
            infer_types(&self.op, &Operands::new(&types), &mut InferContext::default()).map_err(data_error)?;
        let operands = numbered
            .iter()
            .map(|n| n.as_ref().map_or(Ok(Operand::Absent), Numbered::operand))
            .collect::<Result<Vec<_>, _>>()?;
        let mut storage = Vec::with_capacity(results.len());
        for ty in &results {
            let mut slot = DynamicOutput::new(ty.data_type());
            let sizes = ty.as_tensor().and_then(|t| t.shape.sizes());
            if let Some(sizes) = &sizes {
                slot.allocate(sizes)?;
            }
            storage.push((slot, sizes));
        }
        let mut outputs = Vec::with_capacity(storage.len());
        for (slot, sizes) in &mut storage {
            outputs.push(match sizes {
                Some(sizes) => Output::View(slot.allocate(sizes)?),
                None => Output::Dynamic(slot),
            });
        }
        self.kernel.launch(&mut Launch {
            workers: &SingleThread,
            inputs: &operands,
            outputs: &mut outputs,
            workspace: &mut [],
            scratch: &Scratch::default(),
            seed: (0, 0),
        })?;
        drop(outputs);
        let named = |((slot, _), is_text): (&(DynamicOutput, _), &bool)| match is_text {
            true => named(slot.view()?, &table),
            false => slot.view()?.to_tensor().map(Value::Tensor).map_err(data_error),
        };
        storage.iter().zip(&self.texts).map(named).collect()
    }
}

/// A result with its strings back.
fn named(view: View<'_>, table: &[&str]) -> Result<Value, KernelError> {
    let entry = |&place: &u64| usize::try_from(place).ok().and_then(|p| table.get(p)).copied().unwrap_or_default();
    let strings = view.elements::<u64>().iter().map(|place| entry(place).to_owned()).collect();
    Tensor::from_strings(view.sizes(), strings).map(Value::Tensor).map_err(data_error)
}

#[cfg(test)]
mod tests {
    use sinter_ops::index::{Gather, NonZero, Unique};
    use sinter_ops::movement::{Concat, Pad, Reshape};
    use sinter_ops::pointwise::{Expr, ScalarOp};

    use sinter_ops::infer;

    use super::*;

    fn texts(sizes: &[usize], strings: &[&str]) -> Value {
        let strings = strings.iter().map(|s| (*s).to_owned()).collect();
        Tensor::from_strings(sizes, strings).unwrap().into()
    }

    fn run(op: impl Into<Op>, inputs: &[Value]) -> Vec<Value> {
        let op = op.into();
        let types: Vec<Option<ValueType>> = inputs.iter().map(|v| Some(v.value_type())).collect();
        let borrowed: Vec<Option<&ValueType>> = types.iter().map(Option::as_ref).collect();
        let outputs = infer(&op, &Operands::new(&borrowed), &mut InferContext::default()).unwrap();
        let region = Region::single(op, &types, outputs);
        let Ok(Loaded::Values(kernel)) = kernel(&region) else { panic!("a kernel on values") };
        kernel.run(&inputs.iter().cloned().map(Some).collect::<Vec<_>>()).unwrap()
    }

    fn list(values: &[i64]) -> Value {
        Tensor::of_i64(values).into()
    }

    #[test]
    fn strings_move_and_compare() {
        let x = texts(&[2, 2], &["b", "", "a", "b"]);
        let joined = run(Concat { axis: 0 }, &[x.clone(), texts(&[1, 2], &["z", "a"])]);
        assert_eq!(joined, [texts(&[3, 2], &["b", "", "a", "b", "z", "a"])]);
        assert_eq!(run(Reshape::default(), &[x.clone(), list(&[4])]), [texts(&[4], &["b", "", "a", "b"])]);
        assert_eq!(run(Gather { axis: 1 }, &[x.clone(), list(&[-1])]), [texts(&[2, 1], &["", "b"])]);
        let padded = run(Pad::default(), &[texts(&[1], &["x"]), list(&[1, 0]), texts(&[], &["*"])]);
        assert_eq!(padded, [texts(&[2], &["*", "x"])]);
        assert_eq!(run(Pad::default(), &[texts(&[1], &["x"]), list(&[1, 0])]), [texts(&[2], &["", "x"])]);
        let set = run(NonZero::default(), std::slice::from_ref(&x));
        assert_eq!(set[0].as_tensor().unwrap().to_i64(), [0, 1, 1, 0, 0, 1]);
        let unique = run(Unique { axis: None, sorted: true }, &[x]);
        assert_eq!(unique[0], texts(&[3], &["", "a", "b"]));
        assert_eq!(unique[1..], [list(&[1, 2, 0]), list(&[2, 0, 1, 2]), list(&[1, 1, 2])]);
    }

    #[test]
    fn programs_choose_between_strings() {
        let larger = Expr::input(1, DataType::U64).binary(ScalarOp::Less, &Expr::input(0, DataType::U64));
        let chosen = larger.select(&Expr::input(2, DataType::String), &Expr::input(3, DataType::String));
        let sum = &Expr::input(0, DataType::U64) + &Expr::input(1, DataType::U64);
        let number = |values: &[u64]| Value::from(Tensor::from_vec(&[values.len()], values.to_vec()).unwrap());
        let inputs = [number(&[1, 5, 2]), number(&[3]), texts(&[2, 1], &["b", ""]), texts(&[], &["a"])];
        let y = run(Expr::into_pointwise(&[chosen, sum]).unwrap(), &inputs);
        assert_eq!(y[0], texts(&[2, 3], &["a", "b", "a", "a", "", "a"]));
        // The other result has the type of positions, but holds plain numbers.
        assert_eq!(y[1].as_tensor().unwrap().to_i64(), [4, 8, 5, 4, 8, 5]);
    }
}
