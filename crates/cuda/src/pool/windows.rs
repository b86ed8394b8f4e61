//! `cuda.pool.windows`: the largest element, the mean or the norm of each window, a thread for each. One window over
//! everything is a window of the input's size.

use sinter_backend::{KernelError, Numerics, Refusal, Region};
use sinter_base::{DataType, Sizes};
use sinter_ops::OpKind;
use sinter_ops::pool::{Pool, PoolMode};
use sinter_ops::window::Padding;
use smallvec::SmallVec;

use crate::kernel::{Contraction, Kernel, Launch, Source};
use crate::only_operator;
use crate::tactic::{Row, Speed, refuse_unknown_sizes};
use crate::types::{Kind, element};
use crate::windows::{SPATIAL, Shape};

/// See the module documentation.
pub const WINDOWS: Row = Row {
    name: "cuda.pool.windows",
    roots: &[OpKind::Pool],
    numerics: Numerics::Reassociated,
    speed: Speed::STREAMING,
    kernel,
};

fn kernel(region: &Region) -> Result<Box<dyn Kernel>, Refusal> {
    let op = only_operator!(region, Pool);
    refuse_unknown_sizes(region)?;
    let rank = region.input(0).and_then(|ty| ty.dims().ok()).map_or(0, <[_]>::len);
    if rank > SPATIAL + 2 {
        return Err(Refusal::new(format!("takes at most {SPATIAL} spatial axes, not {}", rank - 2)));
    }
    let Some(data_type) = region.input(0).map(|ty| ty.data_type) else { return Err(Refusal::new("takes numbers")) };
    match Kind::of(data_type) {
        Some(_) => Ok(Box::new(WindowsKernel { op: op.clone(), data_type })),
        None => Err(Refusal::new("takes numbers")),
    }
}

struct WindowsKernel {
    op: Pool,
    data_type: DataType,
}

impl Kernel for WindowsKernel {
    fn configuration(&self) -> String {
        let mode = match self.op.mode {
            PoolMode::Max => "max",
            PoolMode::Average { .. } => "average",
            PoolMode::Norm { .. } => "norm",
        };
        format!("cuda.pool.windows 2 {mode} {}", self.data_type)
    }

    fn source(&self) -> Source {
        let is_max = self.op.mode == PoolMode::Max;
        let mode = match self.op.mode {
            PoolMode::Max => "MAX",
            PoolMode::Average { .. } => "AVERAGE",
            PoolMode::Norm { .. } => "NORM",
        };
        let generated = format!(
            "typedef {} T;\ntypedef {} W;\n#define MODE {mode}\n#define LOW i64({:#x}ull)\n#define integer_largest {}_max\n",
            element(self.data_type).unwrap_or("void"),
            // Means and norms of integers are those of float64.
            if Kind::of(self.data_type) == Some(Kind::I64) && !is_max { "double" } else { "Wide<T>" },
            self.data_type.integer_range().unwrap_or((0, 0)).0 as u64,
            if self.data_type == DataType::U64 { "unsigned" } else { "integer" },
        );
        Source { generated, text: include_str!("windows.cu"), contraction: Contraction::On }
    }

    fn entries(&self) -> &'static [&'static str] {
        &["pool"]
    }

    fn launch(&self, launch: &mut Launch<'_>) -> Result<(), KernelError> {
        let (x, y) = (launch.input(0)?, launch.output(0)?);
        let mismatch = || KernelError::Recipe(format!("windows over {:?} are no {:?}", x.sizes, y.sizes));
        let ([n, c, input @ ..], [y_n, y_c, output @ ..]) = (x.sizes, y.sizes) else { return Err(mismatch()) };
        if n != y_n || c != y_c || x.data_type != self.data_type || y.data_type != self.data_type {
            return Err(mismatch());
        }
        let ones = Sizes::from_elem(1, input.len());
        let valid = Padding::Valid;
        let words = match &self.op.window {
            Some(window) => {
                let (strides, dilations, padding) = (&window.strides[..], &window.dilations[..], &window.padding);
                Shape { strides, dilations, padding, ceil: window.ceil }.words(input, &window.kernel, output)?
            }
            None => {
                let shape = Shape { strides: &ones, dilations: &ones, padding: &valid, ceil: false };
                shape.words(input, input, output)?
            }
        };
        let count = y.count();
        if count == 0 {
            return Ok(());
        }
        let (count_padding, order) = match self.op.mode {
            PoolMode::Max => (false, 0.0),
            PoolMode::Average { count_padding } => (count_padding, 0.0),
            PoolMode::Norm { order } => (false, order),
        };
        let mut parameters: SmallVec<[u64; 32]> = SmallVec::from_slice(&words);
        parameters.extend([(n * c) as u64, u64::from(count_padding), f64::to_bits(order), x.address, y.address]);
        let geometry = launch.spread(count);
        launch.sink.run(0, geometry, &parameters)
    }
}
