//! `cuda.pointwise.program`: any scalar program, as one function that is generated from its steps.
//!
//! Each thread computes consecutive elements: as many as make 16 bytes of the widest operand or result, where all operands
//! are contiguous or repeated along the innermost axis, else one. Axes are merged at the launch, so that most programs run
//! on one or two.

use std::fmt::Write;

use sinter_backend::{End, KernelError, Numerics, Refusal, Region, StrideSupport};
use sinter_base::view::element_bytes;
use sinter_base::{Attribute, DataType};
use sinter_ops::OpKind;
use smallvec::SmallVec;

use crate::kernel::{Contraction, Kernel, Launch, Source, Tensor};
use crate::only_operator;
use crate::pointwise::scalar;
use crate::space::{Axes, RANK, Space, words};
use crate::tactic::{Row, Speed, refuse_unknown_sizes};
use crate::types::element;

/// See the module documentation.
pub const PROGRAM: Row = Row {
    name: "cuda.pointwise.program",
    roots: &[OpKind::Pointwise],
    numerics: Numerics::Ordered,
    speed: Speed::STREAMING,
    kernel,
};

/// Operands and results at most: all parameters must fit into four kilobytes.
const MOST_TENSORS: usize = 40;
/// Bytes of a vector.
const VECTOR_BYTES: usize = 16;
/// Operations of a program that is bound by arithmetic.
const LONG_PROGRAM: usize = 32;
/// Counts that 32-bit indices represent, with room for the distance of a grid.
const SMALL: usize = 1 << 30;

fn kernel(region: &Region) -> Result<Box<dyn Kernel>, Refusal> {
    let op = only_operator!(region, Pointwise);
    refuse_unknown_sizes(region)?;
    let operands: Vec<DataType> = region.body().input_types().iter().map(|ty| ty.data_type()).collect();
    let results = op.program.result_types();
    if operands.is_empty() || operands.len() + results.len() > MOST_TENSORS {
        return Err(Refusal::new(format!("takes 1 to {MOST_TENSORS} operands and results together")));
    }
    let rank = region.output(0).and_then(|ty| ty.dims().ok()).map_or(0, <[_]>::len);
    if rank > RANK {
        return Err(Refusal::new(format!("takes at most {RANK} axes, not {rank}")));
    }
    let Some(compute) = scalar::function(&op.program, &operands) else {
        return Err(Refusal::new("strings are not for this kernel"));
    };
    let shape = region.output(0).map(|ty| ty.shape.clone());
    let is_whole = |operand: usize| region.input(operand).map(|ty| ty.shape.clone()) == shape;
    Ok(Box::new(PointwiseKernel {
        program: blake3::hash(op.program.to_attr().to_string().as_bytes()).to_hex()[..32].to_owned(),
        compute,
        whole: (0..operands.len()).map(is_whole).collect(),
        operands,
        results,
        operations: op.program.operation_count(),
    }))
}

struct PointwiseKernel {
    /// A hash of the program.
    program: String,
    /// The function of one element.
    compute: String,
    /// By operand: does it have the sizes of the result, whatever they are?
    whole: Vec<bool>,
    operands: Vec<DataType>,
    results: Vec<DataType>,
    /// Operations per element.
    operations: usize,
}

/// The functions of the text, by what a launch needs.
const VECTOR: usize = 0;
const SCALAR: usize = 1;
const LARGE: usize = 2;

impl PointwiseKernel {
    /// Elements of a vector: as many as make 16 bytes, and fewer for a long program, which computes more than it moves and
    /// would take long to compile.
    fn width(&self) -> usize {
        let widest = self.operands.iter().chain(&self.results).map(|ty| element_bytes(*ty)).max().unwrap_or(1);
        let most = if self.operations > LONG_PROGRAM { 2 } else { VECTOR_BYTES };
        (VECTOR_BYTES / widest.max(1)).min(most)
    }

    /// May threads take vectors of this space?
    fn takes_vectors(&self, space: &Space, tensors: &[Tensor<'_>]) -> bool {
        let width = self.width();
        let divides = |number: usize| number.is_multiple_of(width);
        let is_whole = space.sizes.len() == 1 || usize::try_from(space.inner()).is_ok_and(divides);
        let fits = |tensor: &Tensor<'_>| {
            let bytes = (element_bytes(tensor.data_type) * width) as u64;
            tensor.address.is_multiple_of(bytes)
                && tensor.rows.is_none_or(|rows| divides(rows.inner) && divides(rows.step))
        };
        // A repeated element needs no alignment.
        let repeats = |at: usize| space.strides.get(at).and_then(|strides| strides.last()) == Some(&0);
        let inner = |strides: &Axes| strides.last().is_some_and(|stride| (0..=1).contains(stride));
        width > 1
            && is_whole
            && space.strides.iter().all(inner)
            && tensors.iter().enumerate().all(|(at, tensor)| repeats(at) || fits(tensor))
    }
}

impl Kernel for PointwiseKernel {
    fn configuration(&self) -> String {
        let operands: Vec<String> = self.operands.iter().map(ToString::to_string).collect();
        format!("cuda.pointwise.program 1 {} {}", operands.join(" "), self.program)
    }

    fn source(&self) -> Source {
        let list = |types: &[DataType]| {
            let entry = |(at, ty): (usize, &DataType)| format!(" X({at}, {})", element(*ty).unwrap_or("void"));
            types.iter().enumerate().map(entry).collect::<String>()
        };
        let lanes = (0..self.operands.len()).map(|at| format!("x{at}.lane[j]"));
        let lanes: Vec<String> = lanes.chain((0..self.results.len()).map(|at| format!("y{at}.lane[j]"))).collect();
        let mut generated = String::new();
        let _ = writeln!(generated, "#define OPERANDS {}", self.operands.len());
        let _ = writeln!(generated, "#define RESULTS {}", self.results.len());
        let _ = writeln!(generated, "#define WIDTH {}", self.width());
        let _ = writeln!(generated, "#define FOR_OPERANDS(X){}", list(&self.operands));
        let _ = writeln!(generated, "#define FOR_RESULTS(X){}", list(&self.results));
        let _ = writeln!(generated, "#define COMPUTE(j) compute({})", lanes.join(", "));
        generated.push_str(&self.compute);
        Source { generated, text: include_str!("program.cu"), contraction: Contraction::Off }
    }

    fn entries(&self) -> &'static [&'static str] {
        &["vectors", "elements", "large"]
    }

    fn launch(&self, launch: &mut Launch<'_>) -> Result<(), KernelError> {
        let result = launch.output(0)?;
        let count = result.count();
        if count == 0 {
            return Ok(());
        }
        let mut tensors: SmallVec<[Tensor<'_>; 8]> = SmallVec::new();
        for operand in 0..self.operands.len() {
            tensors.push(launch.input(operand)?);
        }
        tensors.extend(launch.outputs.iter().copied());
        let (operands, results) = tensors.split_at(self.operands.len());
        let types = self.operands.iter().chain(&self.results);
        let fits = tensors.len() == self.operands.len() + self.results.len()
            && types.zip(&tensors).all(|(own, tensor)| *own == tensor.data_type)
            && results.iter().all(|other| other.sizes == result.sizes);
        let space = Space::broadcast(result.sizes, operands.iter().map(|operand| operand.sizes));
        let space = space.filter(|_| fits).ok_or_else(|| {
            let sizes: Vec<_> = tensors.iter().map(|tensor| tensor.sizes).collect();
            KernelError::Recipe(format!("a pointwise program does not take {sizes:?}"))
        })?;
        let span = |tensor: &Tensor<'_>| tensor.rows.map_or(Some(tensor.count()), |rows| rows.span(tensor.count()));
        let is_small = tensors.iter().all(|tensor| span(tensor).is_some_and(|span| span < SMALL));
        let (entry, work) = match is_small {
            false => (LARGE, count),
            true if self.takes_vectors(&space, &tensors) => (VECTOR, count.div_ceil(self.width())),
            true => (SCALAR, count),
        };
        let mut parameters: SmallVec<[u64; 64]> = SmallVec::new();
        parameters.push(count as u64);
        parameters.push(space.sizes.len() as u64);
        parameters.extend(words(&space.sizes));
        let nothing = [0; RANK];
        for (at, tensor) in tensors.iter().enumerate() {
            parameters.push(tensor.address);
            let rows = tensor.rows;
            parameters.push(rows.map_or(0, |rows| rows.inner as u64));
            parameters.push(rows.map_or(0, |rows| rows.step as u64));
            if at < self.operands.len() {
                parameters.extend(space.strides.get(at).map_or(nothing, words));
            }
        }
        let geometry = launch.spread(work);
        launch.sink.run(entry, geometry, &parameters)
    }

    fn stride_support(&self, end: End) -> StrideSupport {
        match end {
            End::Operand(operand) if self.whole.get(operand) != Some(&true) => StrideSupport::Contiguous,
            End::Operand(_) | End::Result(_) => StrideSupport::Always,
        }
    }
}
