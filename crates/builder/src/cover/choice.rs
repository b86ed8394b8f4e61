//! The choice among overlapping groups, by what their best alternatives cost.

use std::collections::BTreeMap;

use crate::cover::alternatives::{Served, serve};
use crate::cover::groups::{Group, propose};
use crate::cover::order::order;
use crate::cover::partition::{Offer, partition};
use crate::cover::uses::Uses;
use crate::cover::{Gap, Problem};

/// Stands in for the cost of what has no kernel: more than any sum of real ones.
const NO_KERNEL: f64 = 1e15;

/// The cheapest groups of all living nodes that can run one after the other, in execution order.
///
/// # Errors
/// All nodes that have no kernel, by themselves or in a group.
pub(crate) fn choose(problem: &Problem<'_>, uses: &Uses) -> Result<Vec<Served>, Vec<Gap>> {
    let mut singles: BTreeMap<usize, Result<Served, Gap>> =
        uses.living().map(|node| (node, serve(problem, uses, Group::single(node)))).collect();
    let single = |node: usize| match singles.get(&node) {
        Some(Ok(served)) => served.cost(),
        _ => NO_KERNEL,
    };
    let mut fused: Vec<Served> =
        propose(problem, uses).into_iter().filter_map(|group| serve(problem, uses, group).ok()).collect();
    let (chosen, sorted) = loop {
        let offer = |served: &Served| Offer { nodes: served.group.nodes.clone(), cost: served.cost() };
        let offers: Vec<Offer> = fused.iter().map(offer).collect();
        let chosen = partition(&offers, &single);
        let mut alone: Vec<bool> = vec![false; problem.body.nodes().len()];
        uses.living().for_each(|node| alone[node] = true);
        chosen.iter().flat_map(|&number| &offers[number].nodes).for_each(|&node| alone[node] = false);
        let rest = uses.living().filter(|&node| alone[node]).map(Group::single);
        let groups: Vec<Group> = chosen.iter().map(|&number| fused[number].group.clone()).chain(rest).collect();
        match order(problem, uses, &groups.iter().collect::<Vec<_>>()) {
            Ok(sorted) => break (groups, sorted),
            Err(waiting) => {
                // Groups of one result never wait for themselves: of the others, the one that saves least goes.
                let saved = |number: usize| {
                    let offer = &offers[number];
                    offer.nodes.iter().map(|&node| single(node)).sum::<f64>() - offer.cost
                };
                let knots = waiting.iter().filter_map(|&number| chosen.get(number).copied());
                let knots = knots.filter(|&number| fused[number].results.len() > 1);
                if let Some(least) = knots.min_by(|&a, &b| saved(a).total_cmp(&saved(b))) {
                    fused.remove(least);
                } else {
                    fused.clear();
                }
            }
        }
    };
    let mut by_nodes: BTreeMap<Vec<usize>, Served> =
        fused.into_iter().map(|served| (served.group.nodes.clone(), served)).collect();
    let (mut served, mut gaps) = (Vec::new(), Vec::new());
    for group in sorted.into_iter().map(|number| &chosen[number]) {
        let found = match group.nodes[..] {
            [node] => singles.remove(&node),
            _ => by_nodes.remove(&group.nodes).map(Ok),
        };
        match found {
            Some(Ok(found)) => served.push(found),
            Some(Err(gap)) => gaps.push(gap),
            None => {}
        }
    }
    if gaps.is_empty() { Ok(served) } else { Err(gaps) }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::Arc;

    use sinter_backend::{
        BackEnd, Candidate, Device, Kernel, KernelError, Launch, Loaded, Numerics, Recipe, Refusal, Region, Tactic,
        Workers,
    };
    use sinter_base::{DataType, Tensor, ValueType};
    use sinter_ir::WeightExpr;
    use sinter_ops::matmul::MatMul;
    use sinter_ops::pointwise::Expr;
    use sinter_ops::{Body, InferContext, ValueId};

    use crate::cover::{Problem, cover};
    use crate::evidence::Evidence;

    /// Takes every region, all for the same time: the fewer regions, the better.
    struct Everything;

    impl Kernel for Everything {
        fn launch(&self, _: &mut Launch<'_, '_>) -> Result<(), KernelError> {
            Ok(())
        }
    }

    impl Tactic for Everything {
        fn name(&self) -> &'static str {
            "test.everything"
        }

        fn offer(&self, _: &Region, _: &Device) -> Result<Vec<Candidate>, Refusal> {
            Ok(vec![Candidate::plain(self, Numerics::Ordered, 1000.0)])
        }

        fn load(&self, _: &Recipe, _: &Region, _: &Device) -> Result<Loaded, KernelError> {
            Ok(Loaded::Views(Box::new(Everything)))
        }
    }

    impl BackEnd for Everything {
        fn name(&self) -> &'static str {
            "test"
        }

        fn device(&self, threads: usize) -> Device {
            Device { back_end: "test".to_owned(), tier: "all".to_owned(), threads }
        }

        fn tactics(&self) -> Vec<&'static dyn Tactic> {
            vec![&Everything]
        }

        fn workers(&self, _: usize) -> Arc<dyn Workers> {
            unreachable!("nothing runs")
        }
    }

    /// Calls `see` with the regions of a body of products and sums, some of whose inputs are weights.
    fn covered(body: &Body, weights: &HashSet<ValueId>, see: impl FnOnce(&[crate::cover::Piece])) {
        let weight = |id: ValueId| {
            let source = WeightExpr::Source { name: "w".into(), tensor: Tensor::of_i64(&[1]) };
            weights.contains(&id).then(|| Arc::new(source))
        };
        let (device, evidence) = (Everything.device(1), Evidence::default());
        let problem = Problem {
            body,
            back_end: &Everything,
            device: &device,
            evidence: &evidence,
            may_join: true,
            weight: &weight,
        };
        see(&cover(&problem).map_err(|gaps| gaps.len()).expect("everything has a kernel").pieces);
    }

    fn sum(body: &mut Body, a: ValueId, b: ValueId) -> ValueId {
        let sum = &Expr::input(0, DataType::F32) + &Expr::input(1, DataType::F32);
        let op = Expr::into_pointwise(&[sum]).expect("a sum");
        body.add(op.into(), &[Some(a), Some(b)], &mut InferContext::default()).expect("equal sizes")[0]
    }

    fn product(body: &mut Body, a: ValueId, weights: &mut HashSet<ValueId>) -> ValueId {
        let weight = body.add_input(ValueType::tensor(DataType::F32, vec![4i64.into(); 2]));
        weights.insert(weight);
        let operands = [Some(a), Some(weight)];
        body.add(MatMul::default().into(), &operands, &mut InferContext::default()).expect("equal sizes")[0]
    }

    #[test]
    fn regions_never_wait_for_each_other() {
        let mut state = 1u64;
        let mut draw = move |bound: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % bound
        };
        let mut merged = 0;
        for _ in 0..100 {
            let (mut body, mut weights) = (Body::new(), HashSet::new());
            let mut values: Vec<ValueId> =
                (0..3).map(|_| body.add_input(ValueType::tensor(DataType::F32, vec![4i64.into(); 2]))).collect();
            let inputs = values.clone();
            for _ in 0..20 {
                let (a, b) = (values[draw(values.len())], values[draw(values.len())]);
                let made = if draw(3) == 0 { sum(&mut body, a, b) } else { product(&mut body, a, &mut weights) };
                values.push(made);
            }
            let unread =
                values[3..].iter().filter(|id| body.nodes().iter().all(|node| !node.inputs.contains(&Some(**id))));
            let outputs = unread.copied().collect();
            body.set_outputs(outputs);
            covered(&body, &weights, |pieces| {
                let mut exists: HashSet<ValueId> = inputs.iter().chain(&weights).copied().collect();
                let mut nodes = HashSet::new();
                for piece in pieces {
                    assert!(piece.inputs.iter().flatten().all(|id| exists.contains(id)), "read before it is made");
                    assert!(piece.outputs.iter().all(|id| exists.insert(*id)), "made twice");
                    assert!(piece.nodes.iter().all(|node| nodes.insert(*node)), "a node in two regions");
                    merged += usize::from(piece.outputs.len() > 1);
                }
                assert!(body.outputs().iter().all(|id| exists.contains(id)));
            });
        }
        assert!(merged > 100, "{merged} regions of several results");
    }

    /// Two pairs of products, each of which has to wait for one of the other pair: one pair at most is one region.
    #[test]
    fn a_knot_is_cut() {
        let (mut body, mut weights) = (Body::new(), HashSet::new());
        let [x, y] = [(); 2].map(|()| body.add_input(ValueType::tensor(DataType::F32, vec![4i64.into(); 2])));
        let (a, b) = (product(&mut body, x, &mut weights), product(&mut body, y, &mut weights));
        // The tail of each second product reads the first one of the other pair.
        let (c, d) = (product(&mut body, x, &mut weights), product(&mut body, y, &mut weights));
        let (c, d) = (sum(&mut body, c, b), sum(&mut body, d, a));
        body.set_outputs(vec![a, b, c, d]);
        covered(&body, &weights, |pieces| {
            let results: Vec<usize> = pieces.iter().map(|piece| piece.outputs.len()).collect();
            assert_eq!(results.iter().sum::<usize>(), 4);
            assert!(results.contains(&2) && results.len() == 3, "{results:?}");
        });
    }
}
