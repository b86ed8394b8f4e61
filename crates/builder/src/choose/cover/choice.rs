//! Chooses among overlapping groups and their formats, by total cost.
//!
//! First each group has the cost of its cheapest alternative, and [`partition`] finds the cheapest groups. That omits
//! the conversions between formats, with which [`Search`] improves the choice.

use std::collections::BTreeMap;

use sinter_backend::GraphView;

use crate::choose::cover::alternatives::{ScoredGroup, score};
use crate::choose::cover::groups::{Group, propose};
use crate::choose::cover::islands::Islands;
use crate::choose::cover::partition::{Offer, greedy, partition};
use crate::choose::cover::problem::{Costs, Problem, UnsupportedNode};
use crate::choose::cover::search::{Evaluated, Member, Search};

/// Stands for the cost of a node without a kernel: more than any sum of real costs.
const NO_KERNEL: f64 = 1e15;

/// The chosen groups.
pub(crate) struct Chosen {
    /// Groups of all living nodes in execution order.
    pub(crate) scored: Vec<ScoredGroup>,
    /// The alternative of each group.
    pub(crate) labels: Vec<usize>,
    pub(crate) costs: Costs,
    pub(crate) islands: Islands,
}

/// Chooses the cheapest groups of all living nodes that can run one after the other, with their formats.
///
/// # Errors
/// All nodes that have no kernel, by themselves or in a group.
pub(crate) fn choose(problem: &Problem<'_>, graph: &GraphView<'_>) -> Result<Chosen, Vec<UnsupportedNode>> {
    let mut singles: BTreeMap<usize, Result<ScoredGroup, UnsupportedNode>> =
        graph.living().map(|node| (node, score(problem, graph, Group::single(node)))).collect();
    let mut fused: Vec<Option<ScoredGroup>> = propose(problem, graph)
        .into_iter()
        .map(|group| score(problem, graph, group).ok())
        .filter(Option::is_some)
        .collect();
    let islands = Islands::of(problem, graph, &singles);
    let (Evaluated { members, labels, .. }, costs) = {
        let fused: Vec<&ScoredGroup> = fused.iter().flatten().collect();
        let search = Search::new(problem, graph, &islands, &singles, &fused);
        let cheapest = partitioned(&search, &partition);
        let by_gain = partitioned(&search, &greedy);
        let cost = |choice: &[usize]| search.cost(choice).unwrap_or(0);
        let costs = Costs { single: cost(&[]), by_gain: cost(&by_gain), greedy: cost(&cheapest), ..Costs::default() };
        let start = if costs.by_gain < costs.greedy { by_gain } else { cheapest };
        let evaluated = search.evaluated(&search.better(start)).unwrap_or_default();
        let costs = Costs { solved: evaluated.cost, ..costs };
        (evaluated, costs)
    };
    let (mut scored, mut unsupported) = (Vec::new(), Vec::new());
    for member in members {
        let found = match member {
            Member::Single(node) => singles.remove(&node),
            Member::Fused(index) => fused[index].take().map(Ok),
        };
        match found {
            Some(Ok(found)) => scored.push(found),
            Some(Err(node)) => unsupported.push(node),
            None => {}
        }
    }
    if !unsupported.is_empty() {
        return Err(unsupported);
    }
    Ok(Chosen { scored, labels, costs, islands })
}

/// Chooses disjoint groups: their indices, in order.
type Choose = dyn Fn(&[Offer], &dyn Fn(usize) -> f64) -> Vec<usize>;

/// The groups that `choose` takes and that can run one after the other, each at the cost of its cheapest alternative.
fn partitioned(search: &Search<'_>, choose: &Choose) -> Vec<usize> {
    let single = |node: usize| match search.singles.get(&node) {
        Some(Ok(scored)) => scored.cost(),
        _ => NO_KERNEL,
    };
    let mut allowed: Vec<usize> = (0..search.fused.len()).collect();
    loop {
        let offer = |&index: &usize| {
            let scored = search.fused[index];
            Offer { nodes: scored.group.nodes.clone(), cost: scored.cost() }
        };
        let offers: Vec<Offer> = allowed.iter().map(offer).collect();
        let chosen: Vec<usize> = choose(&offers, &single).into_iter().map(|at| allowed[at]).collect();
        let Err(waiting) = search.members(&chosen) else { return chosen };
        // Groups of one result cannot be in a cycle. Of the others, the one that saves least is dropped.
        let saved = |&index: &usize| {
            let scored = search.fused[index];
            scored.group.nodes.iter().map(|&node| single(node)).sum::<f64>() - scored.cost()
        };
        let cycles = waiting.into_iter().filter(|&index| search.fused[index].results.len() > 1);
        match cycles.min_by(|a, b| saved(a).total_cmp(&saved(b))) {
            Some(least) => allowed.retain(|index| *index != least),
            None => allowed.clear(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::Arc;

    use sinter_backend::{
        self as backend, BackEnd, Candidate, Device, KernelError, Numerics, Proposals, Proposer, Refusal, Tactic,
        Target,
    };
    use sinter_base::{DataType, Tensor, ValueType};
    use sinter_ir::WeightExpr;
    use sinter_ops::conv::Convolution;
    use sinter_ops::matmul::MatMul;
    use sinter_ops::pointwise::Expr;
    use sinter_ops::{Body, InferContext, Op, OpKind, ValueId};
    use sinter_testkit::Random;

    use super::*;
    use crate::choose::cover::formats::Formats;
    use crate::choose::cover::{Folding, cover};
    use crate::choose::tuning_database::TuningDatabase;

    /// A tactic that takes every region: in a constant time, so that fewer regions are better, or in a time drawn from
    /// the region's text.
    struct Everything {
        draws: bool,
    }

    const EQUAL: Everything = Everything { draws: false };
    const DRAWN: Everything = Everything { draws: true };

    impl Tactic for Everything {
        fn name(&self) -> &str {
            "test.everything"
        }

        fn roots(&self) -> &[OpKind] {
            &[OpKind::Convolution, OpKind::MatMul, OpKind::Pointwise, OpKind::Transpose]
        }

        fn offer(&self, problem: &backend::Problem<'_>, _: usize) -> Result<Vec<Candidate>, Refusal> {
            let drawn = blake3::hash(problem.region.to_string().as_bytes()).as_bytes()[0];
            let estimate = if self.draws { 50.0 * f64::from(drawn) } else { 1000.0 };
            Ok(vec![Candidate::plain(self, Numerics::Ordered, estimate)])
        }
    }

    impl BackEnd for Everything {
        fn name(&self) -> &str {
            "test"
        }

        fn target(&self, threads: usize) -> Target {
            Target::unknown("test", "", threads)
        }

        fn tactics(&self) -> Vec<&'static dyn Tactic> {
            if self.draws { vec![&DRAWN] } else { vec![&EQUAL] }
        }

        fn proposers(&self) -> Vec<&'static dyn Proposer> {
            vec![&Neighbours]
        }

        fn open(&self, _: usize) -> Result<Arc<dyn Device>, KernelError> {
            Err(KernelError::Recipe("nothing runs in this test".to_owned()))
        }
    }

    /// Proposes a product or convolution with the sum behind it, and all of those that read the same value.
    struct Neighbours;

    fn is_product(graph: &GraphView<'_>, node: usize) -> bool {
        let node = graph.node(node);
        matches!(node.op, Op::MatMul(_) | Op::Convolution(_)) && node.inputs[1].is_some_and(|id| graph.is_weight(id))
    }

    fn sum_behind(graph: &GraphView<'_>, node: usize) -> Option<usize> {
        let reader = graph.only_reader(graph.node(node).outputs[0])?;
        matches!(graph.node(reader).op, Op::Pointwise(_)).then_some(reader)
    }

    impl Proposer for Neighbours {
        fn propose(&self, graph: &GraphView<'_>, seed: usize, proposals: &mut Proposals) {
            if !is_product(graph, seed) {
                return;
            }
            let Some(read) = graph.node(seed).inputs[0] else { return };
            let in_front = graph.maker(read).filter(|maker| {
                matches!(graph.node(*maker).op, Op::Pointwise(_)) && graph.only_reader(read) == Some(seed)
            });
            let behind = sum_behind(graph, seed);
            for (in_front, behind) in [(None, behind), (in_front, None), (in_front, behind)] {
                proposals.push([seed].into_iter().chain(in_front).chain(behind));
            }
            let siblings: Vec<usize> =
                graph.readers(read).iter().copied().filter(|at| is_product(graph, *at)).collect();
            let all = siblings.iter().flat_map(|at| [Some(*at), sum_behind(graph, *at)]).flatten();
            proposals.push(all);
        }
    }

    fn weight_in(weights: &HashSet<ValueId>, id: ValueId) -> Option<Arc<WeightExpr>> {
        let source = WeightExpr::source("w", Tensor::of_i64(&[1]));
        weights.contains(&id).then(|| Arc::new(source))
    }

    /// Calls `see` with the regions of a body of products and sums, some of whose inputs are weights.
    fn covered(body: &Body, weights: &HashSet<ValueId>, see: impl FnOnce(&[crate::choose::cover::CoverStep])) {
        let weight = |id: ValueId| weight_in(weights, id);
        let (target, database) = (EQUAL.target(1), TuningDatabase::default());
        let problem = Problem {
            body,
            back_end: &EQUAL,
            target: &target,
            database: &database,
            may_join: true,
            inputs: &weight,
            folding: &Folding::of(body, &weight),
            is_known: &|_| false,
            island: None,
            is_alias: &|_| false,
            is_inside: false,
        };
        see(&cover(&problem).map_err(|unsupported| unsupported.len()).expect("everything has a kernel").steps);
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
        let mut random = Random(1);
        let mut draw = |bound: usize| random.below(bound);
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
            covered(&body, &weights, |steps| {
                let mut exists: HashSet<ValueId> = inputs.iter().chain(&weights).copied().collect();
                let mut nodes = HashSet::new();
                for step in steps {
                    assert!(step.inputs.iter().flatten().all(|id| exists.contains(id)), "read before it is made");
                    assert!(step.outputs.iter().all(|id| exists.insert(*id)), "made twice");
                    assert!(step.nodes.iter().all(|node| nodes.insert(*node)), "a node in two regions");
                    merged += usize::from(step.outputs.len() > 1);
                }
                assert!(body.outputs().iter().all(|id| exists.contains(id)));
            });
        }
        assert!(merged > 100, "{merged} regions of several results");
    }

    /// Two pairs of products, each of which waits for one of the other pair: at most one pair is a region.
    #[test]
    fn a_cycle_is_cut() {
        let (mut body, mut weights) = (Body::new(), HashSet::new());
        let [x, y] = [(); 2].map(|()| body.add_input(ValueType::tensor(DataType::F32, vec![4i64.into(); 2])));
        let (a, b) = (product(&mut body, x, &mut weights), product(&mut body, y, &mut weights));
        // The sum of each second product reads the first one of the other pair.
        let (c, d) = (product(&mut body, x, &mut weights), product(&mut body, y, &mut weights));
        let (c, d) = (sum(&mut body, c, b), sum(&mut body, d, a));
        body.set_outputs(vec![a, b, c, d]);
        covered(&body, &weights, |steps| {
            let results: Vec<usize> = steps.iter().map(|step| step.outputs.len()).collect();
            assert_eq!(results.iter().sum::<usize>(), 4);
            assert!(results.contains(&2) && results.len() == 3, "{results:?}");
        });
    }

    /// Random convolutions and sums of a few images.
    fn pictures(draw: &mut dyn FnMut(usize) -> usize, weights: &mut HashSet<ValueId>) -> Body {
        let mut body = Body::new();
        let picture = || ValueType::tensor(DataType::F32, [1i64, 4, 4, 4].map(Into::into).to_vec());
        let mut values: Vec<ValueId> = (0..2).map(|_| body.add_input(picture())).collect();
        for _ in 0..8 {
            let (a, b) = (values[draw(values.len())], values[draw(values.len())]);
            values.push(match draw(5) {
                0 | 1 => sum(&mut body, a, b),
                _ => {
                    let dims = [4i64, 4, 1, 1].map(Into::into).to_vec();
                    let weight = body.add_input(ValueType::tensor(DataType::F32, dims));
                    weights.insert(weight);
                    let op = Convolution::plain(2);
                    body.add(op.into(), &[Some(a), Some(weight)], &mut InferContext::default()).expect("sizes fit")[0]
                }
            });
        }
        let is_read = |id: &ValueId| body.nodes().iter().any(|node| node.inputs.contains(&Some(*id)));
        let outputs = values[2..].iter().copied().filter(|id| !is_read(id)).collect();
        body.set_outputs(outputs);
        body
    }

    /// The cost of the cheapest choice of groups with all formats, in picoseconds, and the number of choices.
    fn brute_force(problem: &Problem<'_>) -> (i64, usize) {
        let graph = problem.graph();
        let singles: BTreeMap<usize, Result<ScoredGroup, UnsupportedNode>> =
            graph.living().map(|node| (node, score(problem, &graph, Group::single(node)))).collect();
        let groups = propose(problem, &graph).into_iter();
        let fused: Vec<ScoredGroup> = groups.filter_map(|group| score(problem, &graph, group).ok()).collect();
        let fused: Vec<&ScoredGroup> = fused.iter().collect();
        let islands = Islands::of(problem, &graph, &singles);
        let search = Search::new(problem, &graph, &islands, &singles, &fused);
        let (mut least, mut choices) = (i64::MAX, 0);
        for mask in 0..1usize << fused.len() {
            let choice: Vec<usize> = (0..fused.len()).filter(|index| mask >> index & 1 == 1).collect();
            let mut nodes = HashSet::new();
            if !choice.iter().flat_map(|index| &fused[*index].group.nodes).all(|node| nodes.insert(*node)) {
                continue;
            }
            let Ok(members) = search.members(&choice) else { continue };
            let scored = members.iter().map(|member| match member {
                Member::Fused(index) => fused[*index],
                Member::Single(node) => singles[node].as_ref().map_err(|_| ()).expect("everything has a kernel"),
            });
            let scored: Vec<&ScoredGroup> = scored.collect();
            let prices = Formats::of(problem, &islands).prices(&scored);
            let sizes = prices.sizes();
            let mut labels = vec![0; sizes.len()];
            loop {
                least = least.min(prices.of(&labels));
                let Some(next) = (0..sizes.len()).rev().find(|&at| labels[at] + 1 < sizes[at]) else { break };
                labels[next] += 1;
                labels[next + 1..].fill(0);
            }
            choices += 1;
        }
        (least, choices)
    }

    #[test]
    fn groups_and_formats_together_are_the_cheapest() {
        let mut random = Random(7);
        let mut draw = |bound: usize| random.below(bound);
        let (mut improved, mut most) = (0, 0);
        for index in 0..200 {
            let mut weights = HashSet::new();
            let body = pictures(&mut draw, &mut weights);
            let weight = |id: ValueId| weight_in(&weights, id);
            let (target, database) = (DRAWN.target(1), TuningDatabase::default());
            let problem = Problem {
                body: &body,
                back_end: &DRAWN,
                target: &target,
                database: &database,
                may_join: true,
                inputs: &weight,
                folding: &Folding::of(&body, &weight),
                is_known: &|_| false,
                island: None,
                is_alias: &|_| false,
                is_inside: false,
            };
            let costs =
                cover(&problem).map_err(|unsupported| unsupported.len()).expect("everything has a kernel").costs;
            let (least, choices) = brute_force(&problem);
            assert_eq!(costs.solved, least, "network {index}: {costs:?}, {choices} choices");
            assert_eq!(costs.solved, costs.emitted, "network {index}: the emitted steps have another cost");
            assert!(costs.solved <= costs.greedy && costs.solved <= costs.single, "{costs:?}");
            improved += usize::from(costs.solved < costs.greedy);
            most = most.max(choices);
        }
        assert!(improved > 10 && most > 15, "{improved} networks where layouts matter, at most {most} choices");
    }
}
