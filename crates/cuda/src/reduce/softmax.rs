//! `cuda.reduce.softmax`: softmax and its logarithm along one axis, in three passes over each line.

use sinter_backend::{KernelError, Numerics, Refusal, Region};
use sinter_base::DataType;
use sinter_ops::OpKind;
use sinter_ops::reduce::Softmax;

use crate::kernel::{Contraction, Kernel, Launch, Source, recipe};
use crate::only_operator;
use crate::reduce::groups::{ENTRIES, Groups, WORDS};
use crate::tactic::{Row, Speed, refuse_unknown_sizes};
use crate::types::element;

/// See the module documentation.
pub const SOFTMAX: Row = Row {
    name: "cuda.reduce.softmax",
    roots: &[OpKind::Softmax],
    numerics: Numerics::Reassociated,
    speed: Speed::STREAMING,
    kernel,
};

fn kernel(region: &Region) -> Result<Box<dyn Kernel>, Refusal> {
    let op = only_operator!(region, Softmax);
    refuse_unknown_sizes(region)?;
    match region.input(0).map(|ty| ty.data_type) {
        Some(data_type) if data_type.is_float() => Ok(Box::new(SoftmaxKernel { op: op.clone(), data_type })),
        _ => Err(Refusal::new("takes floats")),
    }
}

struct SoftmaxKernel {
    op: Softmax,
    data_type: DataType,
}

impl Kernel for SoftmaxKernel {
    fn configuration(&self) -> String {
        format!("cuda.reduce.softmax 1 {} {}", self.op.log, self.data_type)
    }

    fn source(&self) -> Source {
        let data_type = element(self.data_type).unwrap_or("void");
        let generated = format!("typedef {data_type} T;\n#define LOGARITHM {}\n", self.op.log);
        Source { generated, text: include_str!("softmax.cu"), contraction: Contraction::On }
    }

    fn entries(&self) -> &'static [&'static str] {
        ENTRIES
    }

    fn launch(&self, launch: &mut Launch<'_>) -> Result<(), KernelError> {
        let (x, y) = (launch.input(0)?, launch.output(0)?);
        let groups = Groups::along(x.sizes, self.op.axis)?;
        if x.data_type != self.data_type || y.data_type != self.data_type || x.sizes != y.sizes {
            return Err(recipe(format!("a softmax of {:?} into {:?}", x.sizes, y.sizes)));
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
