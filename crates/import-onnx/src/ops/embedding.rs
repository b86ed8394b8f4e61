//! EmbedLayerNormalization and QEmbedLayerNormalization of ONNX Runtime: the sum of word, position and segment
//! embeddings, normalized; and how many words of each sample count.

use sinter_base::DataType;
use sinter_ir::Handle;
use sinter_ops::index::Gather;
use sinter_ops::movement::Expand;
use sinter_ops::reduce::{Reduce, ReduceKind};

use crate::context::{Imported, NodeContext};
use crate::error::Problem;
use crate::ops::expressions::{elementwise, equal};
use crate::ops::fused::skip_epsilon;
use crate::ops::norm::layer_normalization_of;
use crate::ops::quantize::dequantized;
use crate::ops::sizes::{Entry, positions, shape_of_entries, size_of_axis};

/// How the tables, scale and bias are given: inputs 2 to 6.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Real,
    /// Stored with one scale each, six inputs behind, and one zero point each, eleven inputs behind.
    Stored,
}

impl Form {
    /// Real values of the parameter at this input, or of what was picked from it.
    fn real(self, cx: &mut NodeContext<'_, '_>, value: Handle, input: usize) -> Result<Handle, Problem> {
        match self {
            Form::Real => Ok(value),
            Form::Stored => dequantized(cx, value, cx.input(input + 6)?, cx.optional(input + 11), 0),
        }
    }

    /// The rows of a table that these numbers name.
    fn rows(self, cx: &mut NodeContext<'_, '_>, table: usize, numbers: Handle) -> Result<Handle, Problem> {
        let rows = cx.add(Gather { axis: 0 }, &[cx.input(table)?, numbers])?;
        self.real(cx, rows, table)
    }
}

fn normalized(cx: &mut NodeContext<'_, '_>, form: Form) -> Imported {
    let (words, segments, mask) = (cx.input(0)?, cx.optional(1), cx.optional(7));
    let places = match cx.optional(8).filter(|_| form == Form::Real) {
        Some(given) => given,
        None => {
            let length = size_of_axis(cx, words, 1)?;
            positions(cx, length)?
        }
    };
    let (words_of, places_of) = (form.rows(cx, 2, words)?, form.rows(cx, 3, places)?);
    let mut sum = elementwise(cx, [words_of, places_of], |[words, places]| words + places)?;
    if let Some(segments) = segments {
        let segments = form.rows(cx, 4, segments)?;
        sum = elementwise(cx, [sum, segments], |[sum, segments]| sum + segments)?;
    }
    let (scale, bias) = (cx.input(5)?, cx.input(6)?);
    let (scale, bias) = (form.real(cx, scale, 5)?, form.real(cx, bias, 6)?);
    let epsilon = skip_epsilon(cx);
    let y = layer_normalization_of(cx, sum, Some(scale), Some(bias), -1, epsilon)?;
    let y = y.first().copied().ok_or_else(|| cx.problem("a normalization has a result"))?;
    let counted = match mask {
        Some(mask) => {
            let ones = elementwise(cx, [mask], |[mask]| equal(&mask, &mask.same(1.0)).cast(DataType::I32))?;
            let axis = cx.int_list(&[1]);
            cx.add(Reduce::new(ReduceKind::Sum, false), &[ones, axis])?
        }
        None => {
            let (none, batch) = (cx.scalar(DataType::I32, 0.0)?, shape_of_entries(cx, words, &[Entry::axis(0)])?);
            cx.add(Expand {}, &[none, batch])?
        }
    };
    Ok(vec![y, counted, sum])
}

/// EmbedLayerNormalization: positions may be given; outputs also the sum.
pub fn embed_layer_normalization(cx: &mut NodeContext<'_, '_>) -> Imported {
    normalized(cx, Form::Real)
}

/// QEmbedLayerNormalization: of tables, scale and bias that are stored as 8-bit integers.
pub fn quantized_embed_layer_normalization(cx: &mut NodeContext<'_, '_>) -> Imported {
    normalized(cx, Form::Stored)
}
