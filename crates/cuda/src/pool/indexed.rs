//! `cuda.pool.indexed`: the largest element of each window and where it was found, a thread for each window.

use sinter_backend::{KernelError, Numerics, Refusal, Region};
use sinter_base::DataType;
use sinter_ops::OpKind;
use sinter_ops::pool::MaxPoolWithIndices;
use smallvec::SmallVec;

use crate::kernel::{Contraction, Kernel, Launch, recipe};
use crate::only_operator;
use crate::tactic::{Row, Speed, refuse_unknown_sizes};
use crate::text_kernel::{Text, TextKernel, typedefs};
use crate::windows::{SPATIAL, Shape};

/// See the module documentation.
pub const INDEXED: Row = Row {
    name: "cuda.pool.indexed",
    roots: &[OpKind::MaxPoolWithIndices],
    numerics: Numerics::Exact,
    speed: Speed::STREAMING,
    kernel,
};

fn kernel(region: &Region) -> Result<Box<dyn Kernel>, Refusal> {
    let op = only_operator!(region, MaxPoolWithIndices).clone();
    refuse_unknown_sizes(region)?;
    let spatial = op.window.kernel.len();
    if spatial > SPATIAL {
        return Err(Refusal::new(format!("takes at most {SPATIAL} spatial axes, not {spatial}")));
    }
    let data_type = region.input(0).map(|ty| ty.data_type);
    let element = typedefs(&[("T", data_type)])?;
    let low = data_type.and_then(DataType::integer_range).unwrap_or((0, 0)).0 as u64;
    let prefix = if data_type == Some(DataType::U64) { "unsigned" } else { "integer" };
    let text = Text {
        name: INDEXED.name,
        interface: 1,
        generated: format!("{element}#define LOW i64({low:#x}ull)\n#define integer_largest {prefix}_max\n"),
        text: include_str!("indexed.cu"),
        contraction: Contraction::Off,
        entries: &["pool"],
    };
    Ok(TextKernel::new(region, text, move |launch| run(launch, &op)).boxed())
}

fn run(launch: &mut Launch<'_>, op: &MaxPoolWithIndices) -> Result<(), KernelError> {
    let (x, y, indices) = (launch.input(0)?, launch.output(0)?, launch.output(1)?);
    let mismatch = || recipe(format!("windows over {:?} are no {:?}", x.sizes, y.sizes));
    let ([n, c, input @ ..], [y_n, y_c, output @ ..]) = (x.sizes, y.sizes) else { return Err(mismatch()) };
    if n != y_n || c != y_c || y.sizes != indices.sizes {
        return Err(mismatch());
    }
    let window = &op.window;
    let (strides, dilations, padding) = (&window.strides[..], &window.dilations[..], &window.padding);
    let shape = Shape { strides, dilations, padding, ceil: window.ceil };
    let mut parameters: SmallVec<[u64; 32]> = SmallVec::from_slice(&shape.words(input, &window.kernel, output)?);
    parameters.extend([(n * c) as u64, u64::from(op.column_major), x.address, y.address, indices.address]);
    launch.each(0, y.count(), &parameters)
}
