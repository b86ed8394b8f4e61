//! Other sizes for a region with dynamic sizes.
//!
//! The reference executor's values test a kernel at one set of sizes, and those of synthetic inputs are small. Random
//! operands at other sizes test larger blocks of rows, tails and batches, for each region by itself: at the largest of
//! a few sizes that do not take long.

use sinter_backend::Region;
use sinter_base::{Dim, ValueType};
use sinter_interp::inputs::{FreeNames, FreeSizes};
use sinter_ops::{Body, Operands, ValueId};

use crate::choose::concrete::at_sizes;

const fn sizes(batch: i64, other: i64, apart: i64) -> [FreeSizes; 2] {
    [FreeSizes { batch, other, apart }, FreeSizes { batch, other, apart: 0 }]
}

/// Odd sizes, so that blocks have tails: more rows than any kernel takes at once, down to two images. Different names
/// have different sizes first, then equal ones, which some operators require.
const SIZES: [[FreeSizes; 2]; 7] = [
    sizes(101, 67, 6),
    sizes(7, 131, 2),
    sizes(101, 7, 2),
    sizes(3, 67, 6),
    sizes(13, 5, 2),
    sizes(5, 3, 2),
    sizes(2, 2, 1),
];
/// Limit on the elements of operands and results together, without weights.
const MAX_ELEMENTS: usize = 1 << 21;
/// Limit on the arithmetic operations of the region.
const MAX_OPERATIONS: i64 = 1 << 29;

/// Types of a region's operands at other sizes than those of the network's run; `None` where no size is dynamic or all
/// choices are too large. `near` returns the valid size of a name nearest to the required one.
pub(crate) fn other_sizes(
    region: &Region,
    is_batch: &dyn Fn(&str) -> bool,
    near: &dyn Fn(&str, i64) -> i64,
) -> Option<Vec<ValueType>> {
    let types = region.body().input_types();
    let names = FreeNames::of_types(&types, is_batch);
    if types.iter().all(|ty| ty.as_tensor().is_some_and(|t| t.shape.sizes().is_some())) {
        return None;
    }
    SIZES.iter().flatten().find_map(|free| {
        let size_of = |name: &str| Some(near(name, free.of(name, &names)));
        let pinned = |dim: &Dim| dim.evaluate(&size_of).map_or(dim.clone(), Dim::constant);
        let types: Vec<ValueType> = types.iter().map(|ty| ty.map_dims(&pinned)).collect();
        let concrete = at_sizes(region, &types)?;
        let elements = |ty: &ValueType| sinter_base::shape::element_count(&ty.as_tensor()?.shape.sizes()?);
        let is_weight = |id: &ValueId| region.operand(*id).is_some_and(|operand| region.is_constant(operand));
        let open = region.body().inputs().iter().zip(&types).filter(|(id, _)| !is_weight(id)).map(|(_, ty)| ty);
        let results = concrete.body().output_types();
        let all = open.chain(&results).map(elements).collect::<Option<Vec<_>>>()?;
        let total = all.into_iter().fold(0usize, usize::saturating_add);
        ((1..=MAX_ELEMENTS).contains(&total) && operations(concrete.body())? <= MAX_OPERATIONS).then_some(types)
    })
}

fn operations(body: &Body) -> Option<i64> {
    let mut total = 0i64;
    for node in body.nodes() {
        let inputs: Vec<_> = node.inputs.iter().map(|id| id.map(|id| body.ty(id))).collect();
        let outputs: Vec<_> = node.outputs.iter().map(|id| body.ty(*id).clone()).collect();
        total = total.saturating_add(node.op.cost(&Operands::new(&inputs), &outputs).operations.as_constant()?);
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use sinter_base::DataType;
    use sinter_ops::matmul::MatMul;

    use super::*;

    fn product(rows: Vec<Dim>, inner: i64) -> Region {
        let a = ValueType::tensor(DataType::F32, rows.iter().cloned().chain([inner.into()]).collect::<Vec<_>>());
        let b = ValueType::tensor(DataType::F32, vec![inner.into(), inner.into()]);
        let y = a.clone();
        Region::single(MatMul::default().into(), &[Some(a), Some(b)], vec![y]).with_constants(vec![1])
    }

    fn sizes(region: &Region) -> Option<Vec<usize>> {
        let types = other_sizes(region, &|name| name == "N", &|_, size| size)?;
        Some(types[0].as_tensor()?.shape.sizes()?.to_vec())
    }

    #[test]
    fn the_largest_that_is_quick() {
        let (n, s) = (Dim::symbol("N"), Dim::symbol("S"));
        assert_eq!(sizes(&product(vec![n.clone()], 8)), Some(vec![101, 8]));
        let two = vec![s.clone(), Dim::symbol("T")];
        assert_eq!(sizes(&product(two, 8)), Some(vec![67, 73, 8]), "no two are equal");
        assert_eq!(sizes(&product(vec![n.clone(), s], 768)), Some(vec![3, 67, 768]));
        assert_eq!(sizes(&product(vec![n.clone(), 3136i64.into()], 64)), Some(vec![3, 3136, 64]));
        assert_eq!(sizes(&product(vec![n, (1i64 << 20).into()], 64)), None, "too large at any size");
        assert_eq!(sizes(&product(vec![5i64.into()], 8)), None, "no size is dynamic");
    }
}
