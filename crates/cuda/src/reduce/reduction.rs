//! `cuda.reduce.groups`: one value from all elements along some axes.
//!
//! A thread, a warp or a block folds a group; which one, its length decides. Few long groups are divided into parts, a block for
//! each, and another launch joins those. Sums are of short sums, and warps combine them
//! in a fixed order, so that a result has the same bits in every run.

use sinter_backend::{KernelError, Numerics, Refusal, Region};
use sinter_base::{DataType, Dim};
use sinter_ops::OpKind;
use sinter_ops::axes::distinct_axes;
use sinter_ops::reduce::{Reduce, ReduceKind};

use crate::kernel::{Contraction, Geometry, Kernel, Launch, Source, THREADS};
use crate::movement::moves::constants;
use crate::only_operator;
use crate::reduce::groups::{Groups, WORDS, axes_of};
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

const FOLD_PARTS: usize = 3;
const JOIN_PARTS: usize = 4;

/// Parts of all groups at most: the scratch memory has room for so many.
const MOST_PARTS: usize = 4096;
/// Bytes of a part: two numbers of at most 64 bits.
const PART: usize = 16;
/// Members that are worth a part of their own.
const WORTH_A_PART: usize = 8192;
/// Parts that fill a multiprocessor.
const PARTS_OF_A_UNIT: usize = 8;

/// Parts of each group: more than one where the groups alone leave most of the device idle.
fn parts(groups: &Groups, units: usize) -> usize {
    let [groups, members] = [groups.groups, groups.members].map(|number| usize::try_from(number).unwrap_or(0));
    let room = (units.max(1) * PARTS_OF_A_UNIT).min(MOST_PARTS).checked_div(groups).unwrap_or(0);
    (members / WORTH_A_PART).min(room).max(1)
}

impl ReduceKernel {
    /// Roots and logarithms of integers are those of float64.
    fn is_through_floats(&self) -> bool {
        let is_real = matches!(self.op.kind, ReduceKind::L2 | ReduceKind::LogSum | ReduceKind::LogSumExp);
        is_real && Kind::of(self.data_type) == Some(Kind::I64)
    }
}

impl Kernel for ReduceKernel {
    fn configuration(&self) -> String {
        format!("cuda.reduce.groups 2 {} {}", name(self.op.kind), self.data_type)
    }

    fn source(&self) -> Source {
        let prefix = if self.data_type == DataType::U64 { "unsigned" } else { "integer" };
        let (low, high) = self.data_type.integer_range().unwrap_or((0, 0));
        let generated = format!(
            "typedef {} T;\ntypedef {} W;\n#define KIND {}\n#define integer_least {prefix}_min\n#define integer_largest {prefix}_max\n\
             #define LOW i64({:#x}ull)\n#define HIGH i64({:#x}ull)\n",
            element(self.data_type).unwrap_or("void"),
            if self.is_through_floats() { "double" } else { "Wide<T>" },
            name(self.op.kind),
            low as u64,
            high as u64,
        );
        Source { generated, text: include_str!("reduction.cu"), contraction: Contraction::On }
    }

    fn entries(&self) -> &'static [&'static str] {
        &["by_thread", "by_warp", "by_block", "fold_parts", "join_parts"]
    }

    fn workspace(&self) -> Dim {
        Dim::from(MOST_PARTS * PART)
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
        let parts = parts(&groups, launch.units);
        let partial = if parts > 1 { launch.scratch(MOST_PARTS * PART)? } else { 0 };
        let mut parameters = [0; WORDS + 4];
        parameters[..WORDS].copy_from_slice(&groups.words());
        parameters[WORDS..].copy_from_slice(&[x.address, y.address, parts as u64, partial]);
        if parts > 1 {
            let blocks = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
            let geometry = |count| Geometry { grid: [blocks(count), 1, 1], threads: THREADS, shared: 0 };
            launch.sink.run(FOLD_PARTS, geometry(y.count() * parts), &parameters)?;
            return launch.sink.run(JOIN_PARTS, geometry(y.count()), &parameters);
        }
        let (entry, geometry) = groups.team(launch);
        launch.sink.run(entry, geometry, &parameters)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_long_groups_are_divided() {
        let parts_of = |sizes: &[usize], members: &[usize]| {
            parts(&Groups::of(&axes_of(sizes, |axis| members.contains(&axis))).expect("few axes"), 132)
        };
        assert_eq!(parts_of(&[1 << 24], &[0]), 1056);
        assert_eq!(parts_of(&[4, 1 << 20], &[1]), 128);
        assert_eq!(parts_of(&[3, 20_000], &[1]), 2);
        assert_eq!((parts_of(&[4096, 4096], &[1]), parts_of(&[1000], &[0])), (1, 1));
        // Parts of all groups have room.
        for groups in 1..2000 {
            assert!(groups * parts_of(&[groups, 1 << 22], &[1]) <= MOST_PARTS, "{groups}");
        }
    }
}
