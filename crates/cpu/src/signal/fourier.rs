//! Fast Fourier transforms of any length, in f64.
//!
//! Powers of two by Cooley and Tukey's radix-2 algorithm, in place after a permutation of bits. Any other length `L` as
//! a convolution with a chirp (Bluestein): `jk = (j^2 + k^2 - (k - j)^2) / 2`, so that
//! `Y_k = c_k sum_j (x_j c_j) conj(c_(k-j))` with `c_j = e^(-pi i j^2 / L)`, computed by transforms of a power of two
//! of at least `2 L - 1`.

use std::f64::consts::{PI, TAU};

use crate::launch::{Scratch, ScratchBuffer};

/// A complex number.
pub type Complex = [f64; 2];

#[inline(always)]
fn times(a: Complex, b: Complex) -> Complex {
    [a[0] * b[0] - a[1] * b[1], a[0] * b[1] + a[1] * b[0]]
}

fn conjugate(a: Complex) -> Complex {
    [a[0], -a[1]]
}

fn turn(angle: f64) -> Complex {
    let (sine, cosine) = angle.sin_cos();
    [cosine, sine]
}

/// Transforms of one power of two.
struct PowerOfTwo<'r> {
    /// `e^(-2 pi i k / n)` for the first half.
    turns: ScratchBuffer<'r, Complex>,
}

impl<'r> PowerOfTwo<'r> {
    fn new(length: usize, scratch: &'r Scratch) -> Self {
        Self { turns: scratch.list((0..length / 2).map(|k| turn(-TAU * k as f64 / length as f64))) }
    }

    fn transform(&self, data: &mut [Complex]) {
        let length = data.len();
        if length < 2 {
            return;
        }
        let shift = usize::BITS - length.trailing_zeros();
        for at in 0..length {
            let other = at.reverse_bits() >> shift;
            if at < other {
                data.swap(at, other);
            }
        }
        let mut half = 1;
        while half < length {
            let stride = length / (2 * half);
            for block in data.chunks_exact_mut(2 * half) {
                let (low, high) = block.split_at_mut(half);
                for ((a, b), &turn) in low.iter_mut().zip(high).zip(self.turns.iter().step_by(stride)) {
                    let term = times(*b, turn);
                    (*a, *b) = ([a[0] + term[0], a[1] + term[1]], [a[0] - term[0], a[1] - term[1]]);
                }
            }
            half *= 2;
        }
    }
}

/// The convolution with a chirp.
struct Chirp<'r> {
    /// `c_j`.
    chirp: ScratchBuffer<'r, Complex>,
    /// Transform of `conj(c_j)` for `j` in `-L + 1 .. L`, scaled by the length of the inner transforms.
    spectrum: ScratchBuffer<'r, Complex>,
    inner: PowerOfTwo<'r>,
}

impl<'r> Chirp<'r> {
    fn new(length: usize, scratch: &'r Scratch) -> Self {
        let padded = (2 * length - 1).next_power_of_two();
        let inner = PowerOfTwo::new(padded, scratch);
        // j^2 modulo 2 L: the angle stays small, however long the line.
        let square = |j: usize| (j as u128 * j as u128 % (2 * length as u128)) as f64;
        let chirp = scratch.list((0..length).map(|j| turn(-PI * square(j) / length as f64)));
        let mut spectrum = scratch.filled(padded, [0.0; 2]);
        for (j, &value) in chirp.iter().enumerate() {
            let value = [value[0] / padded as f64, -value[1] / padded as f64];
            spectrum[j] = value;
            spectrum[(padded - j) % padded] = value;
        }
        inner.transform(&mut spectrum);
        Self { chirp, spectrum, inner }
    }

    fn transform(&self, data: &mut [Complex], scratch: &mut [Complex]) {
        let (start, rest) = scratch.split_at_mut(data.len());
        for ((place, &x), &c) in start.iter_mut().zip(&*data).zip(&*self.chirp) {
            *place = times(x, c);
        }
        rest.fill([0.0; 2]);
        self.inner.transform(scratch);
        // The inverse transform as the conjugate of the forward one.
        scratch.iter_mut().zip(&*self.spectrum).for_each(|(x, &s)| *x = conjugate(times(*x, s)));
        self.inner.transform(scratch);
        for ((y, &c), &x) in data.iter_mut().zip(&*self.chirp).zip(&*scratch) {
            *y = times(conjugate(x), c);
        }
    }
}

enum Algorithm<'r> {
    PowerOfTwo(PowerOfTwo<'r>),
    Chirp(Chirp<'r>),
}

/// Forward transforms of one length.
pub struct Fourier<'r> {
    length: usize,
    algorithm: Algorithm<'r>,
}

impl<'r> Fourier<'r> {
    /// Prepares transforms of a length of at least 1.
    pub fn new(length: usize, scratch: &'r Scratch) -> Self {
        let algorithm = if length.is_power_of_two() {
            Algorithm::PowerOfTwo(PowerOfTwo::new(length, scratch))
        } else {
            Algorithm::Chirp(Chirp::new(length, scratch))
        };
        Self { length, algorithm }
    }

    /// Numbers that a transform needs as scratch memory.
    pub fn scratch(&self) -> usize {
        match &self.algorithm {
            Algorithm::PowerOfTwo(_) => 0,
            Algorithm::Chirp(chirp) => chirp.spectrum.len(),
        }
    }

    /// Transforms a line in place; `scratch` are as many numbers as [`Fourier::scratch`] says.
    pub fn forward(&self, line: &mut [Complex], scratch: &mut [Complex]) {
        match &self.algorithm {
            Algorithm::PowerOfTwo(plain) => plain.transform(line),
            Algorithm::Chirp(chirp) => chirp.transform(line, scratch),
        }
    }

    /// The inverse transform, divided by the length.
    pub fn inverse(&self, line: &mut [Complex], scratch: &mut [Complex]) {
        line.iter_mut().for_each(|x| *x = conjugate(*x));
        self.forward(line, scratch);
        let scale = 1.0 / self.length as f64;
        line.iter_mut().for_each(|x| *x = [x[0] * scale, -x[1] * scale]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_follows_the_definition_and_returns() {
        for length in [1, 2, 3, 4, 5, 7, 8, 12, 16, 31, 64, 100, 243] {
            let x: Vec<Complex> = (0..length).map(|j| [(j as f64 * 0.7).sin(), (j as f64).cos()]).collect();
            let scratch = Scratch::default();
            let fourier = Fourier::new(length, &scratch);
            let (mut y, mut scratch) = (x.clone(), vec![[0.0; 2]; fourier.scratch()]);
            fourier.forward(&mut y, &mut scratch);
            for (k, y) in y.iter().enumerate() {
                let sum = x.iter().enumerate().fold([0.0, 0.0], |sum: Complex, (j, &x)| {
                    let term = times(x, turn(-TAU * (j * k % length) as f64 / length as f64));
                    [sum[0] + term[0], sum[1] + term[1]]
                });
                assert!((y[0] - sum[0]).abs() + (y[1] - sum[1]).abs() < 1e-10, "{length} {k}");
            }
            fourier.inverse(&mut y, &mut scratch);
            for (x, y) in x.iter().zip(&y) {
                assert!((x[0] - y[0]).abs() + (x[1] - y[1]).abs() < 1e-12, "{length}");
            }
        }
    }
}
