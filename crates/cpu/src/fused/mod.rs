//! Regions around heavy operators that read the same operand: `[Pointwise] ([Transpose] heavy [Transpose] [Pointwise])...`.
//!
//! The transposes, when there, move the channels of operand 0 and of the result behind the spatial axes: the region
//! computes in channels-last layout. The pointwise operator behind a heavy one is its epilogue; it stands behind the
//! transpose, so its operands are in the layout of the result. The transpose in front is missing where operand 0 is read as it
//! lies in plain layout. The pointwise operator in front makes the operand that all
//! heavy operators read, in the layout of the region. Each heavy operator gives one result.

pub mod propose;

use sinter_backend::{Refusal, Region};
use sinter_base::{DataType, Dim, TensorType};
use sinter_ops::movement::Transpose;
use sinter_ops::pointwise::Program;
use sinter_ops::{Body, Node, Op, ValueId};
use smallvec::SmallVec;

use crate::product::epilogue::{Plan, RowProgram};

/// See the module documentation.
pub struct Bundle<'a> {
    /// What makes the operand that is read by all.
    pub head: Option<Head<'a>>,
    /// The heavy operators, in the order of the results.
    pub arms: SmallVec<[Fused<'a>; 4]>,
}

/// A pointwise operator in front: what it works on is as large as its result.
pub struct Head<'a> {
    region: &'a Region,
    result: ValueId,
    work: OnRows<'a>,
}

/// One heavy operator with what stands around it.
pub struct Fused<'a> {
    region: &'a Region,
    /// The heavy operator.
    pub node: &'a Node,
    /// Channels behind the spatial axes in the result, and in operand 0 unless that is plain.
    pub channels_last: bool,
    /// Of a region with channels last: operand 0 has its channels in front.
    pub plain_source: bool,
    /// The pointwise operator at the end, on the product.
    pub tail: Option<OnRows<'a>>,
    /// What operand 0 is, in the layout of the region.
    source: Option<ValueId>,
    /// What the pointwise operator works on, or the region's result.
    product: ValueId,
}

/// A pointwise operator that works on the rows of one of its operands.
pub struct OnRows<'a> {
    program: &'a Program,
    /// Which operand.
    rows: usize,
    inputs: SmallVec<[ValueId; 4]>,
}

fn is_transpose(node: &Node, of_rank: impl Fn(usize) -> Transpose) -> bool {
    match &node.op {
        Op::Transpose(op) => op.permutation.as_ref().is_some_and(|p| p.len() >= 3 && *op == of_rank(p.len())),
        _ => false,
    }
}

fn maker(body: &Body, id: ValueId) -> Option<&Node> {
    body.nodes().iter().find(|node| node.outputs.contains(&id))
}

fn other() -> Refusal {
    Refusal::new("takes one operator with transposes and pointwise operators around it, or several of one operand")
}

fn dims(body: &Body, id: ValueId) -> Option<&[Dim]> {
    body.ty(id).as_tensor().and_then(|t| t.dims().ok())
}

/// Two heavy operators, the second on what the first makes, each with a pointwise operator behind it or none.
///
/// # Errors
/// When the region has another form.
pub fn pair(region: &Region) -> Result<(Fused<'_>, Fused<'_>), Refusal> {
    let body = region.body();
    let [result] = body.outputs() else { return Err(other()) };
    let second = Fused::behind(region, *result)?;
    let first = Fused::behind(region, second.source.ok_or_else(other)?)?;
    match first.nodes() + second.nodes() == body.nodes().len() {
        true => Ok((first, second)),
        false => Err(other()),
    }
}

impl<'a> Bundle<'a> {
    /// Takes a region apart.
    ///
    /// # Errors
    /// When it has another form.
    pub fn of(region: &'a Region) -> Result<Self, Refusal> {
        let body = region.body();
        let mut arms = SmallVec::<[Fused<'a>; 4]>::new();
        for result in body.outputs() {
            arms.push(Fused::behind(region, *result)?);
        }
        let source = arms.first().ok_or_else(other)?.source;
        if arms.iter().any(|arm| arm.source != source) {
            return Err(other());
        }
        let head = match source.and_then(|id| maker(body, id)) {
            Some(node) => Some(Head::of(region, node)?),
            None => None,
        };
        let nodes: usize = arms.iter().map(Fused::nodes).sum::<usize>() + usize::from(head.is_some());
        if nodes != body.nodes().len() {
            return Err(other());
        }
        Ok(Self { head, arms })
    }

    /// The heavy operator whose weight is this operand of the region.
    ///
    /// # Errors
    /// When there is none.
    pub fn of_weight(&self, operand: usize) -> Result<&Fused<'a>, Refusal> {
        let arm = self.arms.iter().find(|arm| arm.operand(1) == Some(operand));
        arm.ok_or_else(|| Refusal::new(format!("operand {operand} is no weight")))
    }

    /// The region's operand that the heavy operators read, or that the head makes theirs of.
    pub fn operand(&self) -> Option<usize> {
        match &self.head {
            Some(head) => head.operand(),
            None => self.arms.first()?.operand(0),
        }
    }
}

impl<'a> Head<'a> {
    fn of(region: &'a Region, node: &'a Node) -> Result<Self, Refusal> {
        let body = region.body();
        let (Op::Pointwise(op), [result]) = (&node.op, &node.outputs[..]) else { return Err(other()) };
        let own = dims(body, *result).ok_or_else(other)?;
        let inputs: SmallVec<[ValueId; 4]> = node.inputs.iter().flatten().copied().collect();
        let is_row = |id: &ValueId| body.ty(*id).data_type() == DataType::F32 && dims(body, *id) == Some(own);
        let rows = inputs.iter().position(is_row);
        let rows = rows.ok_or_else(|| Refusal::new("no operand in front is as large as what is made of it"))?;
        Ok(Self { region, result: *result, work: OnRows { program: &op.program, rows, inputs } })
    }

    /// The region's operand that is as large as the result.
    fn operand(&self) -> Option<usize> {
        self.region.operand(self.work.inputs[self.work.rows])
    }

    /// What is done to its rows.
    ///
    /// # Errors
    /// When the pointwise operator does not fit.
    pub fn plan(&self) -> Result<Plan, Refusal> {
        let result = dims(self.region.body(), self.result).unwrap_or_default();
        Plan::whole(&self.work.program(self.region, result)?)
    }
}

impl<'a> OnRows<'a> {
    /// The program with its operands in the region; `result` are the dimensions of what it works on.
    fn program(&self, region: &'a Region, result: &'a [Dim]) -> Result<RowProgram<'a>, Refusal> {
        let (mut operands, mut all) = (Vec::new(), Vec::new());
        for (index, id) in self.inputs.iter().enumerate() {
            all.push(dims(region.body(), *id).ok_or_else(|| Refusal::new("an operand of unknown rank"))?);
            operands.push(if index == self.rows {
                usize::MAX
            } else {
                region.operand(*id).ok_or_else(|| Refusal::new("an operand made inside the region"))?
            });
        }
        Ok(RowProgram { program: self.program, product: self.rows, operands, dims: all, result })
    }
}

impl<'a> Fused<'a> {
    /// Takes a region of one heavy operator with nothing in front apart.
    ///
    /// # Errors
    /// When it has another form.
    pub fn of(region: &'a Region) -> Result<Self, Refusal> {
        let mut bundle = Bundle::of(region)?;
        match (bundle.arms.len(), bundle.head) {
            (1, None) => bundle.arms.pop().ok_or_else(other),
            (1, Some(_)) => Err(Refusal::new("takes no operator in front")),
            _ => Err(Refusal::new("takes one operator at a time")),
        }
    }

    /// The heavy operator behind a result.
    fn behind(region: &'a Region, result: ValueId) -> Result<Self, Refusal> {
        let body = region.body();
        let mut node = maker(body, result).ok_or_else(other)?;
        let mut product = result;
        let mut tail = None;
        if let Op::Pointwise(op) = &node.op {
            let inputs: SmallVec<[ValueId; 4]> = node.inputs.iter().flatten().copied().collect();
            let at = inputs.iter().position(|id| maker(body, *id).is_some()).ok_or_else(other)?;
            product = inputs[at];
            if node.outputs.len() != 1 || inputs.iter().filter(|id| maker(body, **id).is_some()).count() != 1 {
                return Err(other());
            }
            tail = Some(OnRows { program: &op.program, rows: at, inputs });
            node = maker(body, product).ok_or_else(other)?;
        }
        let channels_last = body.nodes().len() > 1 && is_transpose(node, Transpose::to_channels_last);
        if channels_last {
            node = node.inputs[0].and_then(|id| maker(body, id)).ok_or_else(other)?;
        }
        let mut source = node.inputs.first().copied().flatten();
        let before = source.and_then(|id| maker(body, id));
        let before = before.filter(|before| is_transpose(before, Transpose::to_channels_first));
        if before.is_some() && !channels_last {
            return Err(other());
        }
        let plain_source = channels_last && before.is_none();
        if let Some(before) = before {
            source = before.inputs[0];
        }
        let is_made = |id: &Option<ValueId>| id.is_some_and(|id| maker(body, id).is_some());
        if node.outputs.len() != 1 || node.inputs.iter().skip(1).any(is_made) {
            return Err(other());
        }
        Ok(Self { region, node, channels_last, plain_source, tail, source, product })
    }

    /// Nodes of the region that it takes.
    fn nodes(&self) -> usize {
        let transposes = usize::from(self.channels_last) + usize::from(self.channels_last && !self.plain_source);
        1 + transposes + usize::from(self.tail.is_some())
    }

    /// Number of the region's operand that feeds this input of the heavy operator.
    pub fn operand(&self, input: usize) -> Option<usize> {
        let id = if input == 0 { self.source } else { self.node.inputs.get(input).copied().flatten() };
        self.region.operand(id?)
    }

    /// Type of an input of the heavy operator, in the operator's own layout.
    pub fn input(&self, input: usize) -> Option<&TensorType> {
        let id = self.node.inputs.get(input).copied().flatten()?;
        self.region.body().ty(id).as_tensor()
    }

    /// Dimensions of the product in the layout of the result.
    pub fn product_dims(&self) -> &[Dim] {
        dims(self.region.body(), self.product).unwrap_or_default()
    }

    /// The epilogue, for kernels that produce rows along the last axis; `bias` is the heavy operator's own.
    ///
    /// # Errors
    /// When the pointwise operator does not fit.
    pub fn epilogue(&self, bias: Option<usize>) -> Result<Plan, Refusal> {
        let Some(tail) = &self.tail else { return Ok(Plan::bias(bias)) };
        Plan::apart(&tail.program(self.region, self.product_dims())?)?.with_bias(bias)
    }

    /// The pointwise end as a program, for kernels that do nothing else to their results.
    ///
    /// # Errors
    /// When it does not fit.
    pub fn tail_plan(&self) -> Result<Option<Plan>, Refusal> {
        let Some(tail) = &self.tail else { return Ok(None) };
        Plan::whole(&tail.program(self.region, self.product_dims())?).map(Some)
    }
}
