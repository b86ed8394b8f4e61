//! Do the passes keep effects? Results do not show it: random numbers that became a constant are the same in every run
//! but the first, and a removed check matters only on bad input.

use std::collections::BTreeMap;

use sinter_ir::Network;
use sinter_ops::{Body, Op};

/// Number of operators with effects whose results matter, by name.
type Counts = BTreeMap<&'static str, usize>;

fn count(body: &Body, counts: &mut Counts) {
    let mut used = vec![false; body.value_count()];
    for id in body.outputs() {
        used[id.index()] = true;
    }
    for node in body.nodes().iter().rev() {
        let effects = node.op.effects();
        if !effects.asserts && !node.outputs.iter().any(|id| used[id.index()]) {
            continue;
        }
        if effects.random || effects.asserts {
            *counts.entry(node.op.name()).or_default() += 1;
        }
        node.op.bodies().iter().for_each(|body| count(body, counts));
        // A node that reads only the shape does not need the elements.
        if !matches!(node.op, Op::Shape(_)) {
            node.inputs.iter().flatten().for_each(|id| used[id.index()] = true);
        }
    }
}

/// Compares a network before and after the passes.
///
/// # Errors
/// The operator that the passes removed.
pub(crate) fn same_effects(before: &Network, after: &Network) -> Result<(), String> {
    let (mut old, mut new) = (Counts::new(), Counts::new());
    count(&before.body, &mut old);
    count(&after.body, &mut new);
    for (name, number) in &old {
        let left = new.get(name).copied().unwrap_or(0);
        if left != *number {
            return Err(format!("{left} of {number} operators {name}, which have effects, are left"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        text.parse().expect("a network")
    }

    const RANDOM: &str = "network \"random\"\n$0 = \"\" i64[1] [3]\nweight $0 %0\noutput \"y\" %1\nbody\ninput %0 : i64[1]\n\
        %1 = RandomFill{distribution=uniform{low=0.0, high=1.0}, data_type=f32, seed=_, stream=0} (%0) : f32[3]\noutput %1\n";
    const CONSTANT: &str = "network \"constant\"\n$0 = \"\" f32[3] [0.1, 0.2, 0.3]\nweight $0 %0\noutput \"y\" %0\nbody\n\
        input %0 : f32[3]\noutput %0\n";

    #[test]
    fn a_constant_is_no_random_number() {
        assert!(same_effects(&network(RANDOM), &network(RANDOM)).is_ok());
        assert!(
            same_effects(&network(RANDOM), &network(CONSTANT)).unwrap_err().contains("0 of 1 operators RandomFill")
        );
    }
}
