//! Small networks with control flow: kernels of many kinds in the bodies of branches, loops and scans, and in bodies of
//! bodies. Their bodies have values of known sizes that share buffers, and values whose sizes only a run knows.

use sinter_base::{DataType, Dim, Tensor, ValueType};
use sinter_ir::Network;
use sinter_ir::builder::{Handle, Scoped};
use sinter_ops::control::scan::Walk;
use sinter_ops::control::{If, Loop, Scan};
use sinter_ops::index::Gather;
use sinter_ops::matmul::MatMul;
use sinter_ops::movement::{Concat, Slice, Transpose};
use sinter_ops::norm::Normalize;
use sinter_ops::pointwise::ScalarOp;
use sinter_ops::reduce::{Reduce, ReduceKind, Softmax};
use sinter_ops::sequence::{SequenceLength, SplitToSequence};

use crate::odd_networks::{Maker, named, padded, permuted, softmax};

const F32: DataType = DataType::F32;

fn scalar(data_type: DataType) -> ValueType {
    ValueType::tensor(data_type, Vec::new())
}

fn matrix(rows: &Dim, columns: i64) -> ValueType {
    ValueType::tensor(F32, vec![rows.clone(), columns.into()])
}

/// The operands of the operator of a scope: its own operands, then the captured values.
fn with_captures(own: &[Option<Handle>], scopes: &[&Scoped]) -> Vec<Option<Handle>> {
    let captured = scopes.iter().flat_map(|scope| scope.captures.iter().copied().map(Some));
    own.iter().copied().chain(captured).collect()
}

/// `condition ? then : otherwise`.
fn branch(m: &mut Maker, condition: Handle, then: Scoped, otherwise: Scoped) -> Vec<Handle> {
    let inputs = with_captures(&[Some(condition)], &[&then, &otherwise]);
    m.all(If { then_branch: then.body, else_branch: otherwise.body }, &inputs)
}

/// softmax(tanh(x w) + x), and the same before the softmax: values of one size that live at the same time.
fn cell(m: &mut Maker, x: Handle, w: Handle) -> (Handle, Handle) {
    let product = m.op(MatMul::default(), &[x, w]);
    let bent = m.pointwise(&[product], |v| v[0].unary(ScalarOp::Tanh));
    let weights = m.op(softmax(-1), &[bent]);
    let sum = m.pointwise(&[weights, x], |v| &v[0] + &v[1]);
    let soft = m.op(softmax(0), &[sum]);
    let next = m.pointwise(&[soft, bent], |v| &v[0] - &v[1]);
    (next, sum)
}

/// `rounds` times, from x: a cell of N rows, and what it had in the middle.
fn repeated(m: &mut Maker, rows: &Dim, rounds: Handle) -> Vec<Handle> {
    let x = m.typed(F32, vec![rows.clone(), 13i64.into()]);
    let w = m.weight(&[13, 13]);
    m.builder.open_scope();
    m.builder.add_scope_input(scalar(DataType::I64));
    let goes_on = m.builder.add_scope_input(scalar(DataType::Bool));
    let state = m.builder.add_scope_input(matrix(rows, 13));
    let (next, middle) = cell(m, state, w);
    let body = m.builder.close_scope(&[goes_on, next, middle]);
    let inputs = with_captures(&[Some(rounds), None, Some(x)], &[&body]);
    let results = m.all(Loop { carried: 1, body: body.body }, &inputs);
    let last = m.op(softmax(1), &[results[0]]);
    vec![last, results[1]]
}

/// All of them.
pub fn networks() -> Vec<Network> {
    let n = || Dim::symbol("N");
    vec![
        named("loop", |m| {
            let rounds = m.ints(&[4]);
            repeated(m, &Dim::constant(5), rounds)
        }),
        named("loop-open", |m| {
            let rounds = m.ints(&[3]);
            repeated(m, &n(), rounds)
        }),
        named("loop-given", |m| {
            let rounds = m.typed(DataType::I64, vec![]);
            repeated(m, &n(), rounds)
        }),
        // While the mean is small, at most ten times: the sum of both results grows.
        named("loop-until", |m| {
            let (x, most, axes) = (m.input(&[3, 7]), m.ints(&[10]), m.ints(&[0, 1]));
            m.builder.open_scope();
            let number = m.builder.add_scope_input(scalar(DataType::I64));
            m.builder.add_scope_input(scalar(DataType::Bool));
            let state = m.builder.add_scope_input(matrix(&Dim::constant(3), 7));
            let next = m.pointwise(&[state, number], |v| &(&v[0] * 0.5) + &v[1].cast(F32));
            let mean = m.op(Reduce::new(ReduceKind::Mean, false), &[next, axes]);
            let goes_on = m.pointwise(&[mean], |v| v[0].binary(ScalarOp::Less, &v[0].same(2.5)));
            let body = m.builder.close_scope(&[goes_on, next, mean]);
            let inputs = with_captures(&[Some(most), None, Some(x)], &[&body]);
            m.all(Loop { carried: 1, body: body.body }, &inputs)
        }),
        // A list that gets a row longer with every iteration.
        named("loop-growing", |m| {
            let (x, rounds) = (m.input(&[1, 7]), m.ints(&[4]));
            let axes = m.ints(&[0]);
            m.builder.open_scope();
            m.builder.add_scope_input(scalar(DataType::I64));
            let goes_on = m.builder.add_scope_input(scalar(DataType::Bool));
            let state = m.builder.add_scope_input(matrix(&Dim::symbol("rows"), 7));
            let mean = m.op(Reduce::new(ReduceKind::Mean, true), &[state, axes]);
            let row = m.pointwise(&[mean, x], |v| &(&v[0] * 0.7) - &v[1]);
            let next = m.op(Concat { axis: 0 }, &[state, row]);
            let body = m.builder.close_scope(&[goes_on, next]);
            let inputs = with_captures(&[Some(rounds), None, Some(x)], &[&body]);
            m.all(Loop { carried: 1, body: body.body }, &inputs)
        }),
        named("scan", |m| {
            let (x, y) = (m.input(&[6, 7]), m.input(&[7, 6]));
            let (state, w) = (m.input(&[1, 7]), m.weight(&[7, 7]));
            m.builder.open_scope();
            let h = m.builder.add_scope_input(matrix(&Dim::constant(1), 7));
            let row = m.builder.add_scope_input(ValueType::tensor(F32, vec![7i64.into()]));
            let column = m.builder.add_scope_input(ValueType::tensor(F32, vec![7i64.into()]));
            let sum = m.pointwise(&[h, row], |v| &v[0] + &v[1]);
            let (next, middle) = cell(m, sum, w);
            let out = m.pointwise(&[middle, column], |v| &v[0] * &v[1]);
            let body = m.builder.close_scope(&[next, out, middle]);
            let walk = |axis, reverse| Walk { axis, reverse };
            let inputs = vec![walk(0, false), walk(1, true)];
            // The host joins along an inner axis, the device along the first one.
            let outputs = vec![walk(1, true), walk(0, true)];
            let op = Scan { states: 1, inputs, outputs, body: body.body.clone() };
            m.all(op, &with_captures(&[Some(state), Some(x), Some(y)], &[&body]))
        }),
        // Many kinds of kernels on either side.
        named("branch-images", |m| {
            let condition = m.typed(DataType::Bool, vec![]);
            let x = m.input(&[1, 3, 11, 9]);
            let (w, v) = (m.weight(&[5, 3, 3, 3]), m.weight(&[5, 5, 3, 3]));
            m.builder.open_scope();
            let y = m.op(padded(2, 1, 1), &[x, w]);
            let y = m.pointwise(&[y], |v| v[0].binary(ScalarOp::Max, &v[0].same(0.0)));
            let y = m.op(padded(2, 1, 1), &[y, v]);
            let y = m.op(permuted(&[0, 2, 3, 1]), &[y]);
            let norm = m.op(Normalize::deviation(vec![-1], 1e-5), &[y]);
            let then = m.pointwise(&[y, norm], |v| &v[0] + &v[1]);
            let then = m.builder.close_scope(&[then]);
            let picked = m.ints(&[2, 0, 1, 1, 2]);
            m.builder.open_scope();
            let y = m.op(Gather { axis: 1 }, &[x, picked]);
            let y = m.op(Transpose { permutation: Some(vec![0, 2, 3, 1]) }, &[y]);
            let z = m.op(Softmax { axis: 2, log: false }, &[y]);
            let otherwise = m.pointwise(&[y, z], |v| &v[0] * &v[1]);
            let otherwise = m.builder.close_scope(&[otherwise]);
            let both = branch(m, condition, then, otherwise);
            vec![m.op(softmax(-1), &[both[0]])]
        }),
        // The contents of both lengths are sizes that only a run knows.
        named("branch-lengths", |m| {
            let (x, condition) = (m.input(&[3, 7]), m.typed(DataType::Bool, vec![]));
            let [rows, columns] = [0, 1].map(|axis| {
                let pieces = m.op(SplitToSequence { axis, keep_axis: true }, &[x]);
                m.op(SequenceLength {}, &[pieces])
            });
            m.builder.open_scope();
            let then = m.pointwise(&[x, columns], |v| &v[0] * &v[1].cast(F32));
            let then = m.builder.close_scope(&[then]);
            m.builder.open_scope();
            let otherwise = m.pointwise(&[x, rows, columns], |v| &v[0] + &(&v[1] - &v[2]).cast(F32));
            let otherwise = m.builder.close_scope(&[otherwise]);
            branch(m, condition, then, otherwise)
        }),
        named("branch-rows", |m| {
            let condition = m.typed(DataType::Bool, vec![]);
            let x = m.typed(F32, vec![n(), 12i64.into()]);
            let (starts, ends, axes) = (m.ints(&[1]), m.ints(&[9]), m.ints(&[1]));
            let w = m.weight(&[12, 8]);
            m.builder.open_scope();
            let part = m.op(Slice::default(), &[x, starts, ends, axes]);
            let sum = m.op(Reduce::new(ReduceKind::Sum, true), &[part, axes]);
            let then = m.pointwise(&[part, sum], |v| &v[0] - &v[1]);
            let then = m.op(softmax(0), &[then]);
            let then = m.builder.close_scope(&[then]);
            m.builder.open_scope();
            let product = m.op(MatMul::default(), &[x, w]);
            let soft = m.op(softmax(-1), &[product]);
            let otherwise = m.pointwise(&[product, soft], |v| &v[0] * &v[1].unary(ScalarOp::Tanh));
            let otherwise = m.builder.close_scope(&[otherwise]);
            branch(m, condition, then, otherwise)
        }),
        // A branch in a loop in a branch: even iterations take one side, odd ones the other.
        named("nested", |m| {
            let (condition, x, w) = (m.typed(DataType::Bool, vec![]), m.input(&[5, 6]), m.weight(&[6, 6]));
            let rounds = m.ints(&[3]);
            m.builder.open_scope();
            m.builder.open_scope();
            let number = m.builder.add_scope_input(scalar(DataType::I64));
            let goes_on = m.builder.add_scope_input(scalar(DataType::Bool));
            let state = m.builder.add_scope_input(matrix(&Dim::constant(5), 6));
            let is_even = m.pointwise(&[number], |v| {
                v[0].binary(ScalarOp::Mod, &v[0].same(2.0)).binary(ScalarOp::Equal, &v[0].same(0.0))
            });
            m.builder.open_scope();
            let (even, _) = cell(m, state, w);
            let even = m.builder.close_scope(&[even]);
            m.builder.open_scope();
            let odd = m.op(softmax(0), &[state]);
            let odd = m.pointwise(&[odd, state], |v| &v[0] - &v[1].unary(ScalarOp::Exp));
            let odd = m.builder.close_scope(&[odd]);
            let next = branch(m, is_even, even, odd)[0];
            let halved = m.pointwise(&[next], |v| &v[0] * 0.5);
            let body = m.builder.close_scope(&[goes_on, halved, next]);
            let inputs = with_captures(&[Some(rounds), None, Some(x)], &[&body]);
            let then = m.all(Loop { carried: 1, body: body.body }, &inputs);
            let then = m.builder.close_scope(&[then[0]]);
            m.builder.open_scope();
            let otherwise = m.pointwise(&[x], |v| v[0].unary(ScalarOp::Neg));
            let otherwise = m.builder.close_scope(&[otherwise]);
            branch(m, condition, then, otherwise)
        }),
    ]
}

/// A loop that runs a million million times.
pub fn endless() -> Network {
    named("endless", |m| {
        let count = Tensor::from_ints(DataType::I64, &[], &[1_000_000_000_000]).expect("one number");
        let (rounds, x, w) = (m.builder.constant(count), m.input(&[2, 13]), m.weight(&[13, 13]));
        m.builder.open_scope();
        m.builder.add_scope_input(scalar(DataType::I64));
        let goes_on = m.builder.add_scope_input(scalar(DataType::Bool));
        let state = m.builder.add_scope_input(matrix(&Dim::constant(2), 13));
        let (next, _) = cell(m, state, w);
        let body = m.builder.close_scope(&[goes_on, next]);
        let inputs = with_captures(&[Some(rounds), None, Some(x)], &[&body]);
        m.all(Loop { carried: 1, body: body.body }, &inputs)
    })
}
