//! Nodes that join what exists: pointwise programs, products, movements, reductions.

use sinter_base::{DataType, Tensor};
use sinter_ops::Op;
use sinter_ops::conv::Convolution;
use sinter_ops::index::Gather;
use sinter_ops::matmul::MatMul;
use sinter_ops::movement::{Concat, Expand, Pad, PadMode, Reshape, Shape, Slice, Squeeze, Tile, Transpose, Unsqueeze};
use sinter_ops::norm::Normalize;
use sinter_ops::pointwise::scalar::Class;
use sinter_ops::pointwise::{Expr, ScalarOp};
use sinter_ops::reduce::{ArgReduce, Cumulative, Reduce, ReduceKind, Softmax};
use sinter_ops::window::Padding;
use sinter_testkit::Random;

use crate::random::growth::{Growth, Known};

/// Operations of one pointwise program.
const MAX_OPERATIONS: usize = 5;

const KINDS: [ReduceKind; 10] = [
    ReduceKind::Sum,
    ReduceKind::Mean,
    ReduceKind::Product,
    ReduceKind::Max,
    ReduceKind::Min,
    ReduceKind::L1,
    ReduceKind::L2,
    ReduceKind::LogSum,
    ReduceKind::LogSumExp,
    ReduceKind::SumSquare,
];

fn is_number(known: &Known) -> bool {
    known.tensors().is_some() && known.data_type() != DataType::String
}

fn is_plain_float(known: &Known) -> bool {
    let plain = [DataType::F32, DataType::F32, DataType::F16, DataType::Bf16, DataType::F64];
    known.tensors().is_some() && plain.contains(&known.data_type())
}

/// The rank may depend on what a run computes.
fn has_axes(known: &Known) -> bool {
    known.tensors().is_some_and(|[a, b]| a.rank() > 0 && a.rank() == b.rank())
}

impl Growth {
    /// A node of this file.
    pub(super) fn own_node(&mut self) -> Option<Vec<usize>> {
        match self.random.below(20) {
            0..6 => self.pointwise(),
            6..9 => self.product(),
            9 => self.convolution(),
            10..12 => self.reduction(),
            12 => self.normalization(),
            _ => self.movement(),
        }
    }

    /// A program over one to three values, broadcast.
    pub(super) fn pointwise(&mut self) -> Option<Vec<usize>> {
        let first = self.pick(is_number)?;
        let mut operands = vec![first];
        for _ in 0..self.random.below(3) {
            let other = if self.random.below(3) == 0 { self.partner(first) } else { self.pick(is_number) };
            operands.push(other?);
        }
        let mut exprs: Vec<Expr> = Vec::new();
        for (index, at) in operands.iter().enumerate() {
            exprs.push(Expr::input(index, self.pool[*at].data_type()));
        }
        // All operands are read.
        let mut last = exprs[0].clone();
        for other in &exprs.clone()[1..] {
            last = self.joined(&last, other);
            exprs.push(last.clone());
        }
        for _ in 0..=self.random.below(MAX_OPERATIONS) {
            let other = exprs[self.random.below(exprs.len())].clone();
            last = if self.random.below(2) == 0 { self.applied(&last) } else { self.joined(&last, &other) };
            exprs.push(last.clone());
        }
        let mut results = vec![last];
        if self.random.below(6) == 0 {
            results.push(exprs[self.random.below(exprs.len())].clone());
        }
        let op = Expr::into_pointwise(&results).ok()?;
        let operands: Vec<Option<usize>> = operands.into_iter().map(Some).collect();
        self.add(op.into(), &operands)
    }

    /// A new value that is broadcast to another one, of its type or f32.
    fn partner(&mut self, to: usize) -> Option<usize> {
        let known = &self.pool[to];
        let (data_type, sizes) = (known.data_type(), known.tensors()?[0].sizes().to_vec());
        let from = self.random.below(sizes.len() + 1);
        let sizes: Vec<usize> = sizes[from..].iter().map(|s| if self.random.below(4) == 0 { 1 } else { *s }).collect();
        let is_weight = self.second(&sizes) == sizes && self.random.below(2) == 0;
        if is_weight {
            let tensor = self.tensor(data_type, &sizes);
            return Some(self.weight(tensor));
        }
        Some(self.input(data_type, &sizes))
    }

    /// One operation on one value.
    fn applied(&mut self, x: &Expr) -> Expr {
        let data_type = x.data_type();
        if self.random.below(6) == 0 {
            return x.cast(self.data_type());
        }
        let takes = |op: &ScalarOp| match op.class() {
            Class::FloatUnary | Class::FloatTest => data_type.is_float(),
            Class::Unary => data_type != DataType::Bool,
            _ => false,
        };
        let fitting: Vec<ScalarOp> = ScalarOp::ALL.iter().copied().filter(takes).collect();
        match fitting.len() {
            0 => x.cast(DataType::F32),
            count => x.unary(fitting[self.random.below(count)]),
        }
    }

    /// One operation on two values, the second converted to the type of the first.
    fn joined(&mut self, x: &Expr, y: &Expr) -> Expr {
        let data_type = x.data_type();
        let y = if self.random.below(8) == 0 { x.same(2.0) } else { y.cast(data_type) };
        if data_type != DataType::Bool && self.random.below(8) == 0 {
            let condition = x.binary(ScalarOp::Less, &y);
            return condition.select(x, &y);
        }
        let takes = |op: &ScalarOp| match op.class() {
            Class::Binary => data_type != DataType::Bool,
            Class::IntegerBinary => data_type.is_integer(),
            Class::Comparison => true,
            Class::Logic => data_type == DataType::Bool,
            _ => false,
        };
        // Frequent ones more often: sums and products.
        let usual = [ScalarOp::Add, ScalarOp::Mul, ScalarOp::Sub, ScalarOp::Max];
        if data_type != DataType::Bool && self.random.below(2) == 0 {
            return x.binary(usual[self.random.below(usual.len())], &y);
        }
        let fitting: Vec<ScalarOp> = ScalarOp::ALL.iter().copied().filter(takes).collect();
        x.binary(fitting[self.random.below(fitting.len())], &y)
    }

    fn product(&mut self) -> Option<Vec<usize>> {
        let a = self.pick(|known| is_plain_float(known) && known.rank() > 0)?;
        if self.random.below(3) == 0 {
            let b = self.pick(|known| is_plain_float(known) && known.rank() > 0)?;
            let op = MatMul { transpose_a: self.random.below(3) == 0, transpose_b: self.random.below(2) == 0 };
            return self.add(op.into(), &[Some(a), Some(b)]);
        }
        let sizes = self.pool[a].tensors()?[0].sizes().to_vec();
        let (k, n) = (*sizes.last()?, 1 + self.random.below(24));
        let data_type = self.pool[a].data_type();
        // The weight may have been used before.
        let known = self.pick(|w| w.rank() == 2 && w.tensors().is_some_and(|[w, _]| w.sizes()[0] == k));
        let b = match known {
            Some(known) if self.random.below(3) == 0 => known,
            _ if self.second(&[k]) != [k] => self.input(data_type, &[k, n]),
            _ => {
                let tensor = self.tensor(data_type, &[k, n]);
                self.weight(tensor)
            }
        };
        self.add(MatMul::default().into(), &[Some(a), Some(b)])
    }

    fn convolution(&mut self) -> Option<Vec<usize>> {
        let x = self.pick(|known| is_plain_float(known) && (3..=5).contains(&known.rank()))?;
        let sizes = self.pool[x].tensors()?[0].sizes().to_vec();
        let (spatial, channels, data_type) = (sizes.len() - 2, sizes[1], self.pool[x].data_type());
        let groups = if channels > 0 && self.random.below(3) == 0 { channels } else { 1 };
        let filters = groups * (1 + self.random.below(8));
        let mut window = Vec::new();
        for _ in 0..spatial {
            window.push(1 + self.random.below(3));
        }
        let pad = |random: &mut Random| (0..spatial).map(|_| random.below(2) as i64).collect();
        let padding = Padding::Explicit { begin: pad(&mut self.random), end: pad(&mut self.random) };
        let strides = (0..spatial).map(|_| 1 + self.random.below(2)).collect();
        let op = Convolution { padding, groups, strides, ..Convolution::plain(spatial) };
        let weight = self.tensor(data_type, &[&[filters, channels / groups.max(1)][..], &window].concat());
        let weight = self.weight(weight);
        let bias = (self.random.below(2) == 0).then(|| {
            let bias = self.tensor(data_type, &[filters]);
            self.weight(bias)
        });
        self.add(op.into(), &[Some(x), Some(weight), bias])
    }

    fn axis(&mut self, at: usize) -> i64 {
        let rank = self.pool[at].rank();
        let axis = self.random.below(rank) as i64;
        if self.random.below(2) == 0 { axis } else { axis - rank as i64 }
    }

    fn reduction(&mut self) -> Option<Vec<usize>> {
        let x = self.pick(|known| is_number(known) && known.rank() > 0)?;
        let axis = self.axis(x);
        match self.random.below(8) {
            0 => {
                let log = self.random.below(3) == 0;
                self.add(Softmax { axis, log }.into(), &[Some(x)])
            }
            1 => {
                let op = ArgReduce {
                    largest: self.random.below(2) == 0,
                    axis,
                    keep_dims: self.random.below(2) == 0,
                    select_last: self.random.below(2) == 0,
                };
                self.add(op.into(), &[Some(x)])
            }
            2 => {
                let mut flag = || self.random.below(3) == 0;
                let op = Cumulative { product: flag(), exclusive: flag(), reverse: flag() };
                let axis = self.constant(Tensor::scalar(DataType::I64, axis as f64));
                self.add(op.into(), &[Some(x), Some(axis)])
            }
            _ => {
                let op = Reduce::new(KINDS[self.random.below(KINDS.len())], self.random.below(2) == 0);
                let mut axes = vec![axis];
                if self.random.below(3) == 0 {
                    axes.push(self.axis(x));
                }
                let axes = if self.random.below(6) == 0 { None } else { Some(self.ints(&axes)) };
                self.add(op.into(), &[Some(x), axes])
            }
        }
    }

    /// A normalization over the last axes, with the attributes of an example.
    fn normalization(&mut self) -> Option<Vec<usize>> {
        let x = self.pick(|known| is_plain_float(known) && known.rank() > 0)?;
        let examples = sinter_ops::catalog::by_name("Normalize")?.examples();
        let example = examples[self.random.below(examples.len())].clone();
        let Op::Normalize(op) = &example.op else { return None };
        let op: Normalize = op.clone();
        let mut operands = vec![Some(x)];
        for value in example.values(1).into_iter().skip(1) {
            operands.push(value.as_ref().map(|_| self.partner(x)).unwrap_or(None));
        }
        self.add(op.into(), &operands)
    }

    /// A weight that is no list of sizes.
    pub(super) fn constant(&mut self, tensor: Tensor) -> usize {
        self.weight(tensor)
    }

    fn movement(&mut self) -> Option<Vec<usize>> {
        let x = self.pick(has_axes)?;
        let [sizes, second] = self.pool[x].tensors()?.map(|t| t.sizes().to_vec());
        let rank = sizes.len();
        let axis = self.axis(x);
        let positive = axis.rem_euclid(rank as i64);
        let (size, least) = (sizes[positive as usize], sizes[positive as usize].min(second[positive as usize]));
        match self.random.below(12) {
            0 | 1 => {
                let permutation = Some(self.random.order(rank));
                self.add(Transpose { permutation }.into(), &[Some(x)])
            }
            2 | 3 => {
                let shape = self.reshaped(x, &sizes, &second)?;
                self.add(Reshape { allow_zero: false }.into(), &[Some(x), Some(shape)])
            }
            4 | 5 => {
                let (a, b) = (self.random.below(size + 2) as i64 - 1, self.random.below(size + 2) as i64);
                let step = [1, 1, 1, 2, 3, -1, -2][self.random.below(7)];
                let end = if self.random.below(3) == 0 { i64::MAX } else { b };
                let (start, end) = if step < 0 { (b, if a < 1 { i64::MIN } else { 0 }) } else { (a, end) };
                let lists = [[start], [end], [axis], [step]].map(|list| Some(self.ints(&list)));
                self.add(Slice {}.into(), &[&[Some(x)], &lists[..]].concat())
            }
            6 | 7 => {
                let data_type = self.pool[x].data_type();
                let near = |known: &Known| known.data_type() == data_type && known.rank() == rank;
                let mut operands = vec![Some(x)];
                for _ in 0..1 + self.random.below(2) {
                    operands.push(self.pick(near));
                }
                operands.swap(0, 1);
                self.add(Concat { axis }.into(), &operands)
            }
            8 => {
                let mode = [PadMode::Constant, PadMode::Constant, PadMode::Edge, PadMode::Reflect];
                let mode = mode[self.random.below(mode.len())];
                let lists = [vec![self.random.below(4) as i64 - 1, self.random.below(4) as i64 - 1], vec![axis]];
                let [pads, axes] = lists.map(|list| Some(self.ints(&list)));
                self.add(Pad { mode }.into(), &[Some(x), pads, None, axes])
            }
            9 => {
                let indices: Vec<i64> =
                    (0..1 + self.random.below(5)).map(|_| self.random.below(least) as i64).collect();
                let (one, many) = (self.random.below(4) == 0, indices.len());
                let sizes: &[usize] = if one { &[] } else { &[many] };
                let indices = Tensor::from_vec(sizes, indices[..if one { 1 } else { many }].to_vec()).ok()?;
                let indices = self.constant(indices);
                self.add(Gather { axis }.into(), &[Some(x), Some(indices)])
            }
            10 => {
                let axes = self.ints(&[axis]);
                let op: Op = if size == 1 { Squeeze {}.into() } else { Unsqueeze {}.into() };
                self.add(op, &[Some(x), Some(axes)])
            }
            _ if self.random.below(2) == 0 => {
                let repeats: Vec<i64> = (0..rank).map(|_| 1 + self.random.below(2) as i64).collect();
                let repeats = self.ints(&repeats);
                self.add(Tile {}.into(), &[Some(x), Some(repeats)])
            }
            _ => {
                // To the sizes of another value, which only a run may know.
                let other = self.pick(has_axes)?;
                let shape = self.add(Shape { start: 0, end: None }.into(), &[Some(other)])?[0];
                self.add(Expand {}.into(), &[Some(x), Some(shape)])
            }
        }
    }

    /// A shape of as many elements: axes merged or split, as a constant or computed from sizes.
    fn reshaped(&mut self, x: usize, sizes: &[usize], second: &[usize]) -> Option<usize> {
        let rank = sizes.len();
        let at = self.random.below(rank);
        let fixed =
            |axis: usize| if sizes[axis] == second[axis] && sizes[axis] > 0 { Some(sizes[axis] as i64) } else { None };
        let mut target: Vec<i64> = Vec::new();
        match self.random.below(4) {
            // Two axes become one.
            0 | 1 if rank > 1 => {
                let at = at.min(rank - 2);
                target.extend((0..at).map(|_| 0));
                target.push(-1);
                for axis in at + 2..rank {
                    target.push(fixed(axis)?);
                }
            }
            // One axis becomes two.
            2 => {
                let size = fixed(at)?;
                let factor = (2..=size).find(|factor| size % factor == 0)?;
                target.extend((0..at).map(|_| 0));
                target.extend([factor, size / factor]);
                let unknown = (at + 1..rank).filter(|axis| fixed(*axis).is_none()).count();
                if unknown > 1 {
                    return None;
                }
                target.extend((at + 1..rank).map(|axis| fixed(axis).unwrap_or(-1)));
            }
            // The sizes of the operand itself, the first axis joined to the last one by a run-time list.
            3 => {
                let head = self.add(Shape { start: 0, end: Some(1) }.into(), &[Some(x)])?[0];
                let rest = self.ints(&[-1]);
                return Some(self.add(Concat { axis: 0 }.into(), &[Some(head), Some(rest)])?[0]);
            }
            _ => target.push(-1),
        }
        Some(self.ints(&target))
    }
}
