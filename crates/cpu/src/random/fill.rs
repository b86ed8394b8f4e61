//! `cpu.random.fill`: a tensor of random numbers by the Philox 4x32-10 generator.
//!
//! Ten rounds turn a 128-bit counter, the index of the block below the index of the stream, under a 64-bit key, the
//! seed, into the four words of a block. Blocks are independent, so the workers share them freely. Source: Salmon,
//! Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.

use std::f64::consts::TAU;

use sinter_backend::{KernelError, Numerics, Refusal, Region};
use sinter_base::{DataType, Sizes};
use sinter_ops::OpKind;
use sinter_ops::random::{Distribution, RandomFill};

use crate::arguments::{integers, result};
use crate::elements::store_real;
use crate::launch::{Kernel, Launch, Loaded};
use crate::movement::takes_views;
use crate::share::{Cost, share};
use crate::tactic::{Row, Speed};
use crate::{only_operator, refuse_data};

/// See the module documentation.
pub const FILL: Row = Row {
    name: "cpu.random.fill",
    roots: &[OpKind::RandomFill],
    numerics: Numerics::Ordered,
    in_place: &[],
    speed: Speed::SCALAR,
    kernel,
};

fn kernel(region: &Region) -> Result<Loaded, Refusal> {
    let op = only_operator!(region, RandomFill);
    takes_views(region)?;
    Ok(Loaded::Kernel(Box::new(Fill { op: op.clone() })))
}

struct Fill {
    op: RandomFill,
}

/// Words of block `block` of the stream of a seed and a node.
fn words((seed, node): (u64, u64), block: u64) -> [u32; 4] {
    let mut counter = [block as u32, (block >> 32) as u32, node as u32, (node >> 32) as u32];
    let mut key = [seed as u32, (seed >> 32) as u32];
    for _ in 0..10 {
        let first = u64::from(counter[0]) * 0xD251_1F53;
        let second = u64::from(counter[2]) * 0xCD9E_8D57;
        counter = [
            (second >> 32) as u32 ^ counter[1] ^ key[0],
            second as u32,
            (first >> 32) as u32 ^ counter[3] ^ key[1],
            first as u32,
        ];
        key = [key[0].wrapping_add(0x9E37_79B9), key[1].wrapping_add(0xBB67_AE85)];
    }
    counter
}

/// The upper 24 bits of a word as a number in `[0, 1)`.
fn unit(word: u32) -> f64 {
    f64::from(word >> 8) * (1.0 / 16_777_216.0)
}

/// The four numbers of a block.
fn numbers(distribution: Distribution, words: [u32; 4]) -> [f64; 4] {
    match distribution {
        Distribution::Uniform { low, high } => words.map(|word| low + unit(word) * (high - low)),
        // Box and Muller: two uniform numbers make two normal ones.
        Distribution::Normal { mean, scale } => {
            let mut result = [0.0; 4];
            for (pair, words) in result.chunks_exact_mut(2).zip(words.chunks_exact(2)) {
                let radius = (-2.0 * (unit(words[0]) + 1.0 / 16_777_216.0).ln()).sqrt();
                let (sine, cosine) = (TAU * unit(words[1])).sin_cos();
                pair.copy_from_slice(&[mean + scale * radius * cosine, mean + scale * radius * sine]);
            }
            result
        }
    }
}

impl Kernel for Fill {
    fn launch(&self, launch: &mut Launch<'_, '_>) -> Result<(), KernelError> {
        let shape = integers(launch.input(0)?, launch.scratch)?;
        let sizes: Option<Sizes> = shape.iter().map(|&size| usize::try_from(size).ok()).collect();
        let Some(sizes) = sizes else { refuse_data!("random numbers of shape {:?}", &*shape) };
        let stream = (self.op.seed.map_or(launch.seed.0, i64::cast_unsigned), launch.seed.1 ^ self.op.stream as u64);
        let (workers, scratch) = (launch.workers, launch.scratch);
        let mut y = result(&mut launch.outputs[0], &sizes)?;
        let count = y.count();
        let block = |index: usize| numbers(self.op.distribution, words(stream, index as u64));
        // Some ten operations per number.
        let cost = Cost::PerElement(8);
        if y.data_type() == DataType::F32 {
            share(workers, y.elements::<f32>(), 4, cost, |from, chunk| {
                for (at, four) in chunk.chunks_mut(4).enumerate() {
                    four.iter_mut().zip(block(from + at)).for_each(|(y, v)| *y = v as f32);
                }
            });
            return Ok(());
        }
        let mut values = scratch.allocate(count);
        share(workers, &mut values, 4, cost, |from, chunk| {
            for (at, four) in chunk.chunks_mut(4).enumerate() {
                four.iter_mut().zip(block(from + at)).for_each(|(y, v)| *y = v);
            }
        });
        store_real(&values, &mut y);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::words;

    /// Known answers published with the authors' implementation (Random123, kat_vectors).
    #[test]
    fn known_answers() {
        assert_eq!(words((0, 0), 0), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(words((u64::MAX, u64::MAX), u64::MAX), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        let (seed, node, number) = (0x299f_31d0_a409_3822, 0x0370_7344_1319_8a2e, 0x85a3_08d3_243f_6a88);
        assert_eq!(words((seed, node), number), [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]);
    }
}
