//! Epilogues: pointwise work on the sums of a product before they leave the cache.
//!
//! The plan splits a pointwise program over the product: the sums start from a bias per column, the microkernel clamps
//! to constants in registers, and the remaining program runs over the rows of each finished tile.

use sinter_backend::{End, KernelError, Refusal, StrideSupport};
use sinter_base::{DataType, Dim};
use sinter_ops::pointwise::program::Step;
use sinter_ops::pointwise::{Program, Scalar, ScalarOp};
use smallvec::SmallVec;

use crate::launch::{Launch, Scratch, ScratchBuffer};
use crate::pointwise::column::{Column, Kind, LENGTH};
use crate::pointwise::operand::splat;
use crate::pointwise::program::apply;
use crate::tier::Tier;

/// An epilogue, bound to operands.
pub struct Epilogue<'a> {
    /// Starts the sums: one value per column.
    pub bias: Option<&'a [f32]>,
    /// Bounds of the finished sums.
    pub clamp: (f32, f32),
    /// The rest of the program.
    pub rest: Option<Rest<'a>>,
}

impl Epilogue<'_> {
    /// Does not change the sums.
    pub const NONE: Self = Self { bias: None, clamp: (f32::NEG_INFINITY, f32::INFINITY), rest: None };
}

/// The elements of an operand and how they follow the product; `None` for the product itself.
type Bound<'a> = Option<(&'a [f32], Access)>;

/// A program over finished tiles with its operands.
pub struct Rest<'a> {
    program: &'a Program,
    /// Which operand of the program is the product, and which one is another product of the same sizes.
    product: usize,
    beside: Option<usize>,
    operands: SmallVec<[Bound<'a>; 4]>,
    scratch: &'a Scratch,
}

/// How an operand follows rows and columns of the product: element (r, j) lies at
/// `((r / repeat) mod rows) row_step + j column_step`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Access {
    repeat: usize,
    rows: usize,
    row_step: usize,
    column_step: usize,
}

impl Access {
    /// The access of an operand of these sizes, the product's leading sizes flattened into rows.
    fn of(operand: &[usize], product: &[usize]) -> Option<Self> {
        let (&columns, leading) = product.split_last()?;
        let missing = product.len().checked_sub(operand.len())?;
        let size = |axis: usize| if axis < missing { 1 } else { operand[axis - missing] };
        let last = size(leading.len());
        let shared = |axis: &usize| size(*axis) == 1;
        let before = (0..leading.len()).take_while(shared).count();
        let behind = (before..leading.len()).rev().take_while(shared).count();
        let own = before..leading.len() - behind;
        if own.clone().any(|axis| size(axis) != leading[axis]) || last != columns && last != 1 {
            return None;
        }
        Some(Self {
            repeat: leading[own.end..].iter().product::<usize>().max(1),
            rows: leading[own].iter().product::<usize>().max(1),
            row_step: last,
            column_step: usize::from(last != 1 || columns == 1),
        })
    }
}

/// Can an operand of these dimensions follow a product of those?
fn follows(operand: &[Dim], product: &[Dim]) -> bool {
    let Some((columns, leading)) = product.split_last() else { return false };
    let Some(missing) = product.len().checked_sub(operand.len()) else { return false };
    let one = Dim::constant(1);
    let size = |axis: usize| if axis < missing { &one } else { &operand[axis - missing] };
    let last = size(leading.len());
    let shared = |axis: &usize| *size(*axis) == one;
    let before = (0..leading.len()).take_while(shared).count();
    let behind = (before..leading.len()).rev().take_while(shared).count();
    (before..leading.len() - behind).all(|axis| *size(axis) == leading[axis]) && (last == columns || *last == one)
}

/// A pointwise program over the rows of a product, as a region has it.
pub struct RowProgram<'a> {
    /// The program.
    pub program: &'a Program,
    /// Which of its operands is the product.
    pub product: usize,
    /// Which of its operands is another product of the same sizes, for kernels that compute two at once.
    pub beside: Option<usize>,
    /// The region's operand of each operand of the program; the entries of the products are unused.
    pub operands: Vec<usize>,
    /// Dimensions of each operand.
    pub dims: Vec<&'a [Dim]>,
    /// Dimensions of the product.
    pub result: &'a [Dim],
}

impl RowProgram<'_> {
    /// Is it for kernels that work on rows?
    fn check(&self) -> Result<(), Refusal> {
        if self.program.results().len() != 1 || self.program.result_types() != [DataType::F32] {
            return Err(Refusal::new("an epilogue has one f32 result"));
        }
        for step in self.program.steps() {
            match step {
                Step::Input { index, data_type } if *index != self.product && Some(*index) != self.beside => {
                    if *data_type != DataType::F32 || !follows(self.dims[*index], self.result) {
                        return Err(Refusal::new(format!("operand {index} of the epilogue does not follow the rows")));
                    }
                }
                other => {
                    if Kind::of(other.data_type()).is_none() {
                        return Err(Refusal::new("strings are not for this kernel"));
                    }
                }
            }
        }
        Ok(())
    }

    /// Has an operand one value per column?
    fn is_column(&self, index: usize) -> bool {
        self.dims[index].split_last().is_some_and(|(last, leading)| {
            self.result.last() == Some(last) && leading.iter().all(|d| *d == Dim::constant(1))
        })
    }

    /// The plan of a chain of at most one column-wise addition and any clamps behind it.
    fn simple(&self) -> Option<Plan> {
        let steps = self.program.steps();
        let mut bias = None;
        // Backwards from the result to the product.
        let mut at = *self.program.results().first()?;
        let mut clamps: Vec<(ScalarOp, f32)> = Vec::new();
        loop {
            match &steps[at] {
                Step::Input { index, .. } if *index == self.product => break,
                Step::Apply { op, compute: DataType::F32, args } if args.len() == 2 && bias.is_none() => {
                    let pair = [(args[0], args[1]), (args[1], args[0])];
                    let next = pair.into_iter().find_map(|(value, other)| match (&steps[other], op) {
                        (Step::Constant { value: Scalar::Float(v), .. }, ScalarOp::Max | ScalarOp::Min)
                            if !v.is_nan() =>
                        {
                            Some((value, Some(*v as f32), None))
                        }
                        (Step::Input { index, .. }, ScalarOp::Add)
                            if *index != self.product && self.is_column(*index) =>
                        {
                            Some((value, None, Some(*index)))
                        }
                        _ => None,
                    });
                    let (value, bound, column) = next?;
                    if let Some(bound) = bound {
                        clamps.push((*op, bound));
                    }
                    bias = column;
                    at = value;
                }
                _ => return None,
            }
        }
        let mut plan = Plan::bias(bias.map(|index| self.operands[index]));
        for (op, bound) in clamps.into_iter().rev() {
            plan.clamp = match op {
                ScalarOp::Max => (plan.clamp.0.max(bound), plan.clamp.1.max(bound)),
                _ => (plan.clamp.0.min(bound), plan.clamp.1.min(bound)),
            };
        }
        Some(plan)
    }
}

/// An epilogue before binding: operands are positions of the region.
#[derive(Clone, Debug)]
pub struct Plan {
    bias: Option<usize>,
    clamp: (f32, f32),
    rest: Option<RestPlan>,
}

/// The remaining program: which of its operands are products, and the region's operand behind each other one.
#[derive(Clone, Debug)]
struct RestPlan {
    program: Program,
    product: usize,
    beside: Option<usize>,
    operands: Vec<usize>,
}

impl Plan {
    /// Takes the program apart.
    ///
    /// # Errors
    /// When the program is not for this kernel.
    pub fn apart(rows: &RowProgram<'_>) -> Result<Self, Refusal> {
        rows.check()?;
        rows.simple().map_or_else(|| Self::whole(rows), Ok)
    }

    /// The same without splitting the program, for prologues.
    ///
    /// # Errors
    /// When the program is not for this kernel.
    pub fn whole(rows: &RowProgram<'_>) -> Result<Self, Refusal> {
        rows.check()?;
        let (program, operands) = (rows.program.clone(), rows.operands.clone());
        let rest = RestPlan { program, product: rows.product, beside: rows.beside, operands };
        Ok(Self { rest: Some(rest), ..Self::bias(None) })
    }

    /// An epilogue that only adds a bias.
    pub fn bias(operand: Option<usize>) -> Self {
        Self { bias: operand, clamp: (f32::NEG_INFINITY, f32::INFINITY), rest: None }
    }

    /// Adds the heavy operator's own bias.
    ///
    /// # Errors
    /// When the program starts with a bias as well.
    pub fn with_bias(mut self, operand: Option<usize>) -> Result<Self, Refusal> {
        if self.bias.is_some() && operand.is_some() {
            return Err(Refusal::new("two biases"));
        }
        self.bias = self.bias.or(operand);
        Ok(self)
    }

    /// The stride support of a kernel with this epilogue that reads rows of operand `rows` and writes rows.
    pub fn stride_support(&self, end: End, rows: usize) -> StrideSupport {
        let follows = |operand| self.rest.as_ref().is_some_and(|rest| rest.operands.contains(&operand));
        match end {
            End::Operand(operand) if operand != rows && !follows(operand) => StrideSupport::Contiguous,
            End::Operand(_) | End::Result(_) => StrideSupport::LastAxis,
        }
    }

    /// Binds the operands of a launch; `sizes` are those of the product.
    ///
    /// # Errors
    /// When an operand's sizes do not follow the product's.
    pub fn bind<'a, 's: 'a, 'b: 'a>(
        &'s self,
        launch: &Launch<'a, 'b>,
        sizes: &[usize],
    ) -> Result<Epilogue<'a>, KernelError> {
        let bias = self.bias.map(|operand| launch.input(operand).map(|view| view.elements::<f32>())).transpose()?;
        let rest = match &self.rest {
            None => None,
            Some(RestPlan { program, product, beside, operands }) => {
                let bound = operands.iter().enumerate().map(|(index, &operand)| {
                    if index == *product || Some(index) == *beside {
                        return Ok(None);
                    }
                    let view = launch.input(operand)?;
                    let own = view.sizes();
                    let wrong = || KernelError::Data(format!("an operand of sizes {own:?} beside rows of {sizes:?}"));
                    let access = Access::of(own, sizes).ok_or_else(wrong)?;
                    let row_step = view.step_of(access.row_step).ok_or_else(wrong)?;
                    Ok(Some((view.span::<f32>(), Access { row_step, ..access })))
                });
                launch.scratch.reserve::<Column>(launch.workers.count(), program.steps().len());
                let operands = bound.collect::<Result<_, _>>()?;
                Some(Rest { program, product: *product, beside: *beside, operands, scratch: launch.scratch })
            }
        };
        Ok(Epilogue { bias, clamp: self.clamp, rest })
    }
}

impl Rest<'_> {
    /// Columns for the values between steps: one set for each task, which passes it to [`Rest::apply`].
    pub fn columns(&self) -> ScratchBuffer<'_, Column> {
        self.scratch.allocate(self.program.steps().len())
    }

    /// Runs the program over neighbouring elements of a row, from column `first` on.
    pub fn apply(&self, tier: Tier, row: usize, first: usize, values: &mut [f32], columns: &mut [Column]) {
        self.apply_beside(tier, (row, first), values, &[], columns);
    }

    /// The same from row and column `at` on, with the elements of the other product, if the program has two.
    #[allow(unsafe_code, reason = "functions compiled for an instruction set may be called only where it exists")]
    pub fn apply_beside(
        &self,
        tier: Tier,
        at: (usize, usize),
        values: &mut [f32],
        beside: &[f32],
        columns: &mut [Column],
    ) {
        match tier {
            // SAFETY: the tier in use is never above what the machine was detected to have.
            #[cfg(target_arch = "x86_64")]
            Tier::Avx512 => unsafe { self.avx512(at, values, beside, columns) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Tier::Avx2 => unsafe { self.avx2(at, values, beside, columns) },
            _ => self.run(at, values, beside, columns),
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,fma")]
    fn avx512(&self, at: (usize, usize), values: &mut [f32], beside: &[f32], columns: &mut [Column]) {
        self.run(at, values, beside, columns);
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    fn avx2(&self, at: (usize, usize), values: &mut [f32], beside: &[f32], columns: &mut [Column]) {
        self.run(at, values, beside, columns);
    }

    #[inline(always)]
    fn run(&self, (row, first): (usize, usize), values: &mut [f32], beside: &[f32], columns: &mut [Column]) {
        let steps = self.program.steps();
        for (chunk, values) in values.chunks_mut(LENGTH).enumerate() {
            let (first, length) = (first + chunk * LENGTH, values.len());
            for position in 0..steps.len() {
                let (before, rest) = columns.split_at_mut(position);
                let column = &mut rest[0];
                match &steps[position] {
                    Step::Constant { value, data_type } => {
                        if let Some(kind) = Kind::of(*data_type) {
                            let integer = match value {
                                Scalar::Int(v) => *v as i64,
                                Scalar::Float(v) => *v as i64,
                            };
                            splat(kind, value.float(), integer, column);
                        }
                    }
                    Step::Input { index, .. } if *index == self.product => {
                        column.f32[..length].copy_from_slice(values);
                    }
                    Step::Input { index, .. } if Some(*index) == self.beside => {
                        column.f32[..length].copy_from_slice(&beside[chunk * LENGTH..][..length]);
                    }
                    Step::Input { index, .. } => {
                        let Some((elements, access)) = &self.operands[*index] else { continue };
                        let start = (row / access.repeat) % access.rows * access.row_step;
                        match access.column_step {
                            0 => column.f32[..length].fill(elements[start]),
                            _ => {
                                let from = start + first;
                                column.f32[..length].copy_from_slice(&elements[from..from + length]);
                            }
                        }
                    }
                    Step::Apply { op, compute, args } => apply(*op, *compute, steps, args, before, column, length),
                }
            }
            values.copy_from_slice(&columns[self.program.results()[0]].f32[..length]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sinter_ops::pointwise::Expr;

    #[test]
    fn operands_follow_rows() {
        let product = [2, 3, 5, 8];
        let access = |repeat, rows, row_step, column_step| Some(Access { repeat, rows, row_step, column_step });
        assert_eq!(Access::of(&[8], &product), access(1, 1, 8, 1));
        assert_eq!(Access::of(&[2, 3, 5, 8], &product), access(1, 30, 8, 1));
        assert_eq!(Access::of(&[3, 5, 8], &product), access(1, 15, 8, 1));
        assert_eq!(Access::of(&[2, 1, 1, 8], &product), access(15, 2, 8, 1));
        assert_eq!(Access::of(&[2, 3, 5, 1], &product), access(1, 30, 1, 0));
        assert_eq!(Access::of(&[], &product), access(1, 1, 1, 0));
        assert_eq!(Access::of(&[2, 1, 5, 8], &product), None);
    }

    #[test]
    fn bias_and_clamps_are_taken_apart() {
        let y = Expr::input(0, DataType::F32);
        let b = Expr::input(1, DataType::F32);
        let relu6 = (&y + &b).binary(ScalarOp::Max, &Expr::constant(DataType::F32, 0.0));
        let relu6 = relu6.binary(ScalarOp::Min, &Expr::constant(DataType::F32, 6.0));
        let op = Expr::into_pointwise(&[relu6]).unwrap();
        let result: Vec<Dim> = vec![Dim::symbol("N"), 8i64.into()];
        let column: Vec<Dim> = vec![8i64.into()];
        let plan = |program: &Program| {
            let (operands, dims) = (vec![9, 4], vec![&result[..], &column[..]]);
            Plan::apart(&RowProgram { program, product: 0, beside: None, operands, dims, result: &result }).unwrap()
        };
        let relu6 = plan(&op.program);
        assert_eq!((relu6.bias, relu6.clamp, relu6.rest.is_none()), (Some(4), (0.0, 6.0), true));
        // The sums cannot start from a bias that follows a clamp.
        let late = &y.binary(ScalarOp::Max, &Expr::constant(DataType::F32, 0.0)) + &b;
        let op = Expr::into_pointwise(&[late]).unwrap();
        assert!(plan(&op.program).rest.is_some());
    }
}
