//! Fused regions of a heavy operator and the pointwise operator behind it: the pattern, its proposer, and the text and the
//! parameters of the epilogue in `include/matrices.cuh`.
//!
//! The kernel rounds the heavy operator's result to its own type before the program, as the region says, so that fusing
//! changes no bit of the program's operands.

use std::fmt::Write;

use sinter_backend::{GraphView, Proposals, Proposer, Refusal, Region};
use sinter_base::shape::broadcast_strides;
use sinter_base::view::element_bytes;
use sinter_base::{Attribute, DataType, Dim, TensorType};
use sinter_ops::pointwise::Pointwise;
use sinter_ops::{Node, Op, OpKind, ValueId};
use smallvec::SmallVec;

use crate::kernel::Tensor;
use crate::pointwise::scalar;
use crate::space::{Axes, RANK, words};
use crate::types::element;

/// Operands of an epilogue beside the product at most: the parameters of all must fit into four kilobytes.
const MOST_BESIDE: usize = 16;
/// Bytes of an element of a result at most: rows of eight are stored from registers.
const MOST_BYTES: usize = 4;

/// Proposes a heavy operator of one kind with the pointwise operator that alone reads its result.
pub struct WithEpilogue(pub OpKind);

impl Proposer for WithEpilogue {
    fn propose(&self, graph: &GraphView<'_>, seed: usize, proposals: &mut Proposals) {
        let node = graph.node(seed);
        let [product] = node.outputs[..] else { return };
        if node.op.kind() != self.0 {
            return;
        }
        let Some(reader) = graph.only_reader(product) else { return };
        let behind = graph.node(reader);
        if let (Op::Pointwise(_), [result]) = (&behind.op, &behind.outputs[..])
            && graph.have_equal_dims(product, *result)
        {
            proposals.push([seed, reader]);
        }
    }
}

/// A region of a heavy operator, with or without an epilogue.
pub(crate) struct Fused<'a> {
    region: &'a Region,
    /// The heavy operator.
    pub(crate) node: &'a Node,
    /// The pointwise operator behind it.
    behind: Option<(&'a Pointwise, &'a Node)>,
}

impl<'a> Fused<'a> {
    /// Matches a region.
    ///
    /// # Errors
    /// When it has another form.
    pub(crate) fn of(region: &'a Region) -> Result<Self, Refusal> {
        let other = || Refusal::new("takes one operator with at most one pointwise operator behind it");
        let nodes = region.body().nodes();
        let (node, behind) = match nodes {
            [node] => (node, None),
            [node, last] => match &last.op {
                Op::Pointwise(op) => (node, Some((op, last))),
                _ => return Err(other()),
            },
            _ => return Err(other()),
        };
        let [product] = node.outputs[..] else { return Err(other()) };
        if let Some((_, last)) = behind {
            let reads = last.inputs.iter().filter(|id| **id == Some(product)).count();
            let (result, dims) = (region.body().outputs(), |id| dims(region, id));
            if reads != 1 || result != &last.outputs[..] || result.len() != 1 || dims(product) != dims(result[0]) {
                return Err(other());
            }
        }
        Ok(Self { region, node, behind })
    }

    /// Index of the region's operand that is this input of the heavy operator.
    pub(crate) fn operand(&self, input: usize) -> Option<usize> {
        self.region.operand(self.node.inputs.get(input).copied().flatten()?)
    }

    /// Type of an input of the heavy operator.
    pub(crate) fn input(&self, input: usize) -> Option<&'a TensorType> {
        self.region.body().ty(self.node.inputs.get(input).copied().flatten()?).as_tensor()
    }

    /// Dimensions of the result.
    pub(crate) fn result_dims(&self) -> &'a [Dim] {
        dims(self.region, self.node.outputs[0])
    }

    /// The epilogue, for a kernel that computes rows and columns along these axes of the result, each as one axis.
    ///
    /// # Errors
    /// When the program does not fit.
    pub(crate) fn epilogue(&self, product: DataType, axes: [&[usize]; 2]) -> Result<Epilogue, Refusal> {
        let Some((op, node)) = self.behind else { return Ok(Epilogue::none(product)) };
        let ids: SmallVec<[ValueId; 4]> = node.inputs.iter().flatten().copied().collect();
        let types: Vec<DataType> = ids.iter().map(|id| self.region.body().ty(*id).data_type()).collect();
        let text = scalar::function(&op.program, &types).ok_or_else(|| Refusal::new("takes no strings"))?;
        let result = op.program.result_types();
        let [result] = result[..] else { return Err(Refusal::new("takes epilogues of one result")) };
        if element_bytes(result) > MOST_BYTES || ids.len() > MOST_BESIDE {
            let most = format!("of at most {MOST_BYTES} bytes, of at most {MOST_BESIDE} operands");
            return Err(Refusal::new(format!("takes epilogues with results {most}")));
        }
        let whole = self.result_dims();
        let rank = whole.len();
        let mut beside = SmallVec::new();
        let mut arguments = Vec::new();
        for (id, data_type) in ids.iter().zip(&types) {
            if *id == self.node.outputs[0] {
                arguments.push("x.lane[j]".to_owned());
                continue;
            }
            let own = dims(self.region, *id);
            let lead = rank.saturating_sub(own.len());
            let dim = |axis: &usize| axis.checked_sub(lead).and_then(|axis| own.get(axis));
            let is_one = |axis: &usize| dim(axis).is_none_or(|dim| dim.as_constant() == Some(1));
            let varies = |axes: &[usize]| !axes.iter().all(is_one);
            let is_whole = |axes: &[usize]| axes.iter().all(|axis| dim(axis) == whole.get(*axis));
            // Several axes that count as one vary together.
            if axes.iter().any(|axes| axes.len() > 1 && varies(axes) && !is_whole(axes)) {
                return Err(Refusal::new(
                    "an operand of the epilogue varies along some spatial axes and not along others",
                ));
            }
            let missing = || Refusal::new("an operand of the epilogue is made inside the region");
            arguments.push(format!("x{}.lane[j]", beside.len()));
            beside.push(Beside {
                operand: self.region.operand(*id).ok_or_else(missing)?,
                data_type: *data_type,
                varies: axes.map(varies),
            });
        }
        arguments.push("y.lane[j]".to_owned());
        let hash = blake3::hash(op.program.to_attr().to_string().as_bytes()).to_hex()[..32].to_owned();
        let call = format!("compute({})", arguments.join(", "));
        Ok(Epilogue { product, result, text, call, hash, beside })
    }
}

fn dims(region: &Region, id: ValueId) -> &[Dim] {
    region.body().ty(id).as_tensor().and_then(|ty| ty.dims().ok()).unwrap_or_default()
}

/// An operand of an epilogue beside the product.
#[derive(Clone, Debug, PartialEq)]
struct Beside {
    /// Its index in the region.
    operand: usize,
    data_type: DataType,
    /// May it vary along the rows and along the columns?
    varies: [bool; 2],
}

/// See the module documentation.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Epilogue {
    /// Type of the product.
    product: DataType,
    /// Type of the result.
    pub(crate) result: DataType,
    /// The function `compute`.
    text: String,
    /// Its call for one of eight columns.
    call: String,
    /// A hash of the program; empty without one.
    hash: String,
    beside: SmallVec<[Beside; 4]>,
}

/// An operand of the epilogue at a launch: its elements, and the distances along the axes of the result.
pub(crate) struct Placed<'a> {
    tensor: Tensor<'a>,
    /// Elements from one position to the next, by axis of the result.
    pub(crate) strides: Axes,
}

/// May rows of eight be loaded or stored at once, with these distances between rows in elements?
pub(crate) fn is_wide(tensor: &Tensor<'_>, distances: impl IntoIterator<Item = i64>) -> bool {
    let bytes = element_bytes(tensor.data_type) as u64;
    let unit = (8 * bytes).min(16);
    let fits = |distance: i64| (distance.unsigned_abs() * bytes).is_multiple_of(unit);
    tensor.address.is_multiple_of(unit) && distances.into_iter().all(fits)
}

impl Epilogue {
    /// No program behind the product.
    fn none(product: DataType) -> Self {
        Self {
            product,
            result: product,
            text: String::new(),
            call: "y.lane[j] = x.lane[j]".to_owned(),
            hash: String::new(),
            beside: SmallVec::new(),
        }
    }

    /// The part of a configuration.
    pub(crate) fn configuration(&self) -> String {
        let mut text = self.product.to_string();
        for beside in &self.beside {
            let [rows, columns] = beside.varies.map(u8::from);
            let _ = write!(text, " {}.{rows}{columns}", beside.data_type);
        }
        if !self.hash.is_empty() {
            let _ = write!(text, " {} {}", self.result, self.hash);
        }
        text
    }

    /// The part of the generated header.
    pub(crate) fn generated(&self) -> String {
        let name = |data_type| element(data_type).unwrap_or("void");
        let mut text = String::new();
        let _ = writeln!(text, "typedef {} T;\ntypedef {} R;", name(self.product), name(self.result));
        let _ = writeln!(text, "constexpr int BESIDE = {};", self.beside.len());
        text.push_str("#define FOR_BESIDE(X)");
        for (at, Beside { data_type, varies: [rows, columns], .. }) in self.beside.iter().enumerate() {
            let _ = write!(text, " X({at}, {}, {rows}, {columns})", name(*data_type));
        }
        let _ = writeln!(text, "\n#define EPILOGUE(j) {}", self.call);
        text.push_str(&self.text);
        text
    }

    /// The operands at a launch whose result has these sizes; `None` where one does not fit.
    pub(crate) fn place<'t>(
        &self,
        inputs: &[Option<Tensor<'t>>],
        result: &[usize],
    ) -> Option<SmallVec<[Placed<'t>; 4]>> {
        let place = |beside: &Beside| {
            let tensor = inputs.get(beside.operand).copied().flatten()?;
            let lead = result.len().checked_sub(tensor.sizes.len())?;
            let fits = tensor.sizes.iter().zip(&result[lead..]).all(|(own, size)| own == size || *own == 1);
            let strides = broadcast_strides(tensor.sizes, result);
            let strides = strides.iter().map(|stride| i64::try_from(*stride).unwrap_or(i64::MAX)).collect();
            (fits && tensor.data_type == beside.data_type).then_some(Placed { tensor, strides })
        };
        self.beside.iter().map(place).collect()
    }

    /// The parameters of placed operands, each with its distances along rows, columns and the axes of the stack.
    pub(crate) fn words<'t>(
        &self,
        placed: impl IntoIterator<Item = (&'t Placed<'t>, i64, i64, Axes)>,
    ) -> SmallVec<[u64; 48]> {
        let mut list = SmallVec::new();
        for (Placed { tensor, .. }, row, column, steps) in placed {
            let wide = column == 1 && is_wide(tensor, steps.iter().copied().chain([row]));
            list.extend([tensor.address, row.cast_unsigned(), column.cast_unsigned(), u64::from(wide)]);
            list.extend(words(&steps));
        }
        if list.is_empty() {
            // The structure has one entry at least.
            list.resize(4 + RANK, 0);
        }
        list
    }
}
