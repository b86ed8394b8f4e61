//! `cpu.movement.strings`: tensors of strings through the kernels for numbers.
//!
//! All strings of all operands are sorted into one table, the empty string first, and replaced by their places in it.
//! Places compare as the strings do, equal strings have equal ones, and the empty string has 0, which is what padding
//! and tests for "not zero" need. So any kernel that moves, picks or orders 64-bit numbers serves strings too.

use sinter_backend::{
    Device, DynamicTarget, Kernel, KernelError, Launch, Loaded, Numerics, Operand, Refusal, Region, Rooms, Target,
    ValueKernel,
};
use sinter_base::{Buffer, DataType, Shape, Tensor, TensorType, Value, ValueType, View};
use sinter_ops::{InferContext, Op, Operands, infer};

use crate::alone::Alone;
use crate::arguments::data_error;
use crate::refuse_data;
use crate::tactic::{Row, Speed};

/// See the module documentation.
pub const STRINGS: Row =
    Row { name: "cpu.movement.strings", numerics: Numerics::Exact, in_place: &[], speed: Speed::SCALAR, kernel };

/// What stands for a string.
const PLACE: DataType = DataType::U64;

fn kernel(region: &Region) -> Result<Loaded, Refusal> {
    let Some(node) = region.only() else { return Err(Refusal::new("takes one operator at a time")) };
    let moves = matches!(
        node.op,
        Op::Reshape(_)
            | Op::Squeeze(_)
            | Op::Unsqueeze(_)
            | Op::Transpose(_)
            | Op::Slice(_)
            | Op::Concat(_)
            | Op::Expand(_)
            | Op::Tile(_)
            | Op::Pad(_)
            | Op::Shape(_)
            | Op::ReverseSequence(_)
            | Op::Gather(_)
            | Op::GatherElements(_)
            | Op::GatherNd(_)
            | Op::ScatterElements(_)
            | Op::ScatterNd(_)
            | Op::TensorScatter(_)
            | Op::NonZero(_)
            | Op::Unique(_)
    );
    if !moves {
        return Err(Refusal::new(format!("takes operators that move strings, not {}", node.op.name())));
    }
    if region.input(0).map(|t| t.data_type) != Some(DataType::String) {
        return Err(Refusal::new("takes strings, not numbers"));
    }
    let body = region.body();
    let inputs: Vec<Option<ValueType>> = node.inputs.iter().map(|id| id.map(|id| numbered(body.ty(id)))).collect();
    let outputs: Vec<ValueType> = node.outputs.iter().map(|id| numbered(body.ty(*id))).collect();
    let inner = Region::single(node.op.clone(), &inputs, outputs);
    // The kernels for numbers look at one operator, not at a device.
    let device = Device { back_end: "cpu".to_owned(), tier: String::new(), threads: 1 };
    let tactics = super::TACTICS.iter().chain(crate::index::TACTICS);
    let kernel = tactics.filter(|tactic| tactic.name() != STRINGS.name).find_map(|tactic| {
        let candidate = tactic.offer(&inner, &device).ok()?.into_iter().next()?;
        match tactic.load(&candidate.recipe, &inner, &device).ok()? {
            Loaded::Views(kernel) => Some(kernel),
            Loaded::Values(_) => None,
        }
    });
    match kernel {
        Some(kernel) => Ok(Loaded::Values(Box::new(Strings { op: node.op.clone(), kernel }))),
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

struct Strings {
    op: Op,
    kernel: Box<dyn Kernel>,
}

/// An operand as the kernel for numbers sees it.
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
        let results = infer(&self.op, &Operands::new(&types), &mut InferContext::default()).map_err(data_error)?;
        let operands = numbered
            .iter()
            .map(|n| n.as_ref().map_or(Ok(Operand::Absent), Numbered::operand))
            .collect::<Result<Vec<_>, _>>()?;
        let mut rooms = Vec::with_capacity(results.len());
        for ty in &results {
            let mut room = DynamicTarget::new(ty.data_type());
            let sizes = ty.as_tensor().and_then(|t| t.shape.sizes());
            if let Some(sizes) = &sizes {
                room.allocate(sizes)?;
            }
            rooms.push((room, sizes));
        }
        let mut outputs = Vec::with_capacity(rooms.len());
        for (room, sizes) in &mut rooms {
            outputs.push(match sizes {
                Some(sizes) => Target::View(room.allocate(sizes)?),
                None => Target::Dynamic(room),
            });
        }
        self.kernel.launch(&mut Launch {
            workers: &Alone,
            inputs: &operands,
            outputs: &mut outputs,
            workspace: &mut [],
            rooms: &Rooms::default(),
            seed: (0, 0),
        })?;
        drop(outputs);
        rooms.iter().map(|(room, _)| named(room.view()?, &table)).collect()
    }
}

/// A result with its strings back; only results that stand for strings have the type of places.
fn named(view: View<'_>, table: &[&str]) -> Result<Value, KernelError> {
    if view.data_type() != PLACE {
        return view.to_tensor().map(Value::Tensor).map_err(data_error);
    }
    let entry = |&place: &u64| usize::try_from(place).ok().and_then(|p| table.get(p)).copied().unwrap_or_default();
    let strings = view.elements::<u64>().iter().map(|place| entry(place).to_owned()).collect();
    Tensor::from_strings(view.sizes(), strings).map(Value::Tensor).map_err(data_error)
}

#[cfg(test)]
mod tests {
    use sinter_ops::index::{Gather, NonZero, Unique};
    use sinter_ops::movement::{Concat, Pad, Reshape};

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
}
