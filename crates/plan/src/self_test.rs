//! Self-test vectors: known results that travel with the plan, so that an engine can test itself on any machine.
//!
//! Inputs are stored, or generated from a seed; every n-th element of each output is stored, with the bound that the
//! build verified. So a self-test costs a few kilobytes for a model of any size.

use sinter_base::shape::element_count;
use sinter_base::{DataType, Tensor};

use crate::error::PlanError;

/// Limit on the stored elements of an output.
pub const MAX_KEPT: usize = 4096;

/// Limit on the elements of a generated input.
const MAX_INPUT: usize = 1 << 28;

/// Known results.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SelfTest {
    /// One per run.
    pub vectors: Vec<SelfTestVector>,
}

/// One run.
#[derive(Clone, Debug, PartialEq)]
pub struct SelfTestVector {
    /// In the order of the plan's inputs.
    pub inputs: Vec<SelfTestInput>,
    /// In the order of the plan's outputs.
    pub outputs: Vec<SelfTestOutput>,
}

/// An input of a run.
#[derive(Clone, Debug, PartialEq)]
pub enum SelfTestInput {
    /// The tensor itself.
    Stored(Tensor),
    /// Evenly distributed numbers in `low..high`; integers are rounded down, booleans are "at least the middle".
    Uniform {
        /// Element type.
        data_type: DataType,
        /// Sizes.
        sizes: Vec<usize>,
        /// Seed.
        seed: u64,
        /// Smallest number.
        low: f64,
        /// Upper bound, exclusive.
        high: f64,
    },
}

/// How far elements may differ from the known ones.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bound {
    /// Not at all.
    Exact,
    /// `|a - b| <= absolute + relative max |b|`.
    Within {
        /// Absolute part.
        absolute: f64,
        /// Relative to the largest known element.
        relative: f64,
    },
    /// Least cosine of the angle between both lists of finite elements. NaN and infinities must stand in the same
    /// places.
    Cosine(f64),
}

/// An output of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct SelfTestOutput {
    /// Sizes of the output.
    pub sizes: Vec<usize>,
    /// Elements at the positions 0, `stride`, 2 `stride`, ..., in one dimension.
    pub kept: Tensor,
    /// Distance between stored elements.
    pub stride: usize,
    /// How far they may differ.
    pub bound: Bound,
}

/// splitmix64 (Steele, Lea, Flood 2014) at a position of a stream.
fn random(seed: u64, index: u64) -> u64 {
    let mut z = seed.wrapping_add(index.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// A number in 0..1 from 53 random bits.
fn unit(bits: u64) -> f64 {
    let [a, b] = [bits >> 43, (bits >> 11) & 0xFFFF_FFFF].map(|part| u32::try_from(part).unwrap_or(0));
    (f64::from(a) + f64::from(b) / 4_294_967_296.0) / 2_097_152.0
}

impl SelfTestInput {
    /// The tensor of the input.
    ///
    /// # Errors
    /// When it exceeds the limit, or is of a type without numbers.
    pub fn tensor(&self) -> Result<Tensor, PlanError> {
        let (data_type, sizes, seed, low, high) = match self {
            Self::Stored(tensor) => return Ok(tensor.clone()),
            Self::Uniform { data_type, sizes, seed, low, high } => (*data_type, sizes, *seed, *low, *high),
        };
        let count = element_count(sizes).filter(|count| *count <= MAX_INPUT);
        let count = count.ok_or_else(|| PlanError::damaged(format!("a self-test input of sizes {sizes:?}")))?;
        let values: Vec<f64> = (0u64..)
            .take(count)
            .map(|index| {
                let value = low + (high - low) * unit(random(seed, index));
                match data_type {
                    DataType::Bool => f64::from(u8::from(value >= (low + high) / 2.0)),
                    t if t.is_float() => value,
                    _ => value.floor(),
                }
            })
            .collect();
        Tensor::from_floats(data_type, sizes, &values).map_err(|e| PlanError::damaged(e.to_string()))
    }
}

impl SelfTestOutput {
    /// Stores every n-th element of an output; `None` for strings.
    pub fn of(output: &Tensor, bound: Bound) -> Option<Self> {
        let stride = output.count().div_ceil(MAX_KEPT).max(1);
        let kept = Self::pick(output, stride)?;
        Some(Self { sizes: output.sizes().to_vec(), kept, stride, bound })
    }

    /// Stores every element of an output, for an immediate comparison.
    pub fn all(output: &Tensor, bound: Bound) -> Option<Self> {
        let kept = Self::pick(output, 1)?;
        Some(Self { sizes: output.sizes().to_vec(), kept, stride: 1, bound })
    }

    fn pick(output: &Tensor, stride: usize) -> Option<Tensor> {
        if output.data_type() == DataType::String {
            return None;
        }
        let count = output.count().div_ceil(stride.max(1));
        output.rearranged(&[count], |at| at.checked_mul(stride)).ok()
    }

    /// Compares an output with the known one.
    ///
    /// # Errors
    /// The difference, in words.
    pub fn check(&self, output: &Tensor) -> Result<(), String> {
        if output.sizes() != self.sizes.as_slice() || output.data_type() != self.kept.data_type() {
            return Err(format!(
                "it is {}{:?}, known is {}{:?}",
                output.data_type(),
                output.sizes(),
                self.kept.data_type(),
                self.sizes
            ));
        }
        let found = Self::pick(output, self.stride).filter(|found| found.sizes() == self.kept.sizes());
        let found = found.ok_or("its kept elements do not fit its sizes")?;
        let (a, b) = (found.to_floats(), self.kept.to_floats());
        let same = |a: f64, b: f64| a == b || a.is_nan() && b.is_nan();
        let pairs = || a.iter().copied().zip(b.iter().copied());
        match self.bound {
            Bound::Exact => match pairs().position(|(a, b)| !same(a, b)) {
                Some(at) => Err(format!("kept element {at} differs")),
                None => Ok(()),
            },
            Bound::Within { absolute, relative } => {
                let largest = b.iter().filter(|v| v.is_finite()).fold(0f64, |m, v| m.max(v.abs()));
                let allowed = absolute + relative * largest;
                match pairs().find(|&(a, b)| !(same(a, b) || (a - b).abs() <= allowed)) {
                    Some((a, b)) => Err(format!("an element is {a:e}, known is {b:e}, allowed difference {allowed:e}")),
                    None => Ok(()),
                }
            }
            Bound::Cosine(least) => {
                let is_finite = |a: f64, b: f64| a.is_finite() && b.is_finite();
                if let Some((a, b)) = pairs().find(|&(a, b)| !is_finite(a, b) && !same(a, b)) {
                    return Err(format!("an element is {a:e}, known is {b:e}"));
                }
                let cosine = cosine(pairs().filter(|&(a, b)| is_finite(a, b)));
                if cosine >= least {
                    return Ok(());
                }
                Err(format!("the cosine is {cosine}, at least {least} is required"))
            }
        }
    }
}

/// Cosine of the angle between two lists of numbers. Two lists of zeros have the cosine 1, a list of zeros and any
/// other one 0.
fn cosine(pairs: impl Iterator<Item = (f64, f64)> + Clone) -> f64 {
    let largest = pairs.clone().fold((0f64, 0f64), |(x, y), (a, b)| (x.max(a.abs()), y.max(b.abs())));
    if largest.0 == 0.0 || largest.1 == 0.0 {
        return if largest.0 == largest.1 { 1.0 } else { 0.0 };
    }
    // Squares of numbers up to 1 do not overflow.
    let dots = pairs
        .map(|(a, b)| (a / largest.0, b / largest.1))
        .fold([0f64; 3], |[ab, aa, bb], (a, b)| [ab + a * b, aa + a * a, bb + b * b]);
    let [ab, aa, bb] = dots;
    ab / (aa * bb).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_give_the_same_numbers_everywhere() {
        let input = |data_type, low, high| SelfTestInput::Uniform { data_type, sizes: vec![1000], seed: 7, low, high };
        let floats = input(DataType::F32, -1.0, 1.0).tensor().unwrap().to_floats();
        assert!(floats.iter().all(|v| (-1.0..1.0).contains(v)));
        assert!((floats.iter().sum::<f64>() / 1000.0).abs() < 0.1);
        assert_eq!(floats, input(DataType::F32, -1.0, 1.0).tensor().unwrap().to_floats());
        let ints = input(DataType::I64, 0.0, 3.0).tensor().unwrap().to_i64();
        assert!((0..3).all(|v| ints.contains(&v)) && ints.iter().all(|v| (0..3).contains(v)));
        let large =
            SelfTestInput::Uniform { data_type: DataType::F32, sizes: vec![1 << 40], seed: 0, low: 0.0, high: 1.0 };
        assert!(large.tensor().is_err());
    }

    #[test]
    fn bounds_are_kept() {
        let tensor = |values: Vec<f32>| Tensor::from_vec(&[values.len()], values).unwrap();
        let output = tensor((0..10_000).map(|v| v as f32).collect());
        let self_test = |bound| SelfTestOutput::of(&output, bound).unwrap();
        assert_eq!(self_test(Bound::Exact).kept.count(), 10_000usize.div_ceil(3));
        assert!(self_test(Bound::Exact).check(&output).is_ok());
        let mut values: Vec<f32> = (0..10_000).map(|v| v as f32).collect();
        values[3] += 2.0;
        let other = tensor(values);
        assert!(self_test(Bound::Exact).check(&other).is_err());
        assert!(self_test(Bound::Within { absolute: 0.0, relative: 1e-3 }).check(&other).is_ok());
        assert!(self_test(Bound::Within { absolute: 0.0, relative: 1e-4 }).check(&other).is_err());
        assert!(self_test(Bound::Cosine(0.9999)).check(&other).is_ok());
        assert!(self_test(Bound::Cosine(0.5)).check(&tensor(vec![1.0; 3])).is_err());
    }

    #[test]
    fn angles_are_taken_of_finite_elements() {
        let (nan, inf) = (f32::NAN, f32::INFINITY);
        let tensor = |values: &[f32]| Tensor::from_vec(&[values.len()], values.to_vec()).unwrap();
        let check = |known: &[f32], found: &[f32]| {
            SelfTestOutput::of(&tensor(known), Bound::Cosine(0.9)).unwrap().check(&tensor(found))
        };
        let known = [1.0, nan, 3.0, -inf, inf, -2.0];
        assert_eq!(check(&known, &known), Ok(()));
        assert_eq!(check(&known, &[1.1, nan, 2.9, -inf, inf, -2.0]), Ok(()));
        for found in
            [[1.0, 0.0, 3.0, -inf, inf, -2.0], [1.0, nan, nan, -inf, inf, -2.0], [1.0, nan, 3.0, inf, inf, -2.0]]
        {
            assert!(check(&known, &found).unwrap_err().contains("known is"), "{found:?}");
        }
        assert!(check(&known, &[-1.0, nan, 3.0, -inf, inf, 2.0]).unwrap_err().contains("cosine"));
        assert_eq!(check(&[0.0; 3], &[0.0, -0.0, 0.0]), Ok(()));
        assert!(check(&[0.0; 3], &[0.0, 1e-9, 0.0]).is_err());
        assert_eq!(check(&[f32::MAX, 1e-30], &[f32::MAX, 0.0]), Ok(()));
    }
}
