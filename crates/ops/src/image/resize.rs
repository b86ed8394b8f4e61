//! Resizes any axes of a tensor, each one independently of the others (see [`crate::image::resize_axis`]).
//!
//! Inputs: x; region: float [2 n], starts then ends of the n resized axes, for crops; scales: float [n]; sizes: i64
//! [n]. Exactly one of scales and sizes is given; an empty list counts as not given. Size of a resized axis:
//! `floor(size * scale)`, in float32 as ONNX's shape inference computes it and whatever the region; or the size asked
//! for; or, keeping the aspect ratio, `floor(r size + 1/2)` with r the smallest (not larger) or largest (not smaller)
//! of `asked / size` over all resized axes. Elements of a crop outside the input are `extrapolation`. Elements: nearest
//! takes any type; the others numbers, integers round to even. Source: ONNX Resize-10..19, Upsample-7..9.

use sinter_base::shape::{self, for_each_index};
use sinter_base::{Attributes, DataType, Dim, Tensor, Value, ValueType};

use crate::error::{EvalError, InferError};
use crate::evaluate::EvalContext;
use crate::example::Example;
use crate::image::resize_axis::{Coordinates, Interpolation, NearestRounding, ResizeAxis, Taps};
use crate::infer::InferContext;
use crate::invalid;
use crate::operands::{Arguments, Operands};
use crate::operator::{Cost, Effects, Operator};

/// The treatment of sizes that would change the aspect ratio.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Attributes)]
pub enum AspectRatio {
    /// They hold as they are.
    Stretch,
    /// Uniform scale, no size above the one asked for.
    NotLarger,
    /// Uniform scale, no size below the one asked for.
    NotSmaller,
}

/// See the module documentation.
#[derive(Clone, Debug, PartialEq, Attributes)]
pub struct Resize {
    /// Combination of elements.
    pub interpolation: Interpolation,
    /// Map of positions.
    pub coordinates: Coordinates,
    /// Leave out elements outside the input.
    pub exclude_outside: bool,
    /// Value of what a crop reads outside the input.
    pub extrapolation: f64,
    /// The resized axes, negative ones counted from the last; all if not given.
    pub axes: Option<Vec<i64>>,
    /// Meaning of sizes.
    pub aspect_ratio: AspectRatio,
}

/// The request: scale factors or sizes.
#[derive(Debug)]
enum Requested<T> {
    Scales(Vec<f64>),
    Sizes(Vec<T>),
}

impl Resize {
    /// Resizing of all axes to the sizes as given.
    pub fn plain(interpolation: Interpolation, coordinates: Coordinates) -> Self {
        Self {
            interpolation,
            coordinates,
            exclude_outside: false,
            extrapolation: 0.0,
            axes: None,
            aspect_ratio: AspectRatio::Stretch,
        }
    }

    fn resized_axes(&self, rank: usize) -> Result<Vec<usize>, InferError> {
        let Some(axes) = &self.axes else { return Ok((0..rank).collect()) };
        let mut positions = Vec::with_capacity(axes.len());
        for &axis in axes {
            let position = if axis < 0 { axis.saturating_add(rank as i64) } else { axis };
            match usize::try_from(position) {
                Ok(p) if p < rank && !positions.contains(&p) => positions.push(p),
                _ => invalid!("axes {axes:?} do not name different axes of a tensor of {rank} dimensions"),
            }
        }
        Ok(positions)
    }

    /// Scale and size per resized axis, where everything is concrete.
    fn targets(&self, sizes: &[usize], requested: &Requested<i64>) -> Result<Vec<(f64, usize)>, InferError> {
        let size_of = |size: f64| -> Result<usize, InferError> {
            if size.is_finite() && size >= 0.0 && size < 2f64.powi(53) {
                Ok(size as usize)
            } else {
                invalid!("{sizes:?} resized by {requested:?} has an axis of {size} elements")
            }
        };
        match requested {
            Requested::Scales(scales) => scales
                .iter()
                .zip(sizes)
                .map(|(&scale, &size)| {
                    if scale.is_nan() || scale <= 0.0 {
                        invalid!("scale {scale} is not positive");
                    }
                    Ok((scale, size_of(scaled_size(size, scale))?))
                })
                .collect(),
            Requested::Sizes(asked) => {
                if let Some(negative) = asked.iter().find(|&&v| v < 0) {
                    invalid!("an axis cannot have {negative} elements");
                }
                let ratio = |(&asked, &size): (&i64, &usize)| asked as f64 / size as f64;
                let ratios = asked.iter().zip(sizes).map(ratio);
                let uniform = match self.aspect_ratio {
                    AspectRatio::Stretch => {
                        return ratios.zip(asked).map(|(r, &a)| Ok((r, size_of(a as f64)?))).collect();
                    }
                    AspectRatio::NotLarger => ratios.fold(f64::INFINITY, f64::min),
                    AspectRatio::NotSmaller => ratios.fold(0.0, f64::max),
                };
                sizes.iter().map(|&s| Ok((uniform, size_of((uniform * s as f64 + 0.5).floor())?))).collect()
            }
        }
    }

    /// Dimensions of the resized axes, as far as they are known.
    fn target_dims(
        &self,
        dims: &[Dim],
        requested: Requested<Dim>,
        cx: &mut InferContext,
    ) -> Result<Vec<Dim>, InferError> {
        let concrete: Option<Vec<usize>> =
            dims.iter().map(|d| d.as_constant().and_then(|v| usize::try_from(v).ok())).collect();
        let constant: Option<Requested<i64>> = match &requested {
            Requested::Scales(scales) => Some(Requested::Scales(scales.clone())),
            Requested::Sizes(sizes) => sizes.iter().map(Dim::as_constant).collect::<Option<_>>().map(Requested::Sizes),
        };
        if let (Some(sizes), Some(constant)) = (&concrete, &constant) {
            return Ok(self.targets(sizes, constant)?.into_iter().map(|(_, size)| size.into()).collect());
        }
        Ok(match requested {
            Requested::Sizes(sizes) if self.aspect_ratio == AspectRatio::Stretch => sizes,
            Requested::Sizes(_) => dims.iter().map(|_| cx.fresh("resize")).collect(),
            Requested::Scales(scales) => {
                let resized = |(d, &s): (&Dim, &f64)| symbolic_size(d, s).unwrap_or_else(|| cx.fresh("resize"));
                dims.iter().zip(&scales).map(resized).collect()
            }
        })
    }
}

/// `floor(size * scale)` in float32.
fn scaled_size(size: usize, scale: f64) -> f64 {
    f64::from((size as f32 * scale as f32).floor())
}

/// The same for a symbolic size and a scale with few binary digits; `None` for other scales.
fn symbolic_size(dim: &Dim, scale: f64) -> Option<Dim> {
    if let Some(size) = dim.as_constant().and_then(|v| usize::try_from(v).ok()) {
        return Some(Dim::constant(scaled_size(size, scale) as i64));
    }
    let denominator = (0..=16).map(|bits| 1i64 << bits).find(|&d| (scale * d as f64).fract() == 0.0)?;
    let numerator = scale * denominator as f64;
    if !(1.0..=f64::from(1 << 20)).contains(&numerator) {
        return None;
    }
    Some(dim.mul(&Dim::constant(numerator as i64)).floor_div(&Dim::constant(denominator)))
}

/// Is the optional list given and not known to be empty?
fn listed(inputs: &Operands<'_>, index: usize) -> Result<bool, InferError> {
    match inputs.optional_tensor(index)? {
        None => Ok(false),
        Some(ty) => Ok(ty.dims().map_or(true, |dims| dims.first().and_then(Dim::as_constant) != Some(0))),
    }
}

/// Interpolation along one axis; where there are no taps the result is 0. Interpolation of several axes is that of one
/// after the other, since the weights of a neighbour are the products of those along each axis.
fn along(x: &[f64], sizes: &[usize], axis: usize, taps: &[Option<Taps>]) -> Vec<f64> {
    let inner: usize = sizes[axis + 1..].iter().product();
    let mut y = Vec::with_capacity(x.len() / sizes[axis].max(1) * taps.len());
    for plane in x.chunks((sizes[axis] * inner).max(1)) {
        for taps in taps {
            let start = y.len();
            y.resize(start + inner, 0.0);
            for (index, weight) in taps.iter().flatten() {
                let row = &plane[index * inner..][..inner];
                y[start..].iter_mut().zip(row).for_each(|(sum, value)| *sum += weight * value);
            }
        }
    }
    y
}

impl Operator for Resize {
    const NAME: &'static str = "Resize";

    fn infer(&self, inputs: &Operands<'_>, cx: &mut InferContext) -> Result<Vec<ValueType>, InferError> {
        let nearest = matches!(self.interpolation, Interpolation::Nearest { .. });
        let data_type = inputs.data_type_where(0, "a numeric type", |t| nearest || t.is_float() || t.is_integer())?;
        let x = inputs.dims(0)?;
        let axes = self.resized_axes(x.len())?;
        let (scales, sizes) = (listed(inputs, 2)?, listed(inputs, 3)?);
        if scales == sizes && !axes.is_empty() {
            invalid!("exactly one of scales and sizes must be given");
        }
        if self.coordinates == Coordinates::Crop && !listed(inputs, 1)? {
            invalid!("a crop needs a region");
        }
        let index = if scales { 2 } else { 3 };
        if inputs.has(index) {
            let length = &inputs.dims_of_rank(index, 1)?[0];
            cx.require_equal(length, &axes.len().into(), "scales or sizes and the number of resized axes")?;
            if scales {
                inputs.data_type_where(2, "a float type", DataType::is_float)?;
            } else {
                inputs.data_type_where(3, "i64", |t| t == DataType::I64)?;
            }
        }
        let resized: Vec<Dim> = axes.iter().map(|&a| x[a].clone()).collect();
        let requested = match (scales, inputs.floats(2), inputs.ints(3)) {
            (true, Some(values), _) if values.len() == axes.len() => Some(Requested::Scales(values.to_vec())),
            (false, _, Some(values)) if values.len() == axes.len() => Some(Requested::Sizes(values.to_vec())),
            _ => None,
        };
        let targets = match requested {
            Some(requested) => self.target_dims(&resized, requested, cx)?,
            None => axes.iter().map(|_| cx.fresh("resize")).collect(),
        };
        let mut y = x.to_vec();
        for (&axis, target) in axes.iter().zip(targets) {
            y[axis] = target;
        }
        Ok(vec![ValueType::tensor(data_type, y)])
    }

    fn size_inputs(&self) -> &'static [usize] {
        &[2, 3]
    }

    fn reference(&self, inputs: &Arguments<'_>, _cx: &EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let x = inputs.tensor(0)?;
        let y_sizes = crate::infer::result_sizes(self, inputs)?.swap_remove(0);
        let axes = self.resized_axes(x.rank())?;
        let list = |index: usize| -> Result<Option<&Tensor>, EvalError> {
            Ok(inputs.optional_tensor(index)?.filter(|t| t.count() > 0))
        };
        let requested = match (list(2)?, list(3)?) {
            (Some(scales), _) => Requested::Scales(scales.to_floats()),
            (None, Some(sizes)) => Requested::Sizes(sizes.to_i64()),
            (None, None) => Requested::Sizes(Vec::new()),
        };
        let region = list(1)?.map(Tensor::to_floats).unwrap_or_default();
        if self.coordinates == Coordinates::Crop && region.len() != 2 * axes.len() {
            invalid!(eval: "{} numbers describe a region of {} axes", region.len(), axes.len());
        }
        if y_sizes.contains(&0) {
            return Ok(vec![x.rearranged(&y_sizes, |_| None)?.into()]);
        }
        if x.count() == 0 {
            invalid!(eval: "{:?} has no elements to resize to {y_sizes:?}", x.sizes());
        }
        // The input elements of every index of every axis of the result; axes that are not resized read themselves.
        let itself = |&size: &usize| (0..size).map(|i| Some(vec![(i, 1.0)])).collect::<Vec<_>>();
        let mut taps: Vec<Vec<Option<Taps>>> = x.sizes().iter().map(itself).collect();
        let sizes: Vec<usize> = axes.iter().map(|&a| x.sizes()[a]).collect();
        for (i, (scale, output)) in self.targets(&sizes, &requested)?.into_iter().enumerate() {
            let axis = ResizeAxis {
                input: sizes[i],
                output,
                scale,
                region: (region.get(i).copied().unwrap_or(0.0), region.get(axes.len() + i).copied().unwrap_or(1.0)),
                coordinates: self.coordinates,
                interpolation: &self.interpolation,
                exclude_outside: self.exclude_outside,
            };
            taps[axes[i]] = (0..output).map(|o| axis.taps(o)).collect();
        }
        let strides = shape::strides(x.sizes());
        let nearest = matches!(self.interpolation, Interpolation::Nearest { .. });
        if nearest && taps.iter().flatten().all(Option::is_some) {
            let source = |flat: usize| {
                let at = shape::unravel(flat, &y_sizes);
                let place = |(axis, &i): (usize, &usize)| Some(taps[axis][i].as_ref()?[0].0 * strides[axis]);
                at.iter().enumerate().map(place).sum()
            };
            return Ok(vec![x.rearranged(&y_sizes, source)?.into()]);
        }
        if !x.data_type().is_float() && !x.data_type().is_integer() {
            invalid!(eval: "a crop of {} elements leaves the input", x.data_type());
        }
        let (mut y, mut sizes) = (x.to_floats(), x.sizes().to_vec());
        for axis in axes {
            y = along(&y, &sizes, axis, &taps[axis]);
            sizes[axis] = y_sizes[axis];
        }
        if !x.data_type().is_float() {
            y.iter_mut().for_each(|v| *v = v.round_ties_even());
        }
        if taps.iter().flatten().any(Option::is_none) {
            let mut flat = 0;
            for_each_index(&y_sizes, |at| {
                if at.iter().enumerate().any(|(axis, &i)| taps[axis][i].is_none()) {
                    y[flat] = self.extrapolation;
                }
                flat += 1;
            });
        }
        Ok(vec![Tensor::from_floats(x.data_type(), &y_sizes, &y)?.into()])
    }

    fn effects(&self) -> Effects {
        Effects { asserts: true, ..Effects::NONE }
    }

    fn cost(&self, inputs: &Operands<'_>, outputs: &[ValueType]) -> Cost {
        let per_element = match self.interpolation {
            Interpolation::Nearest { .. } => 1,
            Interpolation::Linear { .. } => 8,
            Interpolation::Cubic { .. } => 32,
        };
        Cost::elementwise(inputs, outputs, per_element)
    }

    fn examples() -> Vec<Example> {
        use Coordinates::{
            AlignCorners, Asymmetric, Crop, HalfPixel, HalfPixelOrZero, HalfPixelSymmetric, HalfPixelUnshifted,
        };
        let nearest = |rounding, coordinates| Resize::plain(Interpolation::Nearest { rounding }, coordinates);
        let linear = |coordinates| Resize::plain(Interpolation::Linear { antialias: false }, coordinates);
        let smooth = Interpolation::Linear { antialias: true };
        let cubic = |a, antialias| Resize::plain(Interpolation::Cubic { a, antialias }, HalfPixel);
        let floats = |values: &[f32]| {
            Tensor::from_vec(&[values.len()], values.to_vec()).expect("as many values as the size says")
        };
        let scaled = |name, op: Resize, sizes: &[usize], scales: &[f32]| {
            Example::new(name, op).float(sizes).absent().tensor(floats(scales))
        };
        let sized = |name, op: Resize, sizes: &[usize], asked: &[i64]| {
            Example::new(name, op).float(sizes).absent().absent().ints(asked)
        };
        let over = |axes: &[i64], op: Resize| Resize { axes: Some(axes.to_vec()), ..op };
        let twice = [1.0, 1.0, 2.0, 2.0];
        vec![
            scaled("nearest, twice", nearest(NearestRounding::Floor, Asymmetric), &[1, 3, 5, 4], &twice),
            sized("nearest", nearest(NearestRounding::PreferFloor, HalfPixel), &[1, 2, 4, 4], &[1, 2, 7, 8]),
            sized("nearest, upper", nearest(NearestRounding::PreferCeil, AlignCorners), &[7, 3], &[4, 5]),
            scaled("nearest, of two axes", nearest(NearestRounding::Ceil, HalfPixelUnshifted), &[2, 3, 2, 3], &twice),
            scaled("linear, of two axes", linear(HalfPixelUnshifted), &[2, 3, 2, 3], &twice),
            scaled("linear, twice", linear(HalfPixel), &[1, 2, 5, 3], &twice),
            scaled("linear, corners", linear(AlignCorners), &[1, 1, 4, 4], &[1.0, 1.0, 0.6, 1.7]),
            sized("linear, symmetric, axes", over(&[-1], linear(HalfPixelSymmetric)), &[2, 3, 7], &[5]),
            sized("linear, to one element", linear(HalfPixelOrZero), &[1, 1, 4, 5], &[1, 1, 1, 3]),
            sized("linear, smooth", over(&[2, 3], Resize::plain(smooth, HalfPixel)), &[1, 2, 9, 8], &[4, 3]),
            scaled("cubic", cubic(-0.75, false), &[1, 1, 4, 5], &[1.0, 1.0, 2.0, 0.8]),
            scaled(
                "cubic, smooth, outside left out",
                Resize { exclude_outside: true, ..cubic(-0.5, true) },
                &[1, 1, 6, 7],
                &[1.0, 1.0, 0.5, 0.7],
            ),
            Example::new("crop", Resize { extrapolation: 10.0, ..over(&[0, 1], linear(Crop)) })
                .float(&[4, 5])
                .tensor(floats(&[0.4, 0.1, 1.2, 0.9]))
                .absent()
                .ints(&[3, 4]),
            sized(
                "same ratio",
                Resize {
                    aspect_ratio: AspectRatio::NotLarger,
                    ..over(&[2, 3], nearest(NearestRounding::CeilWhenShrinking, HalfPixel))
                },
                &[1, 1, 2, 4],
                &[7, 8],
            ),
            scaled("no batch", linear(HalfPixel), &[0, 1, 2, 2], &twice),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sinter_base::{KnownValue, TensorType};

    fn sizes_of(
        op: &Resize,
        x: &[Dim],
        scales: Option<Vec<f64>>,
        sizes: Option<Vec<Dim>>,
    ) -> Result<String, InferError> {
        let list = |data_type, length: usize, value| {
            ValueType::from(TensorType::ranked(data_type, vec![length.into()]).with_value(value))
        };
        let x = ValueType::tensor(DataType::F32, x.to_vec());
        let scales = scales.map(|s| list(DataType::F32, s.len(), KnownValue::Floats(s)));
        let sizes = sizes.map(|s| list(DataType::I64, s.len(), KnownValue::Ints(s)));
        let types = [Some(&x), None, scales.as_ref(), sizes.as_ref()];
        Ok(op.infer(&Operands::new(&types), &mut InferContext::default())?[0].to_string())
    }

    #[test]
    fn sizes_stay_symbolic() {
        let op = Resize::plain(Interpolation::Linear { antialias: false }, Coordinates::HalfPixel);
        let (n, h) = (Dim::symbol("N"), Dim::symbol("H"));
        let x = [n.clone(), h.clone()];
        assert_eq!(sizes_of(&op, &x, Some(vec![1.0, 2.0]), None).unwrap(), "f32[N, 2*H]");
        assert_eq!(sizes_of(&op, &x, None, Some(vec![n, h.mul(&3i64.into())])).unwrap(), "f32[N, 3*H]");
        assert!(sizes_of(&op, &x, None, None).is_err());
        assert!(sizes_of(&op, &[4i64.into()], Some(vec![0.0]), None).is_err());
        let upper = Resize { aspect_ratio: AspectRatio::NotSmaller, ..op };
        let asked = Some(vec![Dim::constant(4), Dim::constant(4)]);
        assert_eq!(sizes_of(&upper, &[2i64.into(), 3i64.into()], None, asked).unwrap(), "f32[4, 6]");
    }
}
