//! `cuda.reduce.groups`: one value from all elements along some axes.
//!
//! A thread, a warp or a block folds a group; which one, its length decides. Sums are of short sums, and warps combine them
//! in a fixed order, so that a result has the same bits in every run.

use sinter_backend::{KernelError, Numerics, Refusal, Region};
use sinter_base::DataType;
use sinter_ops::OpKind;
use sinter_ops::axes::distinct_axes;
use sinter_ops::reduce::{Reduce, ReduceKind};

use crate::kernel::{Contraction, Kernel, Launch, Source};
use crate::movement::moves::constants;
use crate::only_operator;
use crate::reduce::groups::{ENTRIES, Groups, WORDS, axes_of};
use crate::tactic::{Row, Speed, refuse_unknown_sizes};
use crate::types::{Kind, element};

/// See the module documentation.
pub const REDUCTION: Row = Row {
    name: "cuda.reduce.groups",
    roots: &[OpKind::Reduce],
    numerics: Numerics::Reassociated,
    speed: Speed::STREAMING,
    kernel,
};

fn kernel(region: &Region) -> Result<Box<dyn Kernel>, Refusal> {
    let op = only_operator!(region, Reduce);
    refuse_unknown_sizes(region)?;
    let given = constants(region, 1, Vec::new)?;
    let Some(data_type) = region.input(0).map(|ty| ty.data_type) else {
        return Err(Refusal::new("takes tensors"));
    };
    let is_wide = matches!(data_type, DataType::I64 | DataType::U64);
    match (Kind::of(data_type), op.kind) {
        (None, _) => return Err(Refusal::new("strings are not for this kernel")),
        (Some(Kind::I64), ReduceKind::L2 | ReduceKind::LogSum | ReduceKind::LogSumExp) => {
            return Err(Refusal::new("roots and logarithms of integers are not for this kernel"));
        }
        (_, ReduceKind::Mean) if is_wide => return Err(Refusal::new("the sum of 64-bit integers needs 128 bits")),
        _ => {}
    }
    Ok(Box::new(ReduceKernel { op: op.clone(), given, data_type }))
}

struct ReduceKernel {
    op: Reduce,
    /// The axes, empty for the default.
    given: Vec<i64>,
    data_type: DataType,
}

/// The name of a reduction in `reduction.cu`.
fn name(kind: ReduceKind) -> &'static str {
    match kind {
        ReduceKind::Sum => "SUM",
        ReduceKind::Mean => "MEAN",
        ReduceKind::Product => "PRODUCT",
        ReduceKind::Max => "MAX",
        ReduceKind::Min => "MIN",
        ReduceKind::L1 => "L1",
        ReduceKind::L2 => "L2",
        ReduceKind::LogSum => "LOG_SUM",
        ReduceKind::LogSumExp => "LOG_SUM_EXP",
        ReduceKind::SumSquare => "SUM_SQUARE",
    }
}

impl Kernel for ReduceKernel {
    fn configuration(&self) -> String {
        format!("cuda.reduce.groups 1 {} {}", name(self.op.kind), self.data_type)
    }

    fn source(&self) -> Source {
        let prefix = if self.data_type == DataType::U64 { "unsigned" } else { "integer" };
        let (low, high) = self.data_type.integer_range().unwrap_or((0, 0));
        let generated = format!(
            "typedef {} T;\n#define KIND {}\n#define integer_least {prefix}_min\n#define integer_largest {prefix}_max\n\
             #define LOW i64({:#x}ull)\n#define HIGH i64({:#x}ull)\n",
            element(self.data_type).unwrap_or("void"),
            name(self.op.kind),
            low as u64,
            high as u64,
        );
        Source { generated, text: include_str!("reduction.cu"), contraction: Contraction::On }
    }

    fn entries(&self) -> &'static [&'static str] {
        ENTRIES
    }

    fn launch(&self, launch: &mut Launch<'_>) -> Result<(), KernelError> {
        let (x, y) = (launch.input(0)?, launch.output(0)?);
        let refused = |error: &dyn std::fmt::Display| KernelError::Recipe(error.to_string());
        let axes = match &self.given[..] {
            [] if self.op.noop_with_empty_axes => sinter_base::Sizes::new(),
            [] => (0..x.sizes.len()).collect(),
            given => distinct_axes(given, x.sizes.len()).map_err(|error| refused(&error))?,
        };
        let groups = Groups::of(&axes_of(x.sizes, |axis| axes.contains(&axis)));
        let groups = groups.ok_or_else(|| refused(&"too many axes"))?;
        let fits = x.data_type == self.data_type && y.data_type == self.data_type;
        if !fits || usize::try_from(groups.groups) != Ok(y.count()) {
            return Err(refused(&format!("{:?} does not reduce to {:?}", x.sizes, y.sizes)));
        }
        if y.count() == 0 {
            return Ok(());
        }
        let (entry, geometry) = groups.team(launch);
        let mut parameters = [0; WORDS + 2];
        parameters[..WORDS].copy_from_slice(&groups.words());
        parameters[WORDS..].copy_from_slice(&[x.address, y.address]);
        launch.sink.run(entry, geometry, &parameters)
    }
}
