//! Chains: quantizations, dequantizations and pointwise programs of a region, computed together element by element.
//!
//! All results of a chain's operators have the same sizes. Between its operators every value is a column of f32,
//! quantized ones included: integers of at most 16 bits are exact in it. So a chain computes the bits of the separate
//! operators.

use sinter_backend::{Refusal, Region};
use sinter_base::quantization::Granularity;
use sinter_base::{DataType, Dim};
use sinter_ops::pointwise::Program;
use sinter_ops::pointwise::program::Step;
use sinter_ops::{Body, Node, Op, ValueId};
use smallvec::SmallVec;

use crate::pointwise::column::Kind;

/// Most operands of a chain: their list lies on the stack.
pub(super) const MOST_SOURCES: usize = 32;

/// How one column is made of earlier ones.
#[derive(Clone, Debug)]
pub(super) enum Work {
    /// Elements of an operand, by its index among the chain's.
    Load(usize),
    /// A constant, or an operation on columns: the step says which.
    Scalar,
    /// `saturate(round(x / scale) + zero)`
    Quantize { x: usize, scale: usize, zero: Option<usize>, low: f32, high: f32 },
    /// `(x - zero) scale`
    Dequantize { x: usize, scale: usize, zero: Option<usize> },
}

/// An operand of a chain.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Source {
    /// The value of the region.
    pub(super) value: ValueId,
    /// The axis of the result that its only axis is; `None` when it follows the result from its last axis on.
    pub(super) axis: Option<usize>,
}

/// See the module documentation.
#[derive(Clone, Debug)]
pub struct Chain {
    pub(super) work: Vec<Work>,
    /// Parallel to `work`: what scalar work does, and the types of columns.
    pub(super) steps: Vec<Step>,
    pub(super) sources: Vec<Source>,
    /// Which source has the sizes of the result.
    pub(super) whole: usize,
    /// The column of the result.
    pub(super) result: usize,
    /// Type of the result.
    pub(super) data_type: DataType,
}

/// Can a value of this type pass between the operators of a chain?
fn is_exact(data_type: DataType) -> bool {
    matches!(data_type, DataType::F32 | DataType::I8 | DataType::U8 | DataType::I16 | DataType::U16)
}

fn dims(body: &Body, id: ValueId) -> Result<&[Dim], Refusal> {
    body.ty(id).as_tensor().and_then(|ty| ty.dims().ok()).ok_or_else(|| Refusal::new("a value of unknown rank"))
}

/// Is this an operator that chains are made of?
pub(super) fn is_link(op: &Op) -> bool {
    matches!(op, Op::Quantize(_) | Op::Dequantize(_) | Op::Pointwise(_))
}

/// A chain as it grows.
struct Growing<'a> {
    body: &'a Body,
    result: &'a [Dim],
    chain: Chain,
    /// Columns of values.
    columns: Vec<(ValueId, usize)>,
}

impl Chain {
    /// The chain of these nodes of a body, in order, whose result is the first output of the last one.
    ///
    /// # Errors
    /// When a chain does not support the operators or their types.
    pub(super) fn of(region: &Region, nodes: &[&Node]) -> Result<Self, Refusal> {
        let body = region.body();
        let last = nodes.last().and_then(|node| node.outputs.first().copied());
        let last = last.ok_or_else(|| Refusal::new("no operators"))?;
        let chain = Self {
            work: Vec::new(),
            steps: Vec::new(),
            sources: Vec::new(),
            whole: 0,
            result: 0,
            data_type: body.ty(last).data_type(),
        };
        let mut growing = Growing { body, result: dims(body, last)?, chain, columns: Vec::new() };
        for node in nodes {
            growing.add(node)?;
        }
        let Growing { mut chain, columns, .. } = growing;
        chain.result = columns.last().map_or(0, |(_, column)| *column);
        let is_whole = |source: &Source| source.axis.is_none() && dims(body, source.value) == dims(body, last);
        let whole = chain.sources.iter().position(is_whole);
        chain.whole = whole.ok_or_else(|| Refusal::new("no operand is as large as the result"))?;
        Ok(chain)
    }
}

impl Growing<'_> {
    fn push(&mut self, work: Work, step: Step) -> usize {
        self.chain.work.push(work);
        self.chain.steps.push(step);
        self.chain.work.len() - 1
    }

    /// A column of real numbers.
    fn push_real(&mut self, work: Work) -> usize {
        self.push(work, Step::Input { index: 0, data_type: DataType::F32 })
    }

    /// The column of an operand; `axis` is the one that a list of scales belongs to.
    fn column(&mut self, id: ValueId, axis: Option<usize>) -> Result<usize, Refusal> {
        if let (Some((_, column)), None) = (self.columns.iter().find(|(known, _)| *known == id), axis) {
            return Ok(*column);
        }
        let data_type = self.body.ty(id).data_type();
        if !is_exact(data_type) {
            return Err(Refusal::new(format!("a chain with values of type {data_type}")));
        }
        let source = Source { value: id, axis };
        let known = self.chain.sources.iter().position(|other| *other == source);
        if let Some(known) = known {
            let is_it = |work: &Work| matches!(work, Work::Load(index) if *index == known);
            return self.chain.work.iter().position(is_it).ok_or_else(|| Refusal::new("an operand without a column"));
        }
        if self.chain.sources.len() == MOST_SOURCES {
            return Err(Refusal::new(format!("more than {MOST_SOURCES} operands")));
        }
        self.chain.sources.push(source);
        Ok(self.push_real(Work::Load(self.chain.sources.len() - 1)))
    }

    fn add(&mut self, node: &Node) -> Result<(), Refusal> {
        let [result] = node.outputs[..] else { return Err(Refusal::new("an operator of several results")) };
        if dims(self.body, result)? != self.result || !is_exact(self.body.ty(result).data_type()) {
            return Err(Refusal::new("values of different sizes, or of other types than f32 and short integers"));
        }
        let column = match &node.op {
            Op::Quantize(op) => {
                if op.precision != DataType::F32 || self.type_of(node, 0) != Some(DataType::F32) {
                    return Err(Refusal::new("a division in another type than f32"));
                }
                let range = op.data_type.integer_range().ok_or_else(|| Refusal::new("codes of a small float"))?;
                let (x, scale, zero) = self.parameters(node, op.granularity)?;
                let (low, high) = (range.0 as f32, range.1 as f32);
                self.push_real(Work::Quantize { x, scale, zero, low, high })
            }
            Op::Dequantize(op) => {
                if op.data_type != DataType::F32 {
                    return Err(Refusal::new(format!("real values of type {} instead of f32", op.data_type)));
                }
                let (x, scale, zero) = self.parameters(node, op.granularity)?;
                self.push_real(Work::Dequantize { x, scale, zero })
            }
            Op::Pointwise(op) => self.program(node, &op.program)?,
            _ => return Err(Refusal::OtherOperator),
        };
        self.columns.push((result, column));
        Ok(())
    }

    fn type_of(&self, node: &Node, input: usize) -> Option<DataType> {
        Some(self.body.ty(node.inputs.get(input).copied().flatten()?).data_type())
    }

    /// The columns of what is scaled, of scales and of zero points.
    fn parameters(&mut self, node: &Node, granularity: Granularity) -> Result<(usize, usize, Option<usize>), Refusal> {
        let axis = match granularity {
            Granularity::Tensor => None,
            Granularity::Axis { axis } => Some(axis),
            Granularity::Block { .. } => return Err(Refusal::new("scales by block")),
        };
        let input = |at: usize| node.inputs.get(at).copied().flatten();
        let (Some(x), Some(scale)) = (input(0), input(1)) else { return Err(Refusal::new("no scale")) };
        if self.body.ty(scale).data_type() != DataType::F32 {
            return Err(Refusal::new("scales of another type than f32"));
        }
        let x = self.column(x, None)?;
        let scale = self.column(scale, axis)?;
        Ok((x, scale, input(2).map(|zero| self.column(zero, axis)).transpose()?))
    }

    fn program(&mut self, node: &Node, program: &Program) -> Result<usize, Refusal> {
        let ([result], [data_type]) = (program.results(), &program.result_types()[..]) else {
            return Err(Refusal::new("an operator of several results"));
        };
        if *data_type != DataType::F32 {
            return Err(Refusal::new(format!("a program that gives {data_type}")));
        }
        let mut columns: SmallVec<[usize; 16]> = SmallVec::new();
        for step in program.steps() {
            let column = match step {
                Step::Input { index, data_type: DataType::F32 } => {
                    let id = node.inputs.get(*index).copied().flatten();
                    self.column(id.ok_or_else(|| Refusal::new("an operand is left out"))?, None)?
                }
                Step::Input { data_type, .. } => {
                    return Err(Refusal::new(format!("a program on operands of type {data_type}")));
                }
                Step::Constant { data_type, .. } | Step::Apply { compute: data_type, .. }
                    if Kind::of(*data_type).is_none() =>
                {
                    return Err(Refusal::new("strings are not for this kernel"));
                }
                Step::Constant { .. } => self.push(Work::Scalar, step.clone()),
                Step::Apply { op, compute, args } => {
                    let args = args.iter().map(|arg| columns[*arg]).collect();
                    self.push(Work::Scalar, Step::Apply { op: *op, compute: *compute, args })
                }
            };
            columns.push(column);
        }
        Ok(columns[*result])
    }
}
