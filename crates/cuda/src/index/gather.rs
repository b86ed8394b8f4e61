//! `cuda.index.gather`: slices of a tensor picked by their index along one axis. An index outside of the axis is an error,
//! which the queue reports when the work has ended.

use sinter_backend::{KernelError, Numerics, Refusal, Region};
use sinter_base::view::element_bytes;
use sinter_base::{DataType, Sizes};
use sinter_ops::OpKind;
use sinter_ops::axes::axis_of;

use crate::kernel::{Contraction, Kernel, Launch, Source};
use crate::only_operator;
use crate::tactic::{Row, Speed, refuse_unknown_sizes};
use crate::types::{element, moved};

/// See the module documentation.
pub const GATHER: Row = Row {
    name: "cuda.index.gather",
    roots: &[OpKind::Gather],
    numerics: Numerics::Exact,
    speed: Speed::STREAMING,
    kernel,
};

/// Bytes of a vector.
const VECTOR_BYTES: usize = 16;

fn kernel(region: &Region) -> Result<Box<dyn Kernel>, Refusal> {
    let op = only_operator!(region, Gather);
    refuse_unknown_sizes(region)?;
    let bytes = region.input(0).map_or(0, |ty| element_bytes(ty.data_type));
    match (moved(bytes), region.input(1).map(|ty| ty.data_type)) {
        (Some(_), Some(indices)) => Ok(Box::new(GatherKernel { axis: op.axis, bytes, indices })),
        _ => Err(Refusal::new("strings are not for this kernel")),
    }
}

struct GatherKernel {
    axis: i64,
    bytes: usize,
    /// Type of the indices.
    indices: DataType,
}

impl Kernel for GatherKernel {
    fn configuration(&self) -> String {
        format!("cuda.index.gather 1 {} {}", self.bytes, self.indices)
    }

    fn source(&self) -> Source {
        let (value, index) = (moved(self.bytes).unwrap_or("void"), element(self.indices).unwrap_or("void"));
        let width = VECTOR_BYTES / self.bytes.max(1);
        let generated = format!("typedef {value} T;\ntypedef {index} Index;\n#define WIDTH {width}\n");
        Source { generated, text: include_str!("gather.cu"), contraction: Contraction::Off }
    }

    fn entries(&self) -> &'static [&'static str] {
        &["vectors", "elements"]
    }

    fn launch(&self, launch: &mut Launch<'_>) -> Result<(), KernelError> {
        let (x, indices, y) = (launch.input(0)?, launch.input(1)?, launch.output(0)?);
        let axis = axis_of(self.axis, x.sizes.len()).map_err(|error| KernelError::Recipe(error.to_string()))?;
        let mut expected = Sizes::from_slice(&x.sizes[..axis]);
        expected.extend_from_slice(indices.sizes);
        expected.extend_from_slice(&x.sizes[axis + 1..]);
        let types = element_bytes(x.data_type) == self.bytes && y.data_type == x.data_type;
        if !types || indices.data_type != self.indices || expected[..] != *y.sizes {
            return Err(KernelError::Recipe(format!("{:?} picks no {:?} of {:?}", indices.sizes, y.sizes, x.sizes)));
        }
        let count = y.count();
        if count == 0 {
            return Ok(());
        }
        let inner: usize = x.sizes[axis + 1..].iter().product();
        let width = VECTOR_BYTES / self.bytes.max(1);
        let is_aligned = |address: u64| address.is_multiple_of(VECTOR_BYTES as u64);
        let is_wide = inner.is_multiple_of(width) && is_aligned(x.address) && is_aligned(y.address);
        let (entry, width) = if is_wide { (0, width) } else { (1, 1) };
        let words = [
            (count / width) as u64,
            (inner / width) as u64,
            indices.count() as u64,
            x.sizes[axis] as u64,
            x.address,
            indices.address,
            y.address,
            launch.fault,
        ];
        let geometry = launch.spread(count / width);
        launch.sink.run(entry, geometry, &words)
    }
}
