//! Operators of ONNX Runtime on weights of few bits, packed in bytes and stored in blocks: MatMulNBits, MatMulBnb4,
//! GatherBlockQuantized.

use sinter_base::quantization::Granularity;
use sinter_base::{DataType, Dim, Shape as Sizes, Tensor, Truth};
use sinter_ir::Handle;
use sinter_ops::index::Gather;
use sinter_ops::matmul::MatMul;
use sinter_ops::movement::{Expand, Reshape, Shape, Slice, Unpack, Unsqueeze};
use sinter_ops::pointwise::ScalarOp;
use sinter_ops::quantize::Dequantize;

use crate::context::{Imported, NodeContext};
use crate::error::Problem;
use crate::ops::expressions::elementwise;
use crate::ops::quantized::biased;
use crate::ops::sizes::{as_list, integer, positions};

/// An attribute that must be a positive number.
fn positive(cx: &NodeContext<'_, '_>, name: &str) -> Result<i64, Problem> {
    let given = cx.int(name, 0);
    if given > 0 { Ok(given) } else { Err(cx.problem(format!("attribute {name} is {given}, but must be positive"))) }
}

/// The type of elements of so many unsigned bits.
fn type_of_bits(cx: &NodeContext<'_, '_>, bits: i64) -> Result<DataType, Problem> {
    match bits {
        2 => Ok(DataType::U2),
        4 => Ok(DataType::U4),
        8 => Ok(DataType::U8),
        other => Err(cx.problem(format!("bits is {other}; 2, 4 and 8 are known"))),
    }
}

/// Bytes as elements of a type that may share them.
fn unpacked(cx: &mut NodeContext<'_, '_>, bytes: Handle, to: DataType) -> Result<Handle, Problem> {
    if to == DataType::U8 { Ok(bytes) } else { cx.add(Unpack { to }, &[bytes]) }
}

fn reshaped(cx: &mut NodeContext<'_, '_>, value: Handle, sizes: &[i64]) -> Result<Handle, Problem> {
    let sizes = cx.int_list(sizes);
    cx.add(Reshape::default(), &[value, sizes])
}

/// An operand stored by rows, each of `row` elements: as a list, or with the rows as its first axis. Sizes that differ are
/// refused, for what was packed along another axis or to another width would be read as something else.
fn by_rows(
    cx: &mut NodeContext<'_, '_>,
    value: Handle,
    name: &str,
    (rows, row): (i64, i64),
) -> Result<Handle, Problem> {
    let sizes = cx.dims(value)?.iter().map(Dim::as_constant).collect::<Option<Vec<i64>>>();
    let fits = |sizes: &[i64]| {
        let count = sizes.iter().try_fold(1, |count: i64, size| count.checked_mul(*size));
        (sizes.len() == 1 || sizes.first() == Some(&rows)) && count == rows.checked_mul(row)
    };
    match sizes {
        Some(sizes) if !fits(&sizes) => {
            Err(cx.problem(format!("{name} of sizes {sizes:?}, where [{rows}, {row}] is needed")))
        }
        _ => reshaped(cx, value, &[rows, row]),
    }
}

/// Refuses an operand of other sizes, as far as they are known.
fn check_sizes(cx: &NodeContext<'_, '_>, value: Handle, name: &str, needed: &[Dim]) -> Result<(), Problem> {
    let sizes = cx.dims(value)?;
    let differ = |(own, needed): (&Dim, &Dim)| own.equals(needed) == Truth::No;
    if sizes.len() == needed.len() && !sizes.iter().zip(needed).any(differ) {
        return Ok(());
    }
    let [sizes, needed] = [sizes, needed.to_vec()].map(Sizes::Ranked);
    Err(cx.problem(format!("{name} of sizes {sizes}, where {needed} is needed")))
}

/// `count / size`, rounded up, of positive numbers.
fn parts(count: i64, size: i64) -> i64 {
    count / size + i64::from(count % size != 0)
}

/// Bytes that hold so many elements of so many bits.
fn bytes_of(count: i64, bits: i64) -> i64 {
    parts(count.saturating_mul(bits), 8)
}

/// The first elements of the last axis; what follows pads the last byte or block.
fn first_of_last(cx: &mut NodeContext<'_, '_>, value: Handle, count: i64) -> Result<Handle, Problem> {
    if cx.dims(value)?.last().and_then(Dim::as_constant) == Some(count) {
        return Ok(value);
    }
    let (start, end, axis) = (cx.int_list(&[0]), cx.int_list(&[count]), cx.int_list(&[-1]));
    cx.add(Slice {}, &[value, start, end, axis])
}

/// The zero point that unsigned types have when none is given, the middle of their range, for each of the scales.
fn middle(cx: &mut NodeContext<'_, '_>, stored: DataType, scales: Handle) -> Result<Handle, Problem> {
    let half = stored.integer_range().map_or(0, |(_, last)| last / 2 + 1);
    let half = cx.scalar(stored, f64::from(i32::try_from(half).unwrap_or(0)))?;
    let sizes = cx.add(Shape::default(), &[scales])?;
    cx.add(Expand {}, &[half, sizes])
}

/// `(codes - zeros) * scales`, one scale and zero for each block of an axis.
fn real_blocks(
    cx: &mut NodeContext<'_, '_>,
    codes: Handle,
    scales: Handle,
    zeros: Option<Handle>,
    (axis, block): (usize, i64),
) -> Result<Handle, Problem> {
    let size = usize::try_from(block).map_err(|_| cx.problem(format!("block_size is {block}")))?;
    let op = Dequantize { data_type: cx.data_type(scales)?, granularity: Granularity::Block { axis, size } };
    let y = cx.add_optional(op, &[Some(codes), Some(scales), zeros])?;
    y.first().copied().ok_or_else(|| cx.problem("a dequantization has one result"))
}

/// Which block each of `count` elements in a row belongs to.
fn blocks_of(cx: &mut NodeContext<'_, '_>, count: i64, block: i64) -> Result<Handle, Problem> {
    let count = cx.int_list(&[count]);
    let places = positions(cx, count)?;
    elementwise(cx, [places], |[places]| &places / &integer(block))
}

/// MatMulNBits: `a b^T + bias` for b: [N, K], stored by rows in blocks along K. Zero points are stored as the weights
/// are, or are real numbers; `g_idx` names the block of each element along K where blocks are no neighbours.
/// `accuracy_level` permits less exact computation, which the importer does not use.
pub fn matmul_n_bits(cx: &mut NodeContext<'_, '_>) -> Imported {
    if cx.int("weight_prepacked", 0) != 0 {
        return Err(cx.problem("weight_prepacked is an order of bytes for one device; export the original model"));
    }
    let (a, b, scales) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    let (rows, columns, block) = (positive(cx, "N")?, positive(cx, "K")?, positive(cx, "block_size")?);
    let bits = cx.int("bits", 4);
    let stored = type_of_bits(cx, bits)?;
    if block.saturating_mul(bits) % 8 != 0 {
        return Err(cx.problem(format!("a block of {block} elements of {bits} bits does not fill its last byte")));
    }
    let blocks = parts(columns, block);
    let b = by_rows(cx, b, "weights", (rows, blocks.saturating_mul(bytes_of(block, bits))))?;
    let codes = unpacked(cx, b, stored)?;
    let codes = first_of_last(cx, codes, columns)?;
    let scales = by_rows(cx, scales, "scales", (rows, blocks))?;
    let zeros = match cx.optional(3) {
        None => middle(cx, stored, scales)?,
        Some(zeros) if cx.data_type(zeros)? == DataType::U8 => {
            let zeros = by_rows(cx, zeros, "zero points", (rows, bytes_of(blocks, bits)))?;
            let zeros = unpacked(cx, zeros, stored)?;
            first_of_last(cx, zeros, blocks)?
        }
        Some(zeros) => by_rows(cx, zeros, "zero points", (rows, blocks))?,
    };
    if let Some(groups) = cx.optional(4) {
        // The last block may be filled up.
        let filled = [Dim::constant(blocks.saturating_mul(block))];
        let exact = [Dim::constant(columns)];
        let needed = if cx.dims(groups)?.as_slice() == filled { &filled } else { &exact };
        check_sizes(cx, groups, "g_idx", needed)?;
    }
    if let Some(bias) = cx.optional(5) {
        check_sizes(cx, bias, "bias", &[Dim::constant(rows)])?;
    }
    let weights = if cx.optional(4).is_none() && cx.data_type(zeros)? == stored {
        real_blocks(cx, codes, scales, Some(zeros), (1, block))?
    } else {
        let groups = match cx.optional(4) {
            Some(groups) => first_of_last(cx, groups, columns)?,
            None => blocks_of(cx, columns, block)?,
        };
        let of_elements = Gather { axis: 1 };
        let (scales, zeros) = (cx.add(of_elements.clone(), &[scales, groups])?, cx.add(of_elements, &[zeros, groups])?);
        elementwise(cx, [codes, scales, zeros], |[codes, scales, zeros]| {
            let real = scales.data_type();
            (codes.cast(real) - zeros.cast(real)) * scales
        })?
    };
    let y = cx.add(MatMul { transpose_a: false, transpose_b: true }, &[a, weights])?;
    biased(cx, y, cx.optional(5))
}

/// The values of bitsandbytes' 4-bit floats, of largest magnitude 1, by code.
const FP4: [f32; 16] = [
    0.0,
    5.208_333_3e-3,
    0.666_666_7,
    1.0,
    0.333_333_34,
    0.5,
    0.166_666_67,
    0.25,
    0.0,
    -5.208_333_3e-3,
    -0.666_666_7,
    -1.0,
    -0.333_333_34,
    -0.5,
    -0.166_666_67,
    -0.25,
];

/// The values of the NF4 format, quantiles of a normal distribution, by code (Dettmers et al. 2023, appendix E).
const NF4: [f32; 16] = [
    -1.0,
    -0.696_192_8,
    -0.525_073_05,
    -0.394_917_5,
    -0.284_441_38,
    -0.184_773_43,
    -0.091_050_036,
    0.0,
    0.079_580_3,
    0.160_930_2,
    0.246_112_3,
    0.337_915_24,
    0.440_709_83,
    0.562_617,
    0.722_956_84,
    1.0,
];

/// MatMulBnb4: `a b^T`, or `a b` with `transB` 0, for b: [N, K], stored as one list of codes, the first of a byte in its
/// high bits, with the largest magnitude of each block of that list.
pub fn matmul_bnb4(cx: &mut NodeContext<'_, '_>) -> Imported {
    let (a, bytes, largest) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    let (rows, columns, block) = (positive(cx, "N")?, positive(cx, "K")?, positive(cx, "block_size")?);
    let Some(count) = rows.checked_mul(columns) else {
        return Err(cx.problem(format!("N {rows} times K {columns} is too large")));
    };
    let values = match cx.int("quant_type", 1) {
        0 => FP4,
        1 => NF4,
        other => return Err(cx.problem(format!("quant_type is {other}; 0 (FP4) and 1 (NF4) are known"))),
    };
    // One row for each byte: the values of its two codes.
    let pairs = values.iter().flat_map(|high| values.iter().flat_map(move |low| [*high, *low]));
    let pairs: Vec<f64> = pairs.map(f64::from).collect();
    let data_type = cx.data_type(largest)?;
    let pairs = Tensor::from_floats(data_type, &[256, 2], &pairs).map_err(|e| cx.problem(e.to_string()))?;
    let pairs = cx.constant(pairs);
    let bytes = by_rows(cx, bytes, "weights", (1, bytes_of(count, 4)))?;
    let largest = by_rows(cx, largest, "absmax", (1, parts(count, block)))?;
    let (bytes, largest) = (as_list(cx, bytes)?, as_list(cx, largest)?);
    let bytes = cx.cast(bytes, DataType::I32)?;
    let real = cx.add(Gather { axis: 0 }, &[pairs, bytes])?;
    let scaled = if count % block == 0 && count % 2 == 0 {
        let (real, largest) = (reshaped(cx, real, &[-1, block])?, reshaped(cx, largest, &[-1, 1])?);
        elementwise(cx, [real, largest], |[real, largest]| real * largest)?
    } else {
        let real = as_list(cx, real)?;
        let real = first_of_last(cx, real, count)?;
        let blocks = blocks_of(cx, count, block)?;
        let largest = cx.add(Gather { axis: 0 }, &[largest, blocks])?;
        elementwise(cx, [real, largest], |[real, largest]| real * largest)?
    };
    let weights = reshaped(cx, scaled, &[rows, columns])?;
    cx.add_all(MatMul { transpose_a: false, transpose_b: cx.flag("transB", true) }, &[a, weights])
}

/// Scales with one entry for every element of the axes that are not in blocks; those of small floats may have one for
/// all.
fn scales_of_all(
    cx: &mut NodeContext<'_, '_>,
    data: Handle,
    scales: Handle,
    in_blocks: usize,
) -> Result<Handle, Problem> {
    if !cx.data_type(data)?.is_float() {
        return Ok(scales);
    }
    let (data, own) = (cx.dims(data)?, cx.dims(scales)?);
    let sizes = data.iter().zip(&own).enumerate();
    let sizes = sizes.map(|(axis, (all, own))| if axis == in_blocks { own } else { all }.as_constant());
    match sizes.collect::<Option<Vec<i64>>>() {
        Some(sizes) if own.iter().map(Dim::as_constant).ne(sizes.iter().copied().map(Some)) => {
            let sizes = cx.int_list(&sizes);
            cx.add(Expand {}, &[scales, sizes])
        }
        _ => Ok(scales),
    }
}

/// GatherBlockQuantized: picks slices of stored data, and makes only those real. An index outside the axis gives zeros.
pub fn gather_block_quantized(cx: &mut NodeContext<'_, '_>) -> Imported {
    let (data, indices, scales) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    let (rank, places) = (cx.rank(data)?, cx.rank(indices)?);
    let gathered = cx.axis(cx.int("gather_axis", 0), rank)?;
    let in_blocks = cx.axis(cx.int("quantize_axis", 1), rank)?;
    let dims = cx.dims(data)?;
    let size_of = |axis: usize| dims.get(axis).and_then(Dim::as_constant);
    let Some(size) = size_of(gathered).filter(|_| gathered != in_blocks) else {
        return Err(cx.problem("gather_axis must have a known size and be another one than quantize_axis"));
    };
    let stored = match cx.data_type(data)? {
        DataType::U8 => type_of_bits(cx, cx.int("bits", 4))?,
        other => other,
    };
    let packed = stored != cx.data_type(data)?;
    if packed && in_blocks + 1 != rank {
        return Err(cx.problem("elements that share bytes need the last axis as quantize_axis"));
    }
    let block = match (cx.int("block_size", 128), size_of(in_blocks)) {
        (0, Some(whole)) => whole.max(1),
        (block, _) => block,
    };
    let scales = scales_of_all(cx, data, scales, in_blocks)?;
    let bits = cx.int("bits", 4);
    let mut needed = dims.clone();
    if let Some(axis) = needed.get_mut(in_blocks) {
        let elements = if packed { axis.mul(&Dim::constant(8)).floor_div(&Dim::constant(bits)) } else { axis.clone() };
        *axis = elements.ceil_div(&Dim::constant(block.max(1)));
    }
    check_sizes(cx, scales, "scales", &needed)?;
    if let Some(zeros) = cx.optional(3) {
        if let Some(last) = needed.last_mut().filter(|_| packed) {
            *last = last.mul(&Dim::constant(bits)).ceil_div(&Dim::constant(8));
        }
        check_sizes(cx, zeros, "zero points", &needed)?;
    }
    // An index outside picks the first slice, whose scales become zero.
    let counts = elementwise(cx, [indices], |[i]| {
        let (low, high) = (integer(size.saturating_neg()), integer(size));
        let i = i.cast(DataType::I64);
        low.binary(ScalarOp::LessOrEqual, &i).binary(ScalarOp::And, &i.binary(ScalarOp::Less, &high))
    })?;
    let indices = elementwise(cx, [counts, indices], |[counts, i]| counts.select(&i, &i.same(0.0)))?;
    let axis = i64::try_from(gathered).map_err(|e| cx.problem(e.to_string()))?;
    let pick = Gather { axis };
    let mut codes = cx.add(pick.clone(), &[data, indices])?;
    let scales = cx.add(pick.clone(), &[scales, indices])?;
    if packed {
        codes = unpacked(cx, codes, stored)?;
    }
    let zeros = match cx.optional(3) {
        Some(zeros) => {
            let zeros = cx.add(pick, &[zeros, indices])?;
            let entries = cx.dims(scales)?.last().and_then(Dim::as_constant);
            match entries.filter(|_| packed) {
                Some(entries) => {
                    let zeros = unpacked(cx, zeros, stored)?;
                    Some(first_of_last(cx, zeros, entries)?)
                }
                None => Some(zeros),
            }
        }
        None if cx.data_type(data)? == DataType::U8 => Some(middle(cx, stored, scales)?),
        None => None,
    };
    let behind: Result<Vec<i64>, _> = (places..places + rank - gathered - 1).map(i64::try_from).collect();
    let behind = behind.map_err(|e| cx.problem(e.to_string()))?;
    let behind = cx.int_list(&behind);
    let counts = cx.add(Unsqueeze {}, &[counts, behind])?;
    let scales = elementwise(cx, [counts, scales], |[counts, s]| counts.select(&s, &s.same(0.0)))?;
    let axis = if in_blocks > gathered { in_blocks + places - 1 } else { in_blocks };
    Ok(vec![real_blocks(cx, codes, scales, zeros, (axis, block))?])
}
