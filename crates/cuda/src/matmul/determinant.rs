//! `cuda.matmul.determinant`: determinants of square matrices by Gaussian elimination, a block for each matrix.

use sinter_backend::{KernelError, Numerics, Refusal, Region};
use sinter_base::Dim;
use sinter_ops::OpKind;
use sinter_ops::operator::count_of;

use crate::kernel::{Contraction, Geometry, Kernel, Launch, THREADS, recipe};
use crate::only_operator;
use crate::tactic::{Row, Speed, refuse_unknown_sizes};
use crate::text_kernel::{Text, TextKernel, typedefs};

/// See the module documentation.
pub const DETERMINANT: Row = Row {
    name: "cuda.matmul.determinant",
    roots: &[OpKind::Determinant],
    numerics: Numerics::Reassociated,
    speed: Speed { bandwidth: 0.05, arithmetic: 0.005, launches: 1.0 },
    kernel,
};

/// Bytes of a number of the elimination.
const NUMBER: usize = size_of::<f64>();

fn kernel(region: &Region) -> Result<Box<dyn Kernel>, Refusal> {
    only_operator!(region, Determinant);
    refuse_unknown_sizes(region)?;
    let Some(ty) = region.input(0) else { return Err(Refusal::new("takes a tensor")) };
    // Elimination magnifies errors: it is done in float64, as narrow as elements are.
    let text = Text {
        name: DETERMINANT.name,
        interface: 1,
        generated: format!("{}typedef double A;\n", typedefs(&[("T", Some(ty.data_type).filter(|ty| ty.is_float()))])?),
        text: include_str!("determinant.cu"),
        contraction: Contraction::Off,
        entries: &["eliminate"],
    };
    let copies = count_of(&ty.clone().into()).mul(&Dim::from(NUMBER));
    Ok(TextKernel::new(region, text, run).with_workspace(copies).boxed())
}

fn run(launch: &mut Launch<'_>) -> Result<(), KernelError> {
    let (x, y) = (launch.input(0)?, launch.output(0)?);
    let [batch @ .., n, columns] = x.sizes else { return Err(recipe(format!("a matrix of sizes {:?}", x.sizes))) };
    if n != columns || batch != y.sizes {
        return Err(recipe(format!("determinants of {:?} into {:?}", x.sizes, y.sizes)));
    }
    let count = y.count();
    if count == 0 {
        return Ok(());
    }
    let matrices = launch.scratch(x.count().saturating_mul(NUMBER))?;
    let blocks = u32::try_from(count).unwrap_or(u32::MAX).min(1 << 20);
    let geometry = Geometry { grid: [blocks, 1, 1], threads: THREADS, shared: 0 };
    launch.sink.run(0, geometry, &[count as u64, *n as u64, x.address, y.address, matrices])
}
