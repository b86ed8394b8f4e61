//! `cuda.reduce.arg`: the position of the largest or smallest element along an axis.

use sinter_backend::{KernelError, Numerics, Refusal, Region};
use sinter_base::DataType;
use sinter_ops::OpKind;
use sinter_ops::reduce::ArgReduce;

use crate::kernel::{Contraction, Kernel, Launch, Source, recipe};
use crate::only_operator;
use crate::reduce::groups::{ENTRIES, Groups, WORDS};
use crate::tactic::{Row, Speed, refuse_unknown_sizes};
use crate::types::element;

/// See the module documentation.
pub const ARG_REDUCE: Row = Row {
    name: "cuda.reduce.arg",
    roots: &[OpKind::ArgReduce],
    numerics: Numerics::Exact,
    speed: Speed::STREAMING,
    kernel,
};

fn kernel(region: &Region) -> Result<Box<dyn Kernel>, Refusal> {
    let op = only_operator!(region, ArgReduce);
    refuse_unknown_sizes(region)?;
    match region.input(0).map(|ty| ty.data_type) {
        Some(data_type) if data_type != DataType::String => Ok(Box::new(ArgKernel { op: op.clone(), data_type })),
        _ => Err(Refusal::new("strings are not for this kernel")),
    }
}

struct ArgKernel {
    op: ArgReduce,
    data_type: DataType,
}

impl Kernel for ArgKernel {
    fn configuration(&self) -> String {
        let ArgReduce { largest, select_last, .. } = self.op;
        format!("cuda.reduce.arg 1 {largest} {select_last} {}", self.data_type)
    }

    fn source(&self) -> Source {
        let generated = format!(
            "typedef {} T;\n#define LARGEST {}\n#define SELECT_LAST {}\n#define UNSIGNED {}\n",
            element(self.data_type).unwrap_or("void"),
            self.op.largest,
            self.op.select_last,
            self.data_type == DataType::U64,
        );
        Source { generated, text: include_str!("arg.cu"), contraction: Contraction::Off }
    }

    fn entries(&self) -> &'static [&'static str] {
        ENTRIES
    }

    fn launch(&self, launch: &mut Launch<'_>) -> Result<(), KernelError> {
        let (x, y) = (launch.input(0)?, launch.output(0)?);
        let groups = Groups::along(x.sizes, self.op.axis)?;
        let fits = x.data_type == self.data_type && y.data_type == DataType::I64;
        if !fits || usize::try_from(groups.groups) != Ok(y.count()) {
            return Err(recipe(format!("{:?} does not reduce to {:?}", x.sizes, y.sizes)));
        }
        if y.count() == 0 {
            return Ok(());
        }
        if groups.members == 0 {
            return Err(KernelError::Data("an axis without elements has no largest one".to_owned()));
        }
        let (entry, geometry) = groups.team(launch);
        let mut parameters = [0; WORDS + 2];
        parameters[..WORDS].copy_from_slice(&groups.words());
        parameters[WORDS..].copy_from_slice(&[x.address, y.address]);
        launch.sink.run(entry, geometry, &parameters)
    }
}
