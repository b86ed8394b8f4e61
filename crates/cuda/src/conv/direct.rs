//! `cuda.conv.direct`: convolution by its formula, for any element type, up to three spatial axes, groups and dilations.
//!
//! A thread computes one position of a few output channels, so that they share the elements of the image.

use sinter_backend::{KernelError, Numerics, Refusal, Region};
use sinter_base::DataType;
use sinter_ops::OpKind;
use sinter_ops::conv::Convolution;
use smallvec::SmallVec;

use crate::kernel::{Contraction, Kernel, Launch, Source};
use crate::only_operator;
use crate::tactic::{Row, Speed, refuse_unknown_sizes};
use crate::types::{Kind, element};
use crate::windows::{SPATIAL, Shape};

/// See the module documentation.
pub const DIRECT: Row = Row {
    name: "cuda.conv.direct",
    roots: &[OpKind::Convolution],
    numerics: Numerics::Reassociated,
    speed: Speed { bandwidth: 0.5, arithmetic: 0.05, launches: 1.0 },
    kernel,
};

/// Output channels of a thread; `CHANNELS` in `direct.cu`.
const CHANNELS: usize = 4;

fn kernel(region: &Region) -> Result<Box<dyn Kernel>, Refusal> {
    let op = only_operator!(region, Convolution);
    refuse_unknown_sizes(region)?;
    if op.strides.len() > SPATIAL {
        return Err(Refusal::new(format!("takes at most {SPATIAL} spatial axes, not {}", op.strides.len())));
    }
    match region.input(0).map(|ty| ty.data_type) {
        Some(data_type) if Kind::of(data_type).is_some() => Ok(Box::new(DirectKernel { op: op.clone(), data_type })),
        _ => Err(Refusal::new("takes numbers")),
    }
}

struct DirectKernel {
    op: Convolution,
    data_type: DataType,
}

impl Kernel for DirectKernel {
    fn configuration(&self) -> String {
        format!("cuda.conv.direct 1 {}", self.data_type)
    }

    fn source(&self) -> Source {
        let generated = format!("typedef {} T;\n", element(self.data_type).unwrap_or("void"));
        Source { generated, text: include_str!("direct.cu"), contraction: Contraction::On }
    }

    fn entries(&self) -> &'static [&'static str] {
        &["convolution"]
    }

    fn launch(&self, launch: &mut Launch<'_>) -> Result<(), KernelError> {
        let (x, w, y) = (launch.input(0)?, launch.input(1)?, launch.output(0)?);
        let bias = launch.inputs.get(2).copied().flatten();
        let mismatch = || KernelError::Recipe(format!("{:?} by {:?} is no {:?}", x.sizes, w.sizes, y.sizes));
        let ([n, c, input @ ..], [m, seen, kernel @ ..], [y_n, y_m, output @ ..]) = (x.sizes, w.sizes, y.sizes) else {
            return Err(mismatch());
        };
        let groups = self.op.groups;
        let fits = n == y_n && m == y_m && groups > 0 && seen * groups == *c && m.is_multiple_of(groups);
        let types = [Some(x), Some(w), Some(y), bias].into_iter().flatten().all(|t| t.data_type == self.data_type);
        if !fits || !types || bias.is_some_and(|bias| bias.sizes != [*m]) {
            return Err(mismatch());
        }
        let Convolution { strides, dilations, padding, .. } = &self.op;
        let windows = Shape { strides, dilations, padding, ceil: false }.words(input, kernel, output)?;
        if y.count() == 0 {
            return Ok(());
        }
        let mut parameters: SmallVec<[u64; 40]> = SmallVec::from_slice(&windows);
        parameters.extend([*n, *c, *m, *seen, m / groups].map(|size| size as u64));
        parameters.extend([x.address, w.address, bias.map_or(0, |bias| bias.address), y.address]);
        let blocks = (m / groups).div_ceil(CHANNELS) * groups;
        let geometry = launch.spread(n * blocks * output.iter().product::<usize>());
        launch.sink.run(0, geometry, &parameters)
    }
}
