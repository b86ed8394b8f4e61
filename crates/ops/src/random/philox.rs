//! The generator behind all random numbers: Philox 4x32-10.
//!
//! A counter-based generator: four 32-bit words come from a 128-bit counter under a 64-bit key by ten rounds of
//! multiplication and exchange, so that every word can be computed alone, on any back end, in any order. Source:
//! Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
//!
//! Here the key is the seed and the counter holds the block number in its lower half and the node in its upper half;
//! block `b` gives elements `4 b .. 4 b + 4`.

const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
const ROUNDS: usize = 10;

/// The two halves of a 64-bit number, low half first.
fn halves(value: u64) -> [u32; 2] {
    [value as u32, (value >> 32) as u32]
}

/// Four words for a counter and a key.
pub fn philox(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    let [mut a, mut b, mut c, mut d] = counter;
    let [mut k0, mut k1] = key;
    for _ in 0..ROUNDS {
        let [low0, high0] = halves(u64::from(MULTIPLIERS[0]) * u64::from(a));
        let [low1, high1] = halves(u64::from(MULTIPLIERS[1]) * u64::from(c));
        (a, b, c, d) = (high1 ^ b ^ k0, low1, high0 ^ d ^ k1, low0);
        k0 = k0.wrapping_add(WEYL[0]);
        k1 = k1.wrapping_add(WEYL[1]);
    }
    [a, b, c, d]
}

/// The four words of a block of a stream.
pub fn block(seed: u64, node: u64, number: u64) -> [u32; 4] {
    let ([n0, n1], [m0, m1]) = (halves(number), halves(node));
    philox([n0, n1, m0, m1], halves(seed))
}

/// The upper 24 bits of a word as a number in `[0, 1)`, exact in f32.
pub fn unit(word: u32) -> f64 {
    f64::from(word >> 8) / f64::from(1u32 << 24)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Known answers published with the authors' implementation (Random123, kat_vectors).
    #[test]
    fn known_answers() {
        assert_eq!(philox([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(philox([u32::MAX; 4], [u32::MAX; 2]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        let pi = [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344];
        assert_eq!(philox(pi, [0xa409_3822, 0x299f_31d0]), [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]);
    }

    #[test]
    fn units_stay_below_one() {
        assert_eq!(unit(0), 0.0);
        assert!(unit(u32::MAX) < 1.0 && unit(u32::MAX) as f32 as f64 == unit(u32::MAX));
    }
}
