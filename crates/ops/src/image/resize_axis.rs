//! Resizing along one axis: where each element of the result reads its input, and with what weights.
//!
//! An element at `o` of a result of size `n_out` reads the input of size `n_in` around `x(o)`, with scale s and the
//! fractional width `w = s n_in`:
//! * half pixel: `(o + 1/2) / s - 1/2`; the PyTorch variant reads 0 where `n_out = 1`; the symmetric variant adds
//!   `n_in / 2 (1 - n_out / w)`, which centres the result when w is no whole number; the unshifted variant is
//!   `(o + 1/2) / s` (Resize-11's `tf_half_pixel_for_nn`);
//! * asymmetric: `o / s`;
//! * align corners: `o (n_in - 1) / (w - 1)`, and 0 where `w = 1`;
//! * crop from a to b: `a (n_in - 1) + o (b - a) (n_in - 1) / (w - 1)`, and `(a + b) (n_in - 1) / 2` where `w = 1`;
//!   positions outside of `0..=n_in - 1` are not read at all.
//!
//! An axis of scale 1 is not resized: its elements stay where they are, whatever the map, unless they are cropped.
//!
//! Weights are 1 at the nearest element, or `f(k - x)` for the elements k around x with f the triangle (linear) or
//! Keys' cubic with parameter a. Antialiasing stretches f by `1 / s` where `s < 1` and divides by the sum of weights.
//! Elements outside the input take the value at its edge, or are left out and the others weigh more (exclude outside).
//! Source: ONNX Resize-11..19; Keys 1981.

use sinter_base::Attributes;

/// How result positions map to input positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Attributes)]
pub enum Coordinates {
    /// Element centres at one half.
    HalfPixel,
    /// The same around the centre of the axis.
    HalfPixelSymmetric,
    /// Element centres at one half, a single element reads position 0.
    HalfPixelOrZero,
    /// Element centres at one half in the result only.
    HalfPixelUnshifted,
    /// First elements meet.
    Asymmetric,
    /// First and last elements meet.
    AlignCorners,
    /// First and last elements meet the ends of a region.
    Crop,
}

/// Which element is nearest to a position between two of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Attributes)]
pub enum NearestRounding {
    /// The nearer one, the lower one when in doubt.
    PreferFloor,
    /// The nearer one, the upper one when in doubt.
    PreferCeil,
    /// The lower one.
    Floor,
    /// The upper one.
    Ceil,
    /// The upper one where the scale is below 1, else the lower one (Resize-10 as widely implemented).
    CeilWhenShrinking,
}

/// How elements around a position are combined.
#[derive(Clone, Debug, PartialEq, Attributes)]
pub enum Interpolation {
    /// The nearest one.
    Nearest {
        /// Which one that is.
        rounding: NearestRounding,
    },
    /// Two neighbours.
    Linear {
        /// Smooth when shrinking.
        antialias: bool,
    },
    /// Four neighbours.
    Cubic {
        /// Parameter of the kernel, -0.75 or -0.5 in common use.
        a: f64,
        /// Smooth when shrinking.
        antialias: bool,
    },
}

/// Elements of the input with their weights.
pub type Taps = Vec<(usize, f64)>;

/// One axis to resize.
#[derive(Clone, Debug)]
pub struct ResizeAxis<'a> {
    /// Size of the input.
    pub input: usize,
    /// Size of the result.
    pub output: usize,
    /// Scale.
    pub scale: f64,
    /// Region to read, for [`Coordinates::Crop`].
    pub region: (f64, f64),
    /// Map of positions.
    pub coordinates: Coordinates,
    /// Combination of elements.
    pub interpolation: &'a Interpolation,
    /// Leave out elements outside the input.
    pub exclude_outside: bool,
}

impl ResizeAxis<'_> {
    /// The input position of an element of the result; `None` where a crop leaves the input.
    ///
    /// In float32, one operation after the other, as every implementation computes it: which element is nearest depends
    /// on that wherever a position lies in the middle of two.
    fn position(&self, output: usize) -> Option<f64> {
        if self.scale == 1.0 && self.coordinates != Coordinates::Crop {
            return Some(output as f64);
        }
        let (o, last) = (output as f32, self.input as f32 - 1.0);
        let scale = self.scale as f32;
        // The width may be a fraction; its product is exact before it is rounded.
        let width = (self.scale * self.input as f64) as f32;
        let half_pixel = (o + 0.5) / scale - 0.5;
        Some(f64::from(match self.coordinates {
            Coordinates::HalfPixel => half_pixel,
            Coordinates::HalfPixelOrZero if self.output <= 1 => 0.0,
            Coordinates::HalfPixelOrZero => half_pixel,
            Coordinates::HalfPixelSymmetric => {
                self.input as f32 / 2.0 * (1.0 - self.output as f32 / width) + half_pixel
            }
            Coordinates::HalfPixelUnshifted => (o + 0.5) / scale,
            Coordinates::Asymmetric => o / scale,
            Coordinates::AlignCorners if width == 1.0 => 0.0,
            Coordinates::AlignCorners => o * last / (width - 1.0),
            Coordinates::Crop => {
                let (a, b) = (self.region.0 as f32, self.region.1 as f32);
                let inside = if width == 1.0 { (b - a) * last / 2.0 } else { o * (b - a) * last / (width - 1.0) };
                let position = a * last + inside;
                if !(0.0..=last).contains(&position) {
                    return None;
                }
                position
            }
        }))
    }

    /// Weighted input elements of an element of the result; `None` where a crop leaves the input. The input must not
    /// be empty.
    pub fn taps(&self, output: usize) -> Option<Taps> {
        let mut taps = Taps::new();
        self.each_tap(output, |from, weight| taps.push((from, weight))).then_some(taps)
    }

    /// As [`ResizeAxis::taps`], one after the other; false, and nothing called, where a crop leaves the input.
    pub fn each_tap(&self, output: usize, mut each: impl FnMut(usize, f64)) -> bool {
        let Some(x) = self.position(output) else { return false };
        let (reach, antialias) = match self.interpolation {
            Interpolation::Nearest { rounding } => {
                let nearest = match rounding {
                    NearestRounding::PreferFloor => (x - 0.5).ceil(),
                    NearestRounding::PreferCeil => (x + 0.5).floor(),
                    NearestRounding::Floor => x.floor(),
                    NearestRounding::Ceil => x.ceil(),
                    NearestRounding::CeilWhenShrinking if self.scale < 1.0 => x.ceil(),
                    NearestRounding::CeilWhenShrinking => x.floor(),
                };
                each(self.clamped(nearest), 1.0);
                return true;
            }
            Interpolation::Linear { antialias } => (1.0, *antialias),
            Interpolation::Cubic { antialias, .. } => (2.0, *antialias),
        };
        let squeeze = if antialias { self.scale.min(1.0) } else { 1.0 };
        // More elements than twice the input has cannot matter: all beyond the edges are equal.
        let reach: f64 = (reach / squeeze).min(2.0 * self.input as f64 + 4.0);
        let (first, last) = ((x - reach).floor(), (x + reach).ceil());
        let steps = (last - first).max(0.0) as usize;
        let counts = |k: &f64| !(self.exclude_outside && (*k < 0.0 || *k > self.input as f64 - 1.0));
        let taps = || (0..=steps).map(|step| first + step as f64).filter(counts);
        let weight = |k: f64| self.kernel((k - x) * squeeze);
        let sum: f64 = if antialias || self.exclude_outside { taps().map(weight).sum() } else { 1.0 };
        for k in taps() {
            let weight = weight(k) / sum;
            if weight != 0.0 {
                each(self.clamped(k), weight);
            }
        }
        true
    }

    fn kernel(&self, t: f64) -> f64 {
        match self.interpolation {
            Interpolation::Cubic { a, .. } => cubic(t, *a),
            _ => (1.0 - t.abs()).max(0.0),
        }
    }

    fn clamped(&self, at: f64) -> usize {
        // The cast saturates, so that absurd positions end at an edge.
        (at.max(0.0) as usize).min(self.input.saturating_sub(1))
    }
}

/// Keys' cubic convolution kernel.
pub fn cubic(t: f64, a: f64) -> f64 {
    let t = t.abs();
    if t <= 1.0 {
        ((a + 2.0) * t - (a + 3.0)) * t * t + 1.0
    } else if t < 2.0 {
        ((a * t - 5.0 * a) * t + 8.0 * a) * t - 4.0 * a
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axis(coordinates: Coordinates, interpolation: &Interpolation) -> ResizeAxis<'_> {
        ResizeAxis {
            input: 4,
            output: 8,
            scale: 2.0,
            region: (0.0, 1.0),
            coordinates,
            interpolation,
            exclude_outside: false,
        }
    }

    #[test]
    fn positions_by_hand() {
        let nearest = Interpolation::Nearest { rounding: NearestRounding::Floor };
        let at = |coordinates, o| axis(coordinates, &nearest).position(o).unwrap();
        assert_eq!(at(Coordinates::HalfPixel, 0), -0.25);
        assert_eq!(at(Coordinates::Asymmetric, 3), 1.5);
        assert_eq!(at(Coordinates::AlignCorners, 7), 3.0);
        assert_eq!(at(Coordinates::Crop, 7), 3.0);
        let unscaled = |coordinates| {
            let axis = ResizeAxis { output: 4, scale: 1.0, ..axis(coordinates, &nearest) };
            [0, 1, 2, 3].map(|o| axis.position(o).unwrap())
        };
        for coordinates in [
            Coordinates::HalfPixel,
            Coordinates::HalfPixelSymmetric,
            Coordinates::HalfPixelOrZero,
            Coordinates::HalfPixelUnshifted,
            Coordinates::Asymmetric,
            Coordinates::AlignCorners,
        ] {
            assert_eq!(unscaled(coordinates), [0.0, 1.0, 2.0, 3.0], "{coordinates:?}");
        }
        let part = ResizeAxis { output: 4, scale: 1.0, region: (0.5, 1.0), ..axis(Coordinates::Crop, &nearest) };
        assert_eq!(part.position(2), Some(2.5));
        let outside = ResizeAxis { region: (0.5, 2.0), ..axis(Coordinates::Crop, &nearest) };
        assert_eq!(outside.position(7), None);
    }

    #[test]
    fn weights_by_hand() {
        let linear = Interpolation::Linear { antialias: false };
        assert_eq!(axis(Coordinates::HalfPixel, &linear).taps(1), Some(vec![(0, 0.75), (1, 0.25)]));
        assert_eq!(axis(Coordinates::HalfPixel, &linear).taps(0), Some(vec![(0, 0.25), (0, 0.75)]));
        let excluding = ResizeAxis { exclude_outside: true, ..axis(Coordinates::HalfPixel, &linear) };
        assert_eq!(excluding.taps(0), Some(vec![(0, 1.0)]));
    }

    #[test]
    fn shrinking_smoothly_spreads_the_weights() {
        let smooth = Interpolation::Linear { antialias: true };
        let shrink = ResizeAxis { output: 2, scale: 0.5, ..axis(Coordinates::HalfPixel, &smooth) };
        // Position 0.5: distances 1.5, 0.5, 0.5, 1.5 halved into the triangle.
        let weights = [(0, 0.125), (0, 0.375), (1, 0.375), (2, 0.125)];
        assert_eq!(shrink.taps(0), Some(weights.to_vec()));
    }

    #[test]
    fn nearest_rounds_as_asked() {
        let taps = |rounding, scale| {
            let nearest = Interpolation::Nearest { rounding };
            let axis = ResizeAxis { scale, ..axis(Coordinates::Asymmetric, &nearest) };
            axis.taps(1).unwrap()[0].0
        };
        assert_eq!(taps(NearestRounding::PreferFloor, 2.0), 0);
        assert_eq!(taps(NearestRounding::PreferCeil, 2.0), 1);
        assert_eq!(taps(NearestRounding::CeilWhenShrinking, 0.6), 2);
        assert_eq!(taps(NearestRounding::CeilWhenShrinking, 2.0), 0);
    }
}
