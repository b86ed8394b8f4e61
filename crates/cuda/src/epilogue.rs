//! Epilogues of heavy operators: the text and the parameters of the pointwise program in `include/matrices.cuh`.
//!
//! The kernel rounds the heavy operator's result to its own type before the program, as the region says, so that fusing
//! changes no bit of the program's operands.

use std::fmt::Write;

use sinter_backend::Refusal;
use sinter_base::shape::broadcast_strides;
use sinter_base::view::element_bytes;
use sinter_base::{Attribute, DataType};
use sinter_ops::ValueId;
use smallvec::SmallVec;

use crate::fused::{Fused, dims};
use crate::kernel::Tensor;
use crate::pointwise::scalar;
use crate::space::{Axes, RANK, words};
use crate::types::element;

/// Operands of an epilogue beside the product at most: the parameters of all must fit into four kilobytes.
const MOST_BESIDE: usize = 16;
/// Bytes of an element of a result at most: rows of eight are stored from registers.
const MOST_BYTES: usize = 4;
/// Operations of a short program at most.
const SHORT: usize = 4;

impl Fused<'_> {
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
            if *id == self.product {
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
            // Axes of the stack may count as rows at a launch.
            let rows: SmallVec<[usize; RANK]> = (0..rank).filter(|axis| !axes[1].contains(axis)).collect();
            let missing = || Refusal::new("an operand of the epilogue is made inside the region");
            arguments.push(format!("x{}.lane[j]", beside.len()));
            beside.push(Beside {
                operand: self.region.operand(*id).ok_or_else(missing)?,
                data_type: *data_type,
                varies: [varies(&rows), varies(axes[1])],
            });
        }
        arguments.push("y.lane[j]".to_owned());
        let hash = blake3::hash(op.program.to_attr().to_string().as_bytes()).to_hex()[..32].to_owned();
        let call = format!("compute({})", arguments.join(", "));
        let is_short = op.program.operation_count() <= SHORT;
        Ok(Epilogue { product, result, text, call, hash, is_short, beside })
    }
}

/// An operand of an epilogue beside the product.
#[derive(Clone, Debug, PartialEq)]
struct Beside {
    /// Its index in the region.
    operand: usize,
    data_type: DataType,
    /// May it vary along the rows, or along axes in front of them, and along the columns?
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
    /// Is the program so short that the text may repeat it?
    is_short: bool,
    beside: SmallVec<[Beside; 4]>,
}

/// An operand of the epilogue at a launch: its elements, and the distances along the axes of the result.
pub(crate) struct Placed<'a> {
    tensor: Tensor<'a>,
    /// Elements from one position to the next, by axis of the result.
    pub(crate) strides: Axes,
}

impl Placed<'_> {
    /// May rows of eight be loaded at once, or is one element enough for all of a row?
    pub(crate) fn is_wide(&self, row: i64, column: i64, steps: &Axes) -> bool {
        column == 0 || (column == 1 && is_wide(&self.tensor, steps.iter().copied().chain([row])))
    }
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
            is_short: true,
            beside: SmallVec::new(),
        }
    }

    /// Operands beside the product that vary by row and by column.
    pub(crate) fn wholes(&self) -> usize {
        self.beside.iter().filter(|beside| beside.varies == [true, true]).count()
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
        let _ = writeln!(text, "constexpr bool IS_SHORT = {};", self.is_short);
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
        for (placed, row, column, steps) in placed {
            let tensor = &placed.tensor;
            let wide = column == 1 && placed.is_wide(row, column, &steps);
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
