//! Regions around heavy operators that read the same operand:
//! `[Pointwise] ([Transpose] heavy [Transpose] [Pointwise])...`.
//!
//! The transposes, where present, permute the channels of operand 0 and of the result behind the spatial axes: the
//! region computes in channels-last layout. The pointwise operator after a heavy operator is its epilogue. It follows
//! the transpose, so its operands have the layout of the result. The first transpose is missing where the kernel reads
//! operand 0 in plain layout. The first pointwise operator is the prologue: it computes the operand that all heavy
//! operators read, in the layout of the region. Each heavy operator is a branch and gives one result.

pub mod gated;
pub mod normalized;
pub mod propose;

use sinter_backend::{Refusal, Region};
use sinter_base::{DataType, Dim, TensorType};
use sinter_ops::movement::Transpose;
use sinter_ops::pointwise::Program;
use sinter_ops::{Body, Node, Op, ValueId};
use smallvec::SmallVec;

use crate::product::epilogue::{Plan, RowProgram};

/// See the module documentation.
pub struct FusedGroup<'a> {
    /// The operator that computes the shared operand.
    pub prologue: Option<FusedPrologue<'a>>,
    /// The sibling heavy operators, in the order of the results.
    pub branches: SmallVec<[Fused<'a>; 4]>,
}

/// A pointwise operator before the heavy ones; one of its operands has the dimensions of its result.
pub struct FusedPrologue<'a> {
    region: &'a Region,
    result: ValueId,
    work: OnRows<'a>,
}

/// One heavy operator with its transposes and its epilogue.
pub struct Fused<'a> {
    region: &'a Region,
    /// The heavy operator.
    pub node: &'a Node,
    /// Channels behind the spatial axes in the result, and in operand 0 unless that is plain.
    pub channels_last: bool,
    /// In a region with channels last: operand 0 has its channels before the spatial axes.
    pub plain_source: bool,
    /// The pointwise operator on the product.
    pub epilogue: Option<OnRows<'a>>,
    /// Operand 0 in the layout of the region.
    source: Option<ValueId>,
    /// The value that the epilogue reads, or the region's result.
    product: ValueId,
}

/// A pointwise operator that works on the rows of one of its operands.
pub struct OnRows<'a> {
    program: &'a Program,
    /// Index of that operand.
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

/// The branch whose heavy operator has this operand of the region as its weight.
///
/// # Errors
/// When there is none.
pub(crate) fn of_weight<'f, 'a>(branches: &'f [Fused<'a>], operand: usize) -> Result<&'f Fused<'a>, Refusal> {
    let branch = branches.iter().find(|branch| branch.operand(1) == Some(operand));
    branch.ok_or_else(|| Refusal::new(format!("operand {operand} is no weight")))
}

fn other() -> Refusal {
    Refusal::new(
        "takes one operator with transposes and pointwise operators around it, or siblings that share an operand",
    )
}

fn dims(body: &Body, id: ValueId) -> Option<&[Dim]> {
    body.ty(id).as_tensor().and_then(|t| t.dims().ok())
}

/// Two heavy operators, each with an optional epilogue; the second reads the result of the first.
///
/// # Errors
/// When the region has another form.
pub fn pair(region: &Region) -> Result<(Fused<'_>, Fused<'_>), Refusal> {
    let body = region.body();
    let [result] = body.outputs() else { return Err(other()) };
    let second = Fused::ending_at(region, *result)?;
    let first = Fused::ending_at(region, second.source.ok_or_else(other)?)?;
    match first.nodes() + second.nodes() == body.nodes().len() {
        true => Ok((first, second)),
        false => Err(other()),
    }
}

impl<'a> FusedGroup<'a> {
    /// Matches a region.
    ///
    /// # Errors
    /// When the region has another form.
    pub fn of(region: &'a Region) -> Result<Self, Refusal> {
        let body = region.body();
        let mut branches = SmallVec::<[Fused<'a>; 4]>::new();
        for result in body.outputs() {
            branches.push(Fused::ending_at(region, *result)?);
        }
        let source = branches.first().ok_or_else(other)?.source;
        if branches.iter().any(|branch| branch.source != source) {
            return Err(other());
        }
        let prologue = match source.and_then(|id| maker(body, id)) {
            Some(node) => Some(FusedPrologue::of(region, node)?),
            None => None,
        };
        let nodes: usize = branches.iter().map(Fused::nodes).sum::<usize>() + usize::from(prologue.is_some());
        if nodes != body.nodes().len() {
            return Err(other());
        }
        Ok(Self { prologue, branches })
    }

    /// The region's operand that the heavy operators read, or that the prologue reads for them.
    pub fn operand(&self) -> Option<usize> {
        match &self.prologue {
            Some(prologue) => prologue.operand(),
            None => self.branches.first()?.operand(0),
        }
    }
}

impl<'a> FusedPrologue<'a> {
    fn of(region: &'a Region, node: &'a Node) -> Result<Self, Refusal> {
        let body = region.body();
        let (Op::Pointwise(op), [result]) = (&node.op, &node.outputs[..]) else { return Err(other()) };
        let own = dims(body, *result).ok_or_else(other)?;
        let inputs: SmallVec<[ValueId; 4]> = node.inputs.iter().flatten().copied().collect();
        let is_row = |id: &ValueId| body.ty(*id).data_type() == DataType::F32 && dims(body, *id) == Some(own);
        let rows = inputs.iter().position(is_row);
        let rows = rows.ok_or_else(|| Refusal::new("no operand of the prologue has the dimensions of its result"))?;
        Ok(Self { region, result: *result, work: OnRows { program: &op.program, rows, inputs } })
    }

    /// The region's operand that is as large as the result.
    fn operand(&self) -> Option<usize> {
        self.region.operand(self.work.inputs[self.work.rows])
    }

    /// The program of the prologue, row by row.
    ///
    /// # Errors
    /// When the pointwise operator does not fit.
    pub fn plan(&self) -> Result<Plan, Refusal> {
        let result = dims(self.region.body(), self.result).unwrap_or_default();
        Plan::whole(&self.work.program(self.region, result)?)
    }
}

impl<'a> OnRows<'a> {
    /// The program with its operands in the region; `result` are the dimensions of the value that it works on.
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
        Ok(RowProgram { program: self.program, product: self.rows, beside: None, operands, dims: all, result })
    }
}

impl<'a> Fused<'a> {
    /// Matches a region of one heavy operator without a prologue.
    ///
    /// # Errors
    /// When the region has another form.
    pub fn of(region: &'a Region) -> Result<Self, Refusal> {
        let mut group = FusedGroup::of(region)?;
        match (group.branches.len(), group.prologue) {
            (1, None) => group.branches.pop().ok_or_else(other),
            (1, Some(_)) => Err(Refusal::new("takes no prologue")),
            _ => Err(Refusal::new("takes one operator at a time")),
        }
    }

    /// The branch that computes a result.
    fn ending_at(region: &'a Region, result: ValueId) -> Result<Self, Refusal> {
        let body = region.body();
        let mut node = maker(body, result).ok_or_else(other)?;
        let mut product = result;
        let mut epilogue = None;
        if let Op::Pointwise(op) = &node.op {
            let inputs: SmallVec<[ValueId; 4]> = node.inputs.iter().flatten().copied().collect();
            let at = inputs.iter().position(|id| maker(body, *id).is_some()).ok_or_else(other)?;
            product = inputs[at];
            if node.outputs.len() != 1 || inputs.iter().filter(|id| maker(body, **id).is_some()).count() != 1 {
                return Err(other());
            }
            epilogue = Some(OnRows { program: &op.program, rows: at, inputs });
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
        Ok(Self { region, node, channels_last, plain_source, epilogue, source, product })
    }

    /// Number of nodes of the region that belong to the branch.
    pub(crate) fn nodes(&self) -> usize {
        let transposes = usize::from(self.channels_last) + usize::from(self.channels_last && !self.plain_source);
        1 + transposes + usize::from(self.epilogue.is_some())
    }

    /// Index of the region's operand that feeds this input of the heavy operator.
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
        let Some(epilogue) = &self.epilogue else { return Ok(Plan::bias(bias)) };
        Plan::apart(&epilogue.program(self.region, self.product_dims())?)?.with_bias(bias)
    }

    /// The whole epilogue as a program, for kernels that do nothing else to their results.
    ///
    /// # Errors
    /// When it does not fit.
    pub fn epilogue_program(&self) -> Result<Option<Plan>, Refusal> {
        let Some(epilogue) = &self.epilogue else { return Ok(None) };
        Plan::whole(&epilogue.program(self.region, self.product_dims())?).map(Some)
    }
}
