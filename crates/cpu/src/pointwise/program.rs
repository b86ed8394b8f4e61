//! `cpu.pointwise.program`: any scalar program, column by column.
//!
//! The kernel splits the result into chunks for the workers and each chunk into columns of [`LENGTH`] elements. It runs
//! the steps on a column one after the other, each as one loop over the column: the compiler vectorizes the loops, and
//! the values between steps stay in the L1 cache. The code is compiled once per instruction set tier.

use std::sync::Mutex;

use sinter_backend::{End, KernelError, Numerics, Refusal, Region, StrideSupport};
use sinter_base::halves::float_of;
use sinter_base::view::element_bytes;
use sinter_base::{DataType, Rows, Sizes, View};
use sinter_ops::OpKind;
use sinter_ops::pointwise::program::Step;
use sinter_ops::pointwise::{CastMode, Program, Scalar, ScalarOp};
use smallvec::SmallVec;

use crate::launch::{Kernel, Launch, Loaded, Operand};
use crate::only_operator;
use crate::pointwise::column::{Column, Kind, LENGTH, wrap};
use crate::pointwise::integer;
use crate::pointwise::operand::{Access, position_in, read, splat, write};
use crate::pointwise::real::{Real, round_to};
use crate::tactic::{Row, Speed};
use crate::tier::Tier;

/// Elements below which waking the other workers costs more than it saves.
const WORTH_SHARING: usize = 16 * 1024;

/// See the module documentation.
pub const PROGRAM: Row = Row {
    name: "cpu.pointwise.program",
    roots: &[OpKind::Pointwise],
    numerics: Numerics::Ordered,
    in_place: &[],
    speed: Speed::VECTOR,
    kernel,
};

fn kernel(region: &Region) -> Result<Loaded, Refusal> {
    let op = only_operator!(region, Pointwise);
    if op.program.steps().iter().any(|s| Kind::of(s.data_type()).is_none()) {
        return Err(Refusal::new("strings are not for this kernel"));
    }
    let result = region.output(0).map(|ty| ty.shape.clone());
    let is_whole = |operand: usize| region.input(operand).map(|ty| ty.shape.clone()) == result;
    Ok(Loaded::Kernel(Box::new(PointwiseKernel {
        whole: (0..region.body().inputs().len()).map(is_whole).collect(),
        types: op.program.result_types(),
        program: op.program.clone(),
        tier: Tier::in_use(),
    })))
}

struct PointwiseKernel {
    program: Program,
    types: Vec<DataType>,
    /// By operand: does it have the sizes of the result, whatever they are?
    whole: Vec<bool>,
    tier: Tier,
}

/// By Euclid's algorithm; neither is 0.
fn common_divisor(a: usize, b: usize) -> usize {
    let (mut a, mut b) = (a, b);
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// The remaining work. Tasks take their chunks one after the other; a list of chunks would allocate memory in every
/// launch.
struct Rest<'a> {
    task: usize,
    /// Per result its remaining memory, and the bytes of a chunk.
    results: SmallVec<[(&'a mut [u8], usize); 4]>,
}

impl<'a> Rest<'a> {
    /// Number and memory of the next task.
    fn next(&mut self) -> (usize, SmallVec<[&'a mut [u8]; 4]>) {
        let take = |(rest, chunk): &mut (&'a mut [u8], usize)| {
            let length = rest.len().min(*chunk);
            let (part, later) = std::mem::take(rest).split_at_mut(length);
            *rest = later;
            part
        };
        self.task += 1;
        (self.task - 1, self.results.iter_mut().map(take).collect())
    }
}

impl Kernel for PointwiseKernel {
    fn launch(&self, launch: &mut Launch<'_, '_>) -> Result<(), KernelError> {
        let sizes = Sizes::from_slice(launch.output(0).sizes());
        let count = launch.output(0).count();
        if count == 0 {
            return Ok(());
        }
        let operands = launch
            .inputs
            .iter()
            .map(|operand| match operand {
                Operand::View(view) => Ok((*view, Access::of(view.sizes(), &sizes))),
                _ => Err(KernelError::Data("a pointwise operand is missing".to_owned())),
            })
            .collect::<Result<SmallVec<[_; 8]>, _>>()?;
        let rows: SmallVec<[Option<Rows>; 4]> = launch.outputs.iter_mut().map(|target| target.view().rows()).collect();
        // Columns end where rows do, of any strided view; chunks where rows of all strided results do.
        let lengths = rows.iter().copied().chain(operands.iter().map(|(view, _)| view.rows())).flatten();
        let row = lengths.map(|rows| rows.inner).reduce(common_divisor).unwrap_or(usize::MAX);
        let strided = rows.iter().flatten().map(|rows| rows.inner);
        let whole_rows = strided.reduce(|a, b| (a / common_divisor(a, b)).saturating_mul(b)).unwrap_or(LENGTH);
        let tasks = if count < WORTH_SHARING { 1 } else { launch.workers.count() * 4 };
        let chunk = count.div_ceil(tasks).div_ceil(whole_rows).saturating_mul(whole_rows);
        let (workers, scratch) = (launch.workers, launch.scratch);
        let results = launch.outputs.iter_mut().zip(&self.types).zip(&rows);
        let results = results.map(|((target, ty), rows)| {
            let elements = rows.map_or(chunk, |rows| chunk / rows.inner * rows.step);
            (target.view().span_bytes(), elements * element_bytes(*ty))
        });
        let rest = Mutex::new(Rest { task: 0, results: results.collect() });
        let steps = self.program.steps().len();
        scratch.reserve::<Column>(workers.count(), steps);
        workers.run(count.div_ceil(chunk), &|_| {
            let next = rest.lock().map(|mut rest| rest.next());
            let Ok((task, mut outputs)) = next else { return };
            let start = task * chunk;
            let run = Run {
                program: &self.program,
                types: &self.types,
                operands: &operands,
                sizes: &sizes,
                rows: &rows,
                row,
            };
            let mut columns = scratch.allocate(steps);
            run.on_tier(self.tier, start, count.min(start + chunk), &mut outputs, &mut columns);
        });
        Ok(())
    }

    fn stride_support(&self, end: End) -> StrideSupport {
        match end {
            End::Operand(operand) if self.whole.get(operand) != Some(&true) => StrideSupport::Contiguous,
            End::Operand(_) | End::Result(_) => StrideSupport::Always,
        }
    }
}

/// Everything that does not change from column to column.
struct Run<'a> {
    program: &'a Program,
    types: &'a [DataType],
    operands: &'a [(View<'a>, Access)],
    sizes: &'a [usize],
    /// How the results lie.
    rows: &'a [Option<Rows>],
    /// Number of elements whose multiples no column may cross.
    row: usize,
}

impl Run<'_> {
    /// Elements `start..end`, with the vector width of the tier.
    #[allow(unsafe_code, reason = "functions compiled for an instruction set may be called only where it exists")]
    fn on_tier(&self, tier: Tier, start: usize, end: usize, outputs: &mut [&mut [u8]], columns: &mut [Column]) {
        match tier {
            // SAFETY: the tier in use is never above what the machine was detected to have.
            #[cfg(target_arch = "x86_64")]
            Tier::Avx512 => unsafe { self.avx512(start, end, outputs, columns) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Tier::Avx2 => unsafe { self.avx2(start, end, outputs, columns) },
            _ => self.columns(start, end, outputs, columns),
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,fma")]
    fn avx512(&self, start: usize, end: usize, outputs: &mut [&mut [u8]], columns: &mut [Column]) {
        self.columns(start, end, outputs, columns);
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    fn avx2(&self, start: usize, end: usize, outputs: &mut [&mut [u8]], columns: &mut [Column]) {
        self.columns(start, end, outputs, columns);
    }

    #[inline(always)]
    fn columns(&self, start: usize, end: usize, outputs: &mut [&mut [u8]], columns: &mut [Column]) {
        let steps = self.program.steps();
        for (step, column) in steps.iter().zip(&mut *columns) {
            if let Step::Constant { value, data_type } = step
                && let Some(kind) = Kind::of(*data_type)
            {
                let integer = match value {
                    Scalar::Int(v) => *v as i64,
                    Scalar::Float(v) => *v as i64,
                };
                splat(kind, value.float(), integer, column);
            }
        }
        let mut first = start;
        while first < end {
            let length = LENGTH.min(end - first).min(self.row - first % self.row);
            for position in 0..steps.len() {
                let (before, rest) = columns.split_at_mut(position);
                let column = &mut rest[0];
                match &steps[position] {
                    Step::Constant { .. } => {}
                    Step::Input { index, .. } => {
                        let (view, access) = &self.operands[*index];
                        read(*view, access, self.sizes, first, length, column);
                    }
                    Step::Apply { op, compute, args } => apply(*op, *compute, steps, args, before, column, length),
                }
            }
            let results = outputs.iter_mut().zip(self.types).zip(self.rows).zip(self.program.results());
            for (((output, &ty), rows), &result) in results {
                let width = element_bytes(ty);
                let at = rows.map_or(first - start, |rows| position_in(rows, first - start)) * width;
                write(ty, &columns[result], &mut output[at..at + length * width]);
            }
            first += length;
        }
    }
}

/// One step on one column.
#[inline(always)]
pub(crate) fn apply(
    op: ScalarOp,
    compute: DataType,
    steps: &[Step],
    args: &[usize],
    before: &[Column],
    column: &mut Column,
    length: usize,
) {
    let (a, b) = (&before[args[0]], &before[args[args.len().min(2) - 1]]);
    if let ScalarOp::Cast(mode) = op {
        return cast(steps[args[0]].data_type(), compute, mode, a, column, length);
    }
    if op == ScalarOp::Select {
        let (then, otherwise) = (&before[args[1]], &before[args[2]]);
        return select(compute, &a.i64[..length], then, otherwise, column);
    }
    match Kind::of(compute) {
        Some(Kind::F32) => {
            let (a, b) = (&a.f32[..length], &b.f32[..length]);
            if !f32::test(op, &mut column.i64[..length], a, b) && f32::function(op, &mut column.f32[..length], a, b) {
                round_to(compute, &mut column.f32[..length]);
            }
        }
        Some(Kind::F64) => {
            let (a, b) = (&a.f64[..length], &b.f64[..length]);
            if !f64::test(op, &mut column.i64[..length], a, b) {
                f64::function(op, &mut column.f64[..length], a, b);
            }
        }
        Some(Kind::I64) => {
            let y = &mut column.i64[..length];
            if integer::function(op, compute, y, &a.i64[..length], &b.i64[..length]) {
                let result = op.result_type(compute);
                y.iter_mut().for_each(|v| *v = wrap(result, *v));
            }
        }
        None => {}
    }
}

#[inline(always)]
fn select(compute: DataType, condition: &[i64], then: &Column, otherwise: &Column, column: &mut Column) {
    macro_rules! choose {
        ($field:ident) => {
            for (i, &c) in condition.iter().enumerate() {
                column.$field[i] = if c != 0 { then.$field[i] } else { otherwise.$field[i] };
            }
        };
    }
    match Kind::of(compute) {
        Some(Kind::F32) => choose!(f32),
        Some(Kind::F64) => choose!(f64),
        Some(Kind::I64) => choose!(i64),
        None => {}
    }
}

#[inline(always)]
fn cast(from: DataType, to: DataType, mode: CastMode, a: &Column, column: &mut Column, length: usize) {
    let (Some(source), Some(target)) = (Kind::of(from), Kind::of(to)) else { return };
    // Narrow floats with modes, and floats to integers that may overflow, use the exact conversion.
    let exact = to.mini_float().is_some() || source != Kind::I64 && target == Kind::I64;
    macro_rules! each {
        ($into:ident, $from:ident, $v:ident => $e:expr) => {
            column.$into[..length].iter_mut().zip(&a.$from[..length]).for_each(|(y, &$v)| *y = $e)
        };
    }
    if exact {
        let scalar = |i: usize| match source {
            Kind::F32 => Scalar::Float(f64::from(a.f32[i])),
            Kind::F64 => Scalar::Float(a.f64[i]),
            Kind::I64 if from == DataType::U64 => Scalar::Int(i128::from(a.i64[i] as u64)),
            Kind::I64 => Scalar::Int(i128::from(a.i64[i])),
        };
        for i in 0..length {
            match scalar(i).cast(to, mode) {
                Scalar::Float(v) => column.f32[i] = v as f32,
                Scalar::Int(v) => column.i64[i] = v as i64,
            }
        }
        return;
    }
    match (source, target) {
        (Kind::F32, Kind::F32) => each!(f32, f32, v => v),
        (Kind::F32, Kind::F64) => each!(f64, f32, v => f64::from(v)),
        (Kind::F64, Kind::F64) => each!(f64, f64, v => v),
        // Rounded once, straight to the narrow type, or a tie could be rounded twice.
        (Kind::F64, Kind::F32) => each!(f32, f64, v => to.round(v) as f32),
        (Kind::I64, Kind::F64) if from == DataType::U64 => each!(f64, i64, v => v as u64 as f64),
        (Kind::I64, Kind::F64) => each!(f64, i64, v => v as f64),
        (Kind::I64, Kind::F32) if to != DataType::F32 && from == DataType::U64 => {
            each!(f32, i64, v => to.round(float_of(i128::from(v as u64))) as f32)
        }
        (Kind::I64, Kind::F32) if to != DataType::F32 => {
            each!(f32, i64, v => to.round(float_of(i128::from(v))) as f32)
        }
        (Kind::I64, Kind::F32) if from == DataType::U64 => each!(f32, i64, v => v as u64 as f32),
        (Kind::I64, Kind::F32) => each!(f32, i64, v => v as f32),
        (_, Kind::I64) => each!(i64, i64, v => wrap(to, v)),
    }
    if target == Kind::F32 && source == Kind::F32 {
        round_to(to, &mut column.f32[..length]);
    }
}
