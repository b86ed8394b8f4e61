//! Elements picked by indices in memory, or written where those say.

pub(crate) mod compaction;
pub mod gather;
pub mod gather_elements;
pub mod gather_nd;
pub mod non_zero;
pub mod range;
pub mod scatter;
pub(crate) mod sort;
pub mod tensor_scatter;
pub mod top_k;
pub mod unique;
mod vectors;

use sinter_backend::{Refusal, Region};
use sinter_base::view::element_bytes;

use crate::tactic::CudaTactic;
use crate::types::moved;

/// Best first.
pub const TACTICS: &[&dyn CudaTactic] = &[
    &gather::GATHER,
    &gather_elements::GATHER_ELEMENTS,
    &gather_nd::GATHER_ND,
    &scatter::SCATTER,
    &scatter::SCATTER_COMBINE,
    &tensor_scatter::TENSOR_SCATTER,
    &range::RANGE,
    &top_k::TOP_K,
    &non_zero::NON_ZERO,
    &unique::UNIQUE,
];

/// The line that names the type T of as many bytes as an element of the result.
pub(crate) fn moved_type(region: &Region) -> Result<String, Refusal> {
    let data_type = region.body().output_types().first().map(|ty| ty.data_type());
    let found = data_type.and_then(|data_type| moved(element_bytes(data_type)));
    found.map(|text| format!("typedef {text} T;\n")).ok_or_else(|| Refusal::new("strings are not for this kernel"))
}
