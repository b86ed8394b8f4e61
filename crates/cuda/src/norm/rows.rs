//! `cuda.norm.rows`: layer and root mean square normalization of consecutive elements with the pointwise operator behind it,
//! most often scale and bias. A row is read once and stays in registers.

use sinter_backend::{KernelError, Numerics, Refusal, Region};
use sinter_base::DataType;
use sinter_ops::axes::axis_of;
use sinter_ops::norm::normalize::Measure;
use sinter_ops::{Op, OpKind};
use smallvec::{SmallVec, smallvec};

use crate::epilogue::{Epilogue, Fused, is_wide};
use crate::kernel::{Contraction, Geometry, Kernel, Launch, Source, THREADS, recipe};
use crate::space::{Space, words};
use crate::tactic::{Row, Speed, refuse_unknown_sizes};

/// See the module documentation.
pub const ROWS: Row = Row {
    name: "cuda.norm.rows",
    roots: &[OpKind::Normalize],
    numerics: Numerics::Reassociated,
    speed: Speed { bandwidth: 0.75, arithmetic: 0.2, launches: 1.0 },
    kernel,
};

/// Elements of a chunk, and chunks that a thread keeps; `LANES` and `KEPT` in the text.
const LANES: usize = 8;
const KEPT: usize = 4;
/// Functions of the text.
const BY_WARP: usize = 0;
const BY_BLOCK: usize = 1;
const LONG_ROWS: usize = 2;
/// Rows for each multiprocessor from which a warp for each suffices.
const MANY_ROWS: usize = 32;

fn kernel(region: &Region) -> Result<Box<dyn Kernel>, Refusal> {
    refuse_unknown_sizes(region)?;
    let fused = Fused::of(region)?;
    let Op::Normalize(op) = &fused.node.op else { return Err(Refusal::OtherOperator) };
    let operand = fused.input(0).ok_or_else(|| Refusal::new("takes a tensor"))?;
    let data_type = operand.data_type;
    if !matches!(data_type, DataType::F32 | DataType::F16 | DataType::Bf16) {
        return Err(Refusal::new(format!("takes f32, f16 and bf16, not {data_type}")));
    }
    let root = match op.measure {
        Measure::Deviation => false,
        Measure::RootMeanSquare => true,
        Measure::Norm { .. } => return Err(Refusal::new("takes no norms")),
    };
    if op.groups.is_some() || op.statistics.is_some() {
        return Err(Refusal::new("takes no groups of channels and gives no statistics"));
    }
    let rank = fused.result_dims().len();
    let axes = op.axes.iter().map(|axis| axis_of(*axis, rank)).collect::<Result<SmallVec<[usize; 8]>, _>>();
    let mut axes = axes.map_err(|error| Refusal::new(error.to_string()))?;
    axes.sort_unstable();
    if axes.is_empty() || !axes.iter().copied().eq(rank - axes.len()..rank) {
        return Err(Refusal::new("takes the innermost axes"));
    }
    let missing = || Refusal::new("takes a tensor from outside of the region");
    Ok(Box::new(RowsKernel {
        root,
        epsilon: op.epsilon,
        data_type,
        inner: axes.len(),
        operand: fused.operand(0).ok_or_else(missing)?,
        epilogue: fused.epilogue(data_type, [&[], &axes])?,
    }))
}

struct RowsKernel {
    /// Is the measure the root of the mean square?
    root: bool,
    epsilon: f64,
    data_type: DataType,
    /// Axes of a row.
    inner: usize,
    operand: usize,
    epilogue: Epilogue,
}

impl RowsKernel {
    fn measure(&self) -> &'static str {
        if self.root { "ROOT_MEAN_SQUARE" } else { "DEVIATION" }
    }
}

impl Kernel for RowsKernel {
    fn configuration(&self) -> String {
        format!("{} 1 {} {}", ROWS.name, self.measure(), self.epilogue.configuration())
    }

    fn source(&self) -> Source {
        let generated = format!("#define MEASURE {}\n{}", self.measure(), self.epilogue.generated());
        Source { generated, text: include_str!("rows.cu"), contraction: Contraction::Off }
    }

    fn entries(&self) -> &'static [&'static str] {
        &["by_warp", "by_block", "long_rows"]
    }

    fn launch(&self, launch: &mut Launch<'_>) -> Result<(), KernelError> {
        let (x, y) = (launch.input(self.operand)?, launch.output(0)?);
        let mismatch = || recipe(format!("a normalization of {:?} into {:?}", x.sizes, y.sizes));
        let placed = self.epilogue.place(&launch.inputs, y.sizes).ok_or_else(mismatch)?;
        let lead = y.sizes.len().checked_sub(self.inner).ok_or_else(mismatch)?;
        if x.data_type != self.data_type || y.data_type != self.epilogue.result || x.sizes != y.sizes {
            return Err(mismatch());
        }
        if y.count() == 0 {
            return Ok(());
        }
        let (rows, columns) = y.sizes.split_at(lead);
        let number = |size: &usize| i64::try_from(*size).unwrap_or(i64::MAX);
        let space = Space {
            sizes: rows.iter().map(number).collect(),
            strides: placed.iter().map(|placed| placed.strides[..lead].iter().copied().collect()).collect(),
        };
        let space = space.merged().ok_or_else(mismatch)?;
        let (rows, columns) = (rows.iter().product::<usize>(), columns.iter().product::<usize>());
        let wide = |tensor| u64::from(is_wide(tensor, [i64::try_from(columns).unwrap_or(1)]));
        let mut parameters: SmallVec<[u64; 96]> = smallvec![rows as u64, columns as u64, x.address, y.address];
        parameters.extend([wide(&x), wide(&y), self.epsilon.to_bits(), space.sizes.len() as u64]);
        parameters.extend(words(&space.sizes));
        let beside = placed.iter().zip(&space.strides).map(|(placed, strides)| {
            let varies = placed.strides[lead..].iter().any(|stride| *stride != 0);
            (placed, 0, i64::from(varies), strides.clone())
        });
        parameters.extend(self.epilogue.words(beside));
        let chunks = columns.div_ceil(LANES);
        let small = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let (entry, threads) = match chunks {
            chunks if chunks <= 32 * KEPT && rows >= launch.units * MANY_ROWS => (BY_WARP, THREADS),
            chunks if chunks <= THREADS as usize * KEPT => {
                (BY_BLOCK, small(chunks.next_multiple_of(32)).clamp(32, THREADS))
            }
            _ => (LONG_ROWS, THREADS),
        };
        let blocks = if entry == BY_WARP { rows.div_ceil(THREADS as usize / 32) } else { rows };
        let geometry = Geometry { grid: [small(blocks).min(1 << 30), 1, 1], threads, shared: 0 };
        launch.sink.run(entry, geometry, &parameters)
    }
}
