//! `cpu.quantize.chain.f32`: quantizations, dequantizations and pointwise programs between them in one go.

use sinter_backend::{KernelError, Numerics, Refusal, Region};
use sinter_base::Sizes;
use sinter_ops::{Node, OpKind};

use crate::launch::{Kernel, Launch, Loaded};
use crate::quantize::chain::{Chain, is_link};
use crate::quantize::columns::Means;
use crate::tactic::{Row, Speed};
use crate::tier::Tier;

/// See the module documentation.
pub const CHAIN: Row = Row {
    name: "cpu.quantize.chain.f32",
    roots: &[OpKind::Quantize, OpKind::Dequantize, OpKind::Pointwise],
    numerics: Numerics::Ordered,
    in_place: &[],
    speed: Speed::VECTOR,
    kernel,
};

fn kernel(region: &Region) -> Result<Loaded, Refusal> {
    let body = region.body();
    if region.only().is_some() || !body.nodes().iter().all(|node| is_link(&node.op)) {
        return Err(Refusal::OtherOperator);
    }
    let nodes: Vec<&Node> = body.nodes().iter().collect();
    let (Some(last), [output]) = (nodes.last(), body.outputs()) else {
        return Err(Refusal::new("takes regions of one result"));
    };
    if last.outputs.first() != Some(output) {
        return Err(Refusal::new("the result is not that of the last operator"));
    }
    let chain = Chain::of(region, &nodes)?;
    let operand = |value| region.operand(value).ok_or_else(|| Refusal::new("a value that is no operand of the region"));
    let operands = chain.sources.iter().map(|source| operand(source.value)).collect::<Result<_, _>>()?;
    Ok(Loaded::Kernel(Box::new(Elementwise { chain, operands, tier: Tier::in_use() })))
}

struct Elementwise {
    chain: Chain,
    /// The region's operand behind each source.
    operands: Vec<usize>,
    tier: Tier,
}

impl Kernel for Elementwise {
    fn launch(&self, launch: &mut Launch<'_, '_>) -> Result<(), KernelError> {
        let means = Means { tier: self.tier, workers: launch.workers, scratch: launch.scratch };
        let sizes = Sizes::from_slice(launch.output(0).sizes());
        let inputs = launch.inputs;
        let operand = |source: usize| {
            let operand = self.operands[source];
            let view = inputs.get(operand).and_then(crate::launch::Operand::view);
            view.ok_or_else(|| KernelError::Data(format!("operand {operand} is missing")))
        };
        self.chain.run(operand, &sizes, launch.output(0).bytes(), means)
    }
}
