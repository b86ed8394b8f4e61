//! A network that grows node by node. The generator computes a node at both sizes before it adds it: the network is
//! valid, and its numbers stay finite.

use std::collections::HashMap;

use sinter_base::{DataType, Dim, Location, Tensor, TensorType, Value, ValueType};
use sinter_ir::NetworkBuilder;
use sinter_ir::builder::Handle;
use sinter_ops::known::known_type;
use sinter_ops::{Arguments, EvalContext, InferContext, Op, Operands, ReferenceEvaluator, infer};
use sinter_testkit::Random;

use crate::random::Problem;
use crate::random::shrink::tidied;

/// Most elements of a value.
const MAX_ELEMENTS: usize = 1 << 13;
/// Largest number: products of a few stay far from what f16 holds.
const LARGEST: f64 = 1e3;
/// Smallest nonzero magnitude: f32 can represent its square and its fourth power.
const SMALLEST: f64 = 1e-8;
/// Most axes.
const MAX_RANK: usize = 6;
/// Attempts at a node before the generator tries another one.
const ATTEMPTS: usize = 12;
/// Sizes of dynamic dimensions in the first run; those in the second run are others.
const FIRST_SIZES: [usize; 8] = [1, 2, 3, 4, 5, 6, 7, 8];

/// A value of the network as far as it has grown.
#[derive(Clone)]
pub(super) struct Known {
    pub(super) handle: Handle,
    /// Its value in each run.
    pub(super) values: [Value; 2],
    /// Does any node read it?
    pub(super) is_read: bool,
    /// Is it an input or a weight?
    is_leaf: bool,
}

impl Known {
    /// The tensors of both runs.
    pub(super) fn tensors(&self) -> Option<[&Tensor; 2]> {
        Some([self.values[0].as_tensor()?, self.values[1].as_tensor()?])
    }

    pub(super) fn data_type(&self) -> DataType {
        self.values[0].value_type().data_type()
    }

    /// Is it an input or weight of the network, and no value of an inner scope?
    pub(super) fn is_outermost(&self) -> bool {
        self.is_leaf
    }

    pub(super) fn rank(&self) -> usize {
        self.values[0].as_tensor().map_or(0, Tensor::rank)
    }
}

/// See the module documentation.
pub(super) struct Growth {
    pub(super) builder: NetworkBuilder,
    pub(super) random: Random,
    /// Values that a node may read, those of the open scope included.
    pub(super) pool: Vec<Known>,
    sets: [HashMap<String, Value>; 2],
    /// Sizes that are dynamic: of the first run, name, of the second run.
    dynamic: Vec<(usize, String, usize)>,
    leaves: usize,
    /// Nodes of the outermost body.
    nodes: usize,
}

/// The network of a seed.
pub fn grown(seed: u64) -> Problem {
    let mut growth = Growth::new(seed);
    let count = 3 + growth.random.below(18);
    for _ in 0..2 + growth.random.below(2) {
        growth.first_leaf();
    }
    for _ in 0..4 * count {
        if growth.nodes >= count {
            break;
        }
        growth.node();
    }
    let keeps_unread = growth.random.below(8) == 0;
    let problem = growth.finish(&format!("random-{seed}"));
    if keeps_unread { problem } else { tidied(&problem).unwrap_or(problem) }
}

impl Growth {
    fn new(seed: u64) -> Self {
        let mut random = Random::of("networks", seed);
        let mut dynamic: Vec<(usize, String, usize)> = Vec::new();
        // One network of four has fixed sizes only.
        let names = if random.below(4) == 0 { 0 } else { 1 + random.below(3) };
        for _ in 0..names {
            let first = FIRST_SIZES[random.below(FIRST_SIZES.len())];
            let second = match random.below(12) {
                0 => 0,
                1 => 1,
                _ => 2 + random.below(11),
            };
            let is_new = dynamic.iter().all(|(a, _, b)| *a != first && *b != second);
            if is_new && first != second {
                dynamic.push((first, format!("N{}", dynamic.len()), second));
            }
        }
        let (builder, sets) = (NetworkBuilder::new(), Default::default());
        Self { builder, random, pool: Vec::new(), sets, dynamic, leaves: 0, nodes: 0 }
    }

    /// A size as a dimension, and what it is in the second run.
    fn dim(&self, size: usize) -> (Dim, usize) {
        match self.dynamic.iter().find(|(first, _, _)| *first == size) {
            Some((_, name, second)) => (Dim::symbol(name), *second),
            None => (Dim::from(size), size),
        }
    }

    /// Sizes of the first run as those of the second.
    pub(super) fn second(&self, sizes: &[usize]) -> Vec<usize> {
        sizes.iter().map(|size| self.dim(*size).1).collect()
    }

    fn first_leaf(&mut self) {
        let rank = [2, 2, 3, 3, 4, 1, 5, 6, 0][self.random.below(9)];
        let sizes: Vec<usize> = (0..rank).map(|_| self.size(rank)).collect();
        let data_type = if self.random.below(5) == 0 { self.data_type() } else { DataType::F32 };
        self.input(data_type, &sizes);
    }

    /// A size for one of so many axes: dynamic ones often, none now and then.
    pub(super) fn size(&mut self, rank: usize) -> usize {
        if !self.dynamic.is_empty() && self.random.below(2) == 0 {
            return self.dynamic[self.random.below(self.dynamic.len())].0;
        }
        match self.random.below(40) {
            0 => 0,
            1..4 => 1,
            4..8 if rank < 3 => 9 + self.random.below(40),
            _ => 2 + self.random.below(7),
        }
    }

    /// Any type of numbers, frequent ones more often.
    pub(super) fn data_type(&mut self) -> DataType {
        let usual = [
            DataType::F32,
            DataType::F16,
            DataType::Bf16,
            DataType::F64,
            DataType::I64,
            DataType::I32,
            DataType::I8,
            DataType::U8,
            DataType::Bool,
        ];
        if self.random.below(4) > 0 {
            return usual[self.random.below(usual.len())];
        }
        loop {
            let any = DataType::ALL[self.random.below(DataType::ALL.len())];
            if any != DataType::String && any != DataType::F8E8M0 {
                return any;
            }
        }
    }

    /// Random elements.
    pub(super) fn tensor(&mut self, data_type: DataType, sizes: &[usize]) -> Tensor {
        let count = sizes.iter().product();
        let random = &mut self.random;
        let mut element = || match data_type {
            DataType::Bool => random.below(2) as f64,
            t if t.is_float() => (random.below(4097) as f64 - 2048.0) / 1024.0,
            t if t.is_unsigned_integer() => random.below(4) as f64,
            _ => random.below(8) as f64 - 4.0,
        };
        let elements: Vec<f64> = (0..count).map(|_| element()).collect();
        let fitting = |v: &f64| data_type.integer_range().map_or(*v, |(low, high)| v.clamp(low as f64, high as f64));
        let elements: Vec<f64> = elements.iter().map(fitting).collect();
        Tensor::from_floats(data_type, sizes, &elements).expect("as many elements as sizes say")
    }

    /// A network input with random elements; sizes are those of the first run.
    pub(super) fn input(&mut self, data_type: DataType, sizes: &[usize]) -> usize {
        let second = self.second(sizes);
        let values = [self.tensor(data_type, sizes), self.tensor(data_type, &second)].map(Value::Tensor);
        self.given(values)
    }

    /// A network input with these values; sizes that are dynamic are so where both runs have them.
    pub(super) fn given(&mut self, values: [Value; 2]) -> usize {
        let ty = match (&values[0], &values[1]) {
            (Value::Tensor(a), Value::Tensor(b)) => {
                let dims = a.sizes().iter().zip(b.sizes()).map(|(&a, &b)| match self.dim(a) {
                    (dim, second) if second == b => dim,
                    _ => Dim::from(a),
                });
                TensorType::ranked(a.data_type(), dims.collect()).into()
            }
            _ => values[0].value_type(),
        };
        self.leaves += 1;
        let name = format!("x{}", self.leaves);
        for (set, value) in self.sets.iter_mut().zip(&values) {
            set.insert(name.clone(), value.clone());
        }
        let handle = self.builder.add_network_input(&name, ty, None);
        self.know(handle, values, true)
    }

    /// A weight.
    pub(super) fn weight(&mut self, tensor: Tensor) -> usize {
        self.leaves += 1;
        let handle = self.builder.add_weight(&format!("w{}", self.leaves), tensor.clone());
        self.know(handle, [Value::Tensor(tensor.clone()), Value::Tensor(tensor)], true)
    }

    /// Axes, sizes, indices.
    pub(super) fn ints(&mut self, values: &[i64]) -> usize {
        let tensor = Tensor::of_i64(values);
        let handle = self.builder.constant(tensor.clone());
        self.know(handle, [Value::Tensor(tensor.clone()), Value::Tensor(tensor)], true)
    }

    pub(super) fn know(&mut self, handle: Handle, values: [Value; 2], is_leaf: bool) -> usize {
        self.pool.push(Known { handle, values, is_read: false, is_leaf });
        self.pool.len() - 1
    }

    /// A value of the pool that a filter takes; late ones more often.
    pub(super) fn pick(&mut self, takes: impl Fn(&Known) -> bool) -> Option<usize> {
        let fitting: Vec<usize> = (0..self.pool.len()).filter(|&at| takes(&self.pool[at])).collect();
        let late = fitting.len().saturating_sub(5);
        match fitting.len() {
            0 => None,
            _ if self.random.below(3) > 0 => Some(fitting[late + self.random.below(fitting.len() - late)]),
            count => Some(fitting[self.random.below(count)]),
        }
    }

    /// Adds a node where types and both runs allow it, and returns its results.
    ///
    /// # Panics
    /// When `infer` and the reference contradict each other, which is a bug.
    pub(super) fn add(&mut self, op: Op, operands: &[Option<usize>]) -> Option<Vec<usize>> {
        let handles: Vec<Option<Handle>> = operands.iter().map(|at| at.map(|at| self.pool[at].handle)).collect();
        let types: Vec<Option<&ValueType>> = handles.iter().map(|h| h.map(|h| self.builder.ty(h))).collect();
        let mut cx = self.builder.infer.clone();
        let guards = cx.guards.len();
        let results = infer(&op, &Operands::new(&types), &mut cx).ok()?;
        for run in 0..2 {
            let size = |name: &str| {
                let (first, _, second) = self.dynamic.iter().find(|(_, known, _)| known == name)?;
                i64::try_from(if run == 0 { *first } else { *second }).ok()
            };
            let sides = |left: &Dim, right: &Dim| Some((left.evaluate(&size)?, right.evaluate(&size)?));
            let broken = cx.guards[guards..].iter().filter_map(|guard| sides(&guard.left, &guard.right));
            if broken.into_iter().any(|(left, right)| left != right) {
                return None;
            }
        }
        let run = |run: usize| -> Option<Vec<Value>> {
            let given: Vec<Option<Value>> =
                operands.iter().map(|at| at.map(|at| self.pool[at].values[run].clone())).collect();
            // A reference trusts the sizes of its caller.
            let types: Vec<Option<ValueType>> = given.iter().map(|value| value.as_ref().map(known_type)).collect();
            let types: Vec<Option<&ValueType>> = types.iter().map(Option::as_ref).collect();
            let results = infer(&op, &Operands::new(&types), &mut InferContext::default()).ok()?;
            if !results.iter().all(is_small) {
                return None;
            }
            let cx = EvalContext::new(&ReferenceEvaluator);
            let found = op.reference(&Arguments::new(&given), &cx).ok()?;
            found.iter().all(is_moderate).then_some(found)
        };
        let (first, second) = (run(0)?, run(1)?);
        for (ty, value) in results.iter().zip(first.iter().chain(&second)).chain(results.iter().zip(&second)) {
            assert!(admits(ty, value), "{} infers {ty}, the reference gives {}", op.name(), value.value_type());
        }
        let added = self.builder.add(op, &handles, &Location::default()).ok()?;
        for at in operands.iter().flatten() {
            self.pool[*at].is_read = true;
        }
        if self.builder.depth() == 1 {
            self.nodes += 1;
        }
        let values = added.into_iter().zip(first.into_iter().zip(second));
        Some(values.map(|(handle, (first, second))| self.know(handle, [first, second], false)).collect())
    }

    fn node(&mut self) {
        for _ in 0..ATTEMPTS {
            let (pool, at) = (self.pool.len(), self.random.below(100));
            let added = match at {
                0..62 => self.own_node(),
                62..94 => self.example(),
                _ => self.control(),
            };
            if added.is_some() {
                return;
            }
            // Leaves of a rejected node stay unread inputs; other nodes do not read them.
            self.pool.truncate(pool);
        }
    }

    fn finish(mut self, name: &str) -> Problem {
        let is_end = |known: &Known| !known.is_read && !known.is_leaf;
        let mut ends: Vec<usize> = (0..self.pool.len()).filter(|at| is_end(&self.pool[*at])).collect();
        if ends.is_empty() {
            ends.push(self.pool.len() - 1);
        }
        // Values in the middle are results as well, now and then.
        for _ in 0..self.random.below(3) {
            let at = self.random.below(self.pool.len());
            if !ends.contains(&at) || self.random.below(4) == 0 {
                ends.push(at);
            }
        }
        let outputs: Vec<(String, Handle)> =
            ends.iter().enumerate().map(|(number, at)| (format!("y{number}"), self.pool[*at].handle)).collect();
        let network = self.builder.finish(name, &outputs);
        Problem { network, sets: self.sets }
    }
}

/// May a result of this type have few elements?
fn is_small(ty: &ValueType) -> bool {
    let count = ty.as_tensor().and_then(|ty| ty.shape.count().ok()).map(|count| count.lower_bound());
    count.is_none_or(|count| usize::try_from(count).is_ok_and(|count| count <= MAX_ELEMENTS))
}

/// Few elements; numbers neither large nor tiny.
fn is_moderate(value: &Value) -> bool {
    match value {
        Value::Tensor(tensor) => {
            let fits = tensor.count() <= MAX_ELEMENTS && tensor.rank() <= MAX_RANK;
            let is_usual = |v: &f64| *v == 0.0 || (SMALLEST..=LARGEST).contains(&v.abs());
            fits && (!tensor.data_type().is_float() || tensor.to_floats().iter().all(is_usual))
        }
        Value::Sequence { items, .. } => items.iter().all(is_moderate),
        Value::Optional { item, .. } => item.iter().all(|item| is_moderate(item)),
    }
}

/// Element type, rank and fixed sizes.
fn admits(ty: &ValueType, value: &Value) -> bool {
    match (ty, value) {
        (ValueType::Tensor(ty), Value::Tensor(tensor)) => {
            let fits = |(dim, size): (&Dim, &usize)| dim.as_constant().is_none_or(|d| usize::try_from(d) == Ok(*size));
            let sizes =
                ty.dims().map_or(true, |dims| dims.len() == tensor.rank() && dims.iter().zip(tensor.sizes()).all(fits));
            ty.data_type == tensor.data_type() && sizes
        }
        (ValueType::Sequence(ty), Value::Sequence { items, .. }) => items.iter().all(|item| admits(ty, item)),
        (ValueType::Optional(ty), Value::Optional { item, .. }) => item.iter().all(|item| admits(ty, item)),
        _ => false,
    }
}
