//! `cuda.matmul.einsum`: a sum of products by its equation, a thread for each element of the result.

use sinter_backend::{KernelError, Numerics, Refusal, Region};
use sinter_base::shape::strides;
use sinter_ops::OpKind;
use sinter_ops::matmul::einsum::Plan;
use smallvec::SmallVec;

use crate::kernel::{Contraction, Kernel, Launch, recipe};
use crate::movement::moves::{axes, number};
use crate::only_operator;
use crate::space::{Axes, RANK, Space, words};
use crate::tactic::{Row, Speed, refuse_unknown_sizes};
use crate::text_kernel::{Text, TextKernel, typedefs};

/// See the module documentation.
pub const EINSUM: Row = Row {
    name: "cuda.matmul.einsum",
    roots: &[OpKind::Einsum],
    numerics: Numerics::Reassociated,
    speed: Speed { bandwidth: 0.3, arithmetic: 0.01, launches: 1.0 },
    kernel,
};

/// Operands at most: their places are parameters.
const MOST: usize = 16;

fn kernel(region: &Region) -> Result<Box<dyn Kernel>, Refusal> {
    let op = only_operator!(region, Einsum);
    refuse_unknown_sizes(region)?;
    let operands = region.operand_count();
    let rank = |index: usize| region.input(index).and_then(|ty| ty.dims().ok()).map(<[_]>::len);
    let ranks = (0..operands).map(rank).collect::<Option<Vec<_>>>();
    let ranks = ranks.ok_or_else(|| Refusal::new("takes tensors of known rank"))?;
    let plan = op.plan(&ranks).map_err(|error| Refusal::new(error.to_string()))?;
    if operands > MOST {
        return Err(Refusal::new(format!("takes at most {MOST} operands, not {operands}")));
    }
    let element = typedefs(&[("T", region.input(0).map(|ty| ty.data_type))])?;
    let text = Text {
        name: EINSUM.name,
        interface: 1,
        generated: format!("{element}#define OPERANDS {operands}\n"),
        text: include_str!("einsum.cu"),
        contraction: Contraction::On,
        entries: &["einsum"],
    };
    Ok(TextKernel::new(region, text, move |launch| run(launch, &plan)).boxed())
}

fn run(launch: &mut Launch<'_>, plan: &Plan) -> Result<(), KernelError> {
    let y = launch.output(0)?;
    let operands = (0..plan.inputs.len()).map(|index| launch.input(index)).collect::<Result<Vec<_>, _>>()?;
    let mismatch = || recipe(format!("operands of an equation do not fit {:?}", y.sizes));
    // The result's labels, then those that are summed.
    let mut order = plan.output.clone();
    let mut others: Vec<_> = plan.inputs.iter().flatten().filter(|label| !plan.output.contains(label)).collect();
    others.sort_unstable();
    others.dedup();
    order.extend(others);
    let mut sizes = vec![1usize; order.len()];
    let mut all_strides: Vec<Axes> = Vec::new();
    for (operand, labels) in operands.iter().zip(&plan.inputs) {
        let mut steps: Axes = order.iter().map(|_| 0).collect();
        if labels.len() != operand.sizes.len() {
            return Err(mismatch());
        }
        for ((label, &size), stride) in labels.iter().zip(operand.sizes).zip(strides(operand.sizes)) {
            let at = order.iter().position(|known| known == label).ok_or_else(mismatch)?;
            // A label twice on one operand takes its diagonal; a size of 1 broadcasts.
            if size != 1 {
                if sizes[at] != 1 && sizes[at] != size {
                    return Err(mismatch());
                }
                sizes[at] = size;
                steps[at] += number(stride);
            }
        }
        all_strides.push(steps);
    }
    let (outer, inner) = sizes.split_at(plan.output.len());
    if outer != y.sizes {
        return Err(mismatch());
    }
    // As few axes as possible of both kinds.
    let space = |sizes: &[usize], from: usize| {
        let strides = all_strides.iter().map(|steps| steps[from..from + sizes.len()].iter().copied().collect());
        Space { sizes: axes(sizes), strides: strides.collect() }.merged().ok_or_else(mismatch)
    };
    let terms: usize = inner.iter().product();
    let (outer, inner) = (space(outer, 0)?, space(inner, outer.len())?);
    let mut parameters: SmallVec<[u64; 96]> = SmallVec::from_slice(&[y.count() as u64, terms as u64]);
    parameters.extend([outer.sizes.len() as u64, inner.sizes.len() as u64]);
    parameters.extend(words(&outer.sizes).into_iter().chain(words(&inner.sizes)));
    for (index, operand) in operands.iter().enumerate() {
        let none = [0; RANK];
        parameters.push(operand.address);
        parameters.extend(outer.strides.get(index).map_or(none, words));
        parameters.extend(inner.strides.get(index).map_or(none, words));
    }
    parameters.push(y.address);
    launch.each(0, y.count(), &parameters)
}
