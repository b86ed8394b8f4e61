//! The timing point of a region: the region with numbers for its dynamic dimensions.

use std::collections::{BTreeMap, BTreeSet};

use sinter_backend::{Region, Sizing, TYPICAL_SIZE};
use sinter_base::view::element_bytes;
use sinter_base::{Dim, ValueType};
use sinter_interp::inputs::batches;
use sinter_ir::Network;
use sinter_ops::{Body, ValueId};

use crate::choose::concrete::{at_sizes, problem_text};
use crate::sizes::{SizeHints, input_symbols};

/// Defaults for dynamic dimensions other than batches; the first that fits is used.
pub(crate) const TYPICAL_SIZES: [i64; 4] = [TYPICAL_SIZE, 16, 4, 1];
/// Larger defaults for dimensions without an optimum, tried until no value of the network is empty.
const LARGER_SIZES: [i64; 4] = [TYPICAL_SIZE, 256, 1024, 4096];
/// Limit on the bytes of operands and results of a timing, where the build allows so much.
const MAX_BYTES: usize = 512 << 20;

/// A region with static sizes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Point {
    pub(crate) region: Region,
    /// Its text, the key of its timings.
    pub(crate) problem: String,
}

fn bytes(ty: &ValueType) -> Option<usize> {
    let tensor = ty.as_tensor()?;
    let count = sinter_base::shape::element_count(&tensor.shape.sizes()?)?;
    count.checked_mul(element_bytes(tensor.data_type))
}

/// The optimum sizes: the builder chooses kernels, layouts, memory and aliases for them, and times regions at them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Optimum {
    /// The user's hints.
    pub(crate) hints: SizeHints,
    /// Names of dynamic dimensions that count batches.
    pub(crate) batches: BTreeSet<String>,
    /// Limit on the bytes of operands and results.
    pub(crate) max_bytes: usize,
    /// Default for dimensions without an optimum.
    typical: i64,
    /// The same for tactics.
    pub(crate) sizing: Sizing,
}

impl Optimum {
    /// The optimum sizes of a network: the first axis of an input counts batches, where it is dynamic.
    pub(crate) fn of_network(network: &Network, hints: &SizeHints, max_memory: u64) -> Self {
        let max_bytes = usize::try_from(max_memory).map_or(MAX_BYTES, |bytes| bytes.min(MAX_BYTES));
        let mut sizes = Self {
            hints: hints.clone(),
            batches: batches(network),
            max_bytes,
            typical: TYPICAL_SIZE,
            sizing: Sizing::default(),
        };
        // Where a default size leaves nothing to compute, as under a longer window, a larger one becomes the default.
        let is_meaningful = |typical: &i64| !sizes.is_empty_at(&network.body, *typical);
        sizes.typical = LARGER_SIZES.into_iter().find(is_meaningful).unwrap_or(TYPICAL_SIZE);
        sizes.update(input_symbols(network));
        sizes
    }

    /// Would a value of a body, or of one inside, have no elements?
    fn is_empty_at(&self, body: &Body, typical: i64) -> bool {
        let is_empty = |ty: &ValueType| {
            let dims = ty.as_tensor().and_then(|tensor| tensor.dims().ok()).unwrap_or_default();
            let mut open = dims.iter().filter(|dim| dim.as_constant().is_none());
            open.any(|dim| dim.evaluate(&|name| Some(self.of(name, typical))).is_some_and(|size| size <= 0))
        };
        (0..body.value_count()).any(|value| is_empty(body.ty(ValueId::new(value))))
            || body.nodes().iter().any(|node| node.op.bodies().iter().any(|body| self.is_empty_at(body, typical)))
    }

    /// Sets the optimum sizes where the user names none.
    pub(crate) fn set_optimum(&mut self, optimum: BTreeMap<String, i64>) {
        let names: BTreeSet<String> = optimum.keys().cloned().collect();
        self.hints = self.hints.with_optimum(optimum);
        self.update(names);
    }

    fn update(&mut self, mut names: BTreeSet<String>) {
        names.extend(self.hints.0.keys().cloned());
        names.extend(self.batches.iter().cloned());
        let optimum = names.into_iter().map(|name| {
            let size = self.of(&name, self.typical);
            (name, size)
        });
        self.sizing = Sizing::new(optimum.collect(), self.typical);
    }

    /// The user's optimum of a size, else 1 for batches, since most engines serve latency, else the default.
    pub(crate) fn of(&self, name: &str, typical: i64) -> i64 {
        let optimum = if self.batches.contains(name) { 1 } else { typical };
        self.hints.opt(name).unwrap_or_else(|| self.hints.near(name, optimum))
    }

    /// The value of a dimension at the optimum sizes; `None` where it has none.
    pub(crate) fn evaluate(&self, dim: &Dim) -> Option<i64> {
        self.sizing.evaluate(dim)
    }
}

/// The point at which a region is timed.
///
/// # Errors
/// Why the region cannot be timed.
pub(crate) fn concrete(region: &Region, sizes: &Optimum) -> Result<Point, String> {
    let mut trouble = "its sizes are not known before a run".to_owned();
    for size in [sizes.typical].into_iter().chain(TYPICAL_SIZES) {
        let size_of = |name: &str| Some(sizes.of(name, size));
        let pinned = |dim: &Dim| dim.evaluate(&size_of).map_or_else(|| dim.clone(), Dim::constant);
        let types: Vec<ValueType> = region.body().input_types().iter().map(|ty| ty.map_dims(&pinned)).collect();
        if types.iter().any(|ty| bytes(ty).is_none()) {
            continue;
        }
        let Some(concrete) = at_sizes(region, &types) else { continue };
        let results = concrete.body().output_types();
        let known = types.iter().chain(&results).filter_map(bytes);
        let total = known.fold(0usize, usize::saturating_add);
        if total > sizes.max_bytes {
            trouble = format!("its operands take {} MiB, more than a timing may", total >> 20);
            continue;
        }
        let region = concrete.with_constants(region.constants().to_vec());
        let problem = problem_text(&region);
        return Ok(Point { region, problem });
    }
    Err(trouble)
}

#[cfg(test)]
mod tests {
    use sinter_base::DataType;
    use sinter_ops::reduce::Softmax;

    use super::*;
    use crate::sizes::SizeHint;

    fn softmax(rows: Dim) -> Region {
        let ty = ValueType::tensor(DataType::F32, vec![rows, 1000i64.into()]);
        Region::single(Softmax { axis: -1, log: false }.into(), &[Some(ty.clone())], vec![ty])
    }

    #[test]
    fn open_sizes_get_numbers_and_huge_ones_get_smaller_numbers() {
        let batches = BTreeSet::from(["N".to_owned()]);
        let mut sizes = Optimum { batches, max_bytes: MAX_BYTES, ..Optimum::default() };
        let opt = |opt| SizeHint { opt: Some(opt), ..SizeHint::default() };
        sizes.hints.0.extend([("B".to_owned(), opt(9))]);
        sizes.batches.insert("B".to_owned());
        sizes.typical = TYPICAL_SIZE;
        sizes.update(BTreeSet::new());
        let concrete = |region| concrete(&region, &sizes);
        let free = concrete(softmax(Dim::symbol("T"))).unwrap();
        assert_eq!(free, concrete(softmax(64i64.into())).unwrap(), "one point, one key");
        assert_ne!(free.problem, concrete(softmax(65i64.into())).unwrap().problem);
        assert_eq!(concrete(softmax(Dim::symbol("N"))), concrete(softmax(1i64.into())), "a batch of one");
        assert_eq!(concrete(softmax(Dim::symbol("B"))), concrete(softmax(9i64.into())), "unless the user says more");
        let product = ["T", "N", "B"].map(Dim::symbol).iter().fold(Dim::constant(2), |all, size| all.mul(size));
        assert_eq!(sizes.evaluate(&product), Some(2 * 64 * 9), "as where layouts and memory are chosen");
        let large = Dim::symbol("T").mul(&(1i64 << 20).into());
        assert!(concrete(softmax(large)).unwrap_err().contains("MiB"));
    }
}
