//! Sizes that a body names, seen from outside of it.
//!
//! A body may name the sizes of its inputs otherwise than the graph around it does: `D` of a body that gets a value of type
//! `f32[3]` is 3 outside, whatever another `D` is there. So the types of results leave a body with its names replaced by the
//! sizes that the operator feeds.

use std::collections::BTreeMap;

use sinter_base::{Dim, TensorType, ValueType};

use crate::body::Body;
use crate::infer::InferContext;
use crate::operands::Operands;

/// The source of an input of a body.
#[derive(Clone, Debug)]
pub enum Source {
    /// The operator makes the value, the number of an iteration say, or there is none.
    Made,
    /// A value of this type, in every iteration.
    Fixed(ValueType),
    /// A value of this type in the first iteration; then the result of this position.
    Carried(ValueType, usize),
}

impl Source {
    /// An input of the operator, in every iteration.
    pub fn fixed(inputs: &Operands<'_>, index: usize) -> Self {
        inputs.optional_value(index).map_or(Source::Made, |ty| Source::Fixed(ty.clone()))
    }

    /// An input of the operator, then the result of this position.
    pub fn carried(inputs: &Operands<'_>, index: usize, result: usize) -> Self {
        inputs.optional_value(index).map_or(Source::Made, |ty| Source::Carried(ty.clone(), result))
    }

    fn ty(&self) -> Option<&TensorType> {
        match self {
            Source::Made => None,
            Source::Fixed(ty) | Source::Carried(ty, _) => ty.as_tensor(),
        }
    }
}

/// The name in a declared size and the size that it stands for, where `fed` is fed: both sizes may be linear, as `2 N + 1` is.
fn meaning(declared: &Dim, fed: &Dim) -> Option<(String, Dim)> {
    let mut names = Vec::new();
    declared.visit_symbols(&mut |name| names.push(name.to_owned()));
    names.dedup();
    let [name] = &names[..] else { return None };
    let at = |number: i64| declared.substitute(&|_| Some(Dim::constant(number)));
    let (offset, factor) = (at(0), at(1).sub(&at(0)));
    let is_linear = offset.add(&factor.mul(&Dim::symbol(name))) == *declared;
    let found = fed.sub(&offset).exact_div(&factor).filter(|_| is_linear)?;
    Some((name.clone(), found))
}

/// The dimensions of a type, and its contents where they are sizes.
fn sizes(ty: &TensorType) -> [&[Dim]; 2] {
    [ty.dims().unwrap_or_default(), ty.ints().unwrap_or_default()]
}

/// A size outside of a body, by the meanings of its names; products of `wholes`, the sizes of inputs, are products of what is
/// fed there where their names mean nothing.
fn size_outside(dim: &Dim, meanings: &BTreeMap<String, Dim>, wholes: &BTreeMap<&Dim, Dim>) -> Dim {
    let mut is_known = true;
    dim.visit_symbols(&mut |name| is_known &= meanings.contains_key(name));
    let parts = || {
        wholes.iter().find_map(|(own, fed)| {
            let (quotient, rest) = dim.divided(own).filter(|(quotient, _)| *quotient != Dim::constant(0))?;
            Some((quotient, rest, fed))
        })
    };
    match if is_known { None } else { parts() } {
        Some((quotient, rest, fed)) => {
            size_outside(&quotient, meanings, wholes).mul(fed).add(&size_outside(&rest, meanings, wholes))
        }
        None => dim.substitute(&|name| meanings.get(name).cloned()),
    }
}

/// The types of a body's results outside of it; `sources` are those of its inputs. A name stays where an input of that name
/// outside feeds it, and a size that changes from iteration to iteration gets a fresh name.
pub fn result_types(body: &Body, sources: &[Source], cx: &mut InferContext) -> Vec<ValueType> {
    types_outside((&body.input_types(), &body.output_types()), sources, cx)
}

/// As [`result_types`], for a body of these types of inputs and of results.
pub fn types_outside(
    (inputs, results): (&[ValueType], &[ValueType]),
    sources: &[Source],
    cx: &mut InferContext,
) -> Vec<ValueType> {
    let mut meanings: BTreeMap<String, Dim> = BTreeMap::new();
    // Sizes that say nothing about their names, `max(N, M)` say, stand for what is fed as a whole.
    let mut sizes_of_inputs: BTreeMap<&Dim, Dim> = BTreeMap::new();
    // What an input says about a name: the same name outside comes first, then values that stay, then those that change.
    let rank = |name: &str, meaning: &Dim, source: &Source| match source {
        _ if meaning.as_symbol() == Some(name) => 0,
        Source::Carried(..) => 2,
        _ => 1,
    };
    for wanted in 0..3 {
        for (input, source) in inputs.iter().zip(sources) {
            let (Some(declared), Some(fed)) = (input.as_tensor(), source.ty()) else { continue };
            // Contents of a carried value change.
            let lists = if matches!(source, Source::Carried(..)) { 1 } else { 2 };
            let pairs = sizes(declared).into_iter().zip(sizes(fed)).take(lists);
            for (own, fed) in pairs.filter(|(own, fed)| own.len() == fed.len()) {
                for (axis, (own, fed)) in own.iter().zip(fed).enumerate() {
                    let Some((name, found)) = meaning(own, fed) else {
                        if matches!(source, Source::Fixed(_)) && own.as_constant().is_none() {
                            sizes_of_inputs.entry(own).or_insert_with(|| fed.clone());
                        }
                        continue;
                    };
                    if rank(&name, &found, source) != wanted || meanings.contains_key(&name) {
                        continue;
                    }
                    let stays = match source {
                        Source::Carried(_, result) => {
                            let result = results.get(*result).and_then(ValueType::as_tensor);
                            result.and_then(|ty| ty.dims().ok()?.get(axis)) == Some(own)
                        }
                        _ => true,
                    };
                    meanings.insert(name, if stays || wanted == 0 { found } else { cx.fresh("carried") });
                }
            }
        }
    }
    let outside = |dim: &Dim| size_outside(dim, &meanings, &sizes_of_inputs);
    results.iter().map(|ty| ty.map_dims(&outside)).collect()
}

#[cfg(test)]
mod tests {
    use sinter_base::DataType;

    use super::*;

    fn ty(dims: &[Dim]) -> ValueType {
        ValueType::tensor(DataType::F32, dims.to_vec())
    }

    #[test]
    fn linear_sizes_have_one_meaning() {
        let (n, m) = (Dim::symbol("N"), Dim::symbol("M"));
        let twice = n.mul(&2i64.into()).add(&1i64.into());
        assert_eq!(meaning(&twice, &7i64.into()), Some(("N".to_owned(), 3i64.into())));
        assert_eq!(meaning(&twice, &twice), Some(("N".to_owned(), n.clone())));
        assert_eq!(meaning(&twice, &8i64.into()), None);
        assert_eq!(meaning(&n.mul(&m), &8i64.into()), None);
        assert_eq!(meaning(&n.maximum(&2i64.into()), &8i64.into()), None);
        assert_eq!(meaning(&3i64.into(), &3i64.into()), None);
    }

    #[test]
    fn other_sizes_count_as_a_whole() {
        let larger = Dim::symbol("N").maximum(&Dim::symbol("M"));
        let mut body = Body::new();
        let x = body.add_input(ty(&[larger.clone(), Dim::symbol("K")]));
        let y = body.add_input(ty(&[larger.mul(&2i64.into()).mul(&Dim::symbol("K")).add(&1i64.into())]));
        body.set_outputs(vec![x, y]);
        let sources = [Source::Fixed(ty(&[7i64.into(), 3i64.into()])), Source::Made];
        let found = result_types(&body, &sources, &mut InferContext::default());
        assert_eq!(found, [ty(&[7i64.into(), 3i64.into()]), ty(&[43i64.into()])]);
    }

    #[test]
    fn names_of_a_body_mean_what_is_fed() {
        let (n, d, k) = (Dim::symbol("N"), Dim::symbol("D"), Dim::symbol("K"));
        let mut body = Body::new();
        let state = body.add_input(ty(std::slice::from_ref(&d)));
        let slice = body.add_input(ty(&[d.clone(), n.clone()]));
        let grown = body.add_input(ty(std::slice::from_ref(&k)));
        body.set_outputs(vec![state, slice, slice, grown]);
        let three = Dim::constant(3);
        let sources = [
            Source::Carried(ty(std::slice::from_ref(&three)), 0),
            Source::Fixed(ty(&[three.clone(), n.clone()])),
            Source::Carried(ty(std::slice::from_ref(&n)), 2),
        ];
        let found = result_types(&body, &sources, &mut InferContext::default());
        assert_eq!(found[..3], [ty(std::slice::from_ref(&three)), ty(&[three.clone(), n.clone()]), ty(&[three, n])]);
        let last = found[3].as_tensor().and_then(|ty| ty.dims().ok()?[0].as_symbol()).unwrap_or_default();
        assert!(last.starts_with('?'), "a size that changes: {last}");
    }
}
