//! Transposes between images and rows of pixels stand beside the image, on all of its axes.
//!
//! `transpose(reshape(x, [N, C, H W]), [0, 2, 1])` of an image x becomes `reshape(transpose(x, [0, 2, 3, 1]), [N, H W, C])`,
//! and in the other direction alike: the transpose of an image is its channels-last format, in which kernels may make or
//! read it without any transpose. Convolutions and elementwise work make such images. Does not fire where a product
//! reads the pixels, whose flag is the transpose.

use sinter_base::Dim;
use sinter_ir::{Graph, Patch};
use sinter_ops::movement::Transpose;
use sinter_ops::{Node, Op, ValueId};

use crate::identities::same_dims;
use crate::pass::Miss;
use crate::reshapes::{is_reshape, reshaped};
use crate::transposes::transposed;

/// Sizes of an image of two or more spatial axes, [N, C, H, W], if the pixels, [N, C, H W], are those of the image.
fn image<'a>(graph: &Graph<'a>, image: ValueId, pixels: ValueId) -> Option<&'a [Dim]> {
    let dims = |id: ValueId| graph.tensor(id).and_then(|ty| ty.dims().ok());
    let [batch, channels, spatial @ ..] = dims(image)? else { return None };
    let count = spatial.iter().fold(Dim::constant(1), |all, size| all.mul(size));
    let is_it = spatial.len() > 1 && same_dims(dims(pixels)?, &[batch.clone(), channels.clone(), count]);
    is_it.then(|| dims(image)).flatten()
}

fn is_product(graph: &Graph<'_>, position: usize) -> bool {
    matches!(graph.node(position).op, Op::MatMul(_))
}

fn is_convolution(graph: &Graph<'_>, position: usize) -> bool {
    matches!(graph.node(position).op, Op::Convolution(_))
}

/// Rewrites the last operator between an image and its pixels.
pub(crate) fn beside_image(graph: &Graph<'_>, node: &Node, patch: &mut Patch<'_>) -> Result<bool, Miss> {
    match &node.op {
        Op::Transpose(Transpose { permutation: Some(permutation) }) if permutation[..] == [0, 2, 1] => {
            from_image(graph, node, patch)
        }
        op if is_reshape(op) => to_image(graph, node, patch),
        _ => Ok(false),
    }
}

fn from_image(graph: &Graph<'_>, node: &Node, patch: &mut Patch<'_>) -> Result<bool, Miss> {
    let (Some(&Some(pixels)), &[result]) = (node.inputs.first(), node.outputs.as_slice()) else { return Ok(false) };
    let Some((reshape, _)) = graph.producer(pixels).filter(|(node, _)| is_reshape(&node.op)) else { return Ok(false) };
    let Some(&Some(x)) = reshape.inputs.first() else { return Ok(false) };
    let is_made = graph.producer(x).is_some_and(|(maker, _)| matches!(maker.op, Op::Convolution(_) | Op::Pointwise(_)));
    let (Some(dims), Some(to)) = (image(graph, x, pixels), graph.tensor(result).and_then(|ty| ty.dims().ok())) else {
        return Ok(false);
    };
    if !is_made || graph.users(result).iter().any(|user| is_product(graph, *user)) {
        return Ok(false);
    }
    let last = patch.add_one(Transpose::to_channels_last(dims.len()), &[x])?;
    let rows = reshaped(patch, last, to)?;
    patch.replace(result, rows);
    Ok(true)
}

fn to_image(graph: &Graph<'_>, node: &Node, patch: &mut Patch<'_>) -> Result<bool, Miss> {
    let (Some(&Some(pixels)), &[result]) = (node.inputs.first(), node.outputs.as_slice()) else { return Ok(false) };
    let Some((x, permutation)) = transposed(graph, pixels) else { return Ok(false) };
    let Some([batch, channels, spatial @ ..]) = image(graph, result, pixels) else { return Ok(false) };
    let is_read = graph.users(result).iter().any(|user| is_convolution(graph, *user));
    if permutation != [0, 2, 1] || !is_read || !graph.has_one_use(pixels) || graph.is_result(pixels) {
        return Ok(false);
    }
    let to: Vec<Dim> = [batch].into_iter().chain(spatial).chain([channels]).cloned().collect();
    let last = reshaped(patch, x, &to)?;
    let made = patch.add_one(Transpose::to_channels_first(to.len()), &[last])?;
    patch.replace(result, made);
    Ok(true)
}
