//! Targets: compute capabilities with their figures, as plain data.

use sinter_backend::Target;
use sinter_base::DataType;

use crate::driver::DeviceInfo;

/// The name of the back end.
pub const NAME: &str = "cuda";

/// A compute capability: figures of one multiprocessor, the same on every board, and those of one typical board.
///
/// Sources: CUDA C++ Programming Guide, tables of arithmetic throughput and of technical specifications by compute
/// capability; the datasheets of the boards.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Chip {
    /// Target of the compiler, with the chip's own instructions where it has such.
    pub isa: &'static str,
    /// Compute capability.
    pub capability: (u32, u32),
    /// Bytes of shared memory of a block at most.
    pub shared_memory: usize,
    /// Operations of a multiprocessor per cycle by element type; a multiply-add counts as two. Sixteen bits and fewer:
    /// of the tensor cores.
    pub operations: &'static [(DataType, f64)],
    /// A typical board.
    pub board: Board,
}

/// A board with a chip.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Board {
    /// Its name.
    pub name: &'static str,
    /// Multiprocessors.
    pub multiprocessors: usize,
    /// Clock in hertz.
    pub clock: f64,
    /// Bytes of memory per second.
    pub bytes_per_second: f64,
}

const fn board(name: &'static str, multiprocessors: usize, clock: f64, bytes_per_second: f64) -> Board {
    Board { name, multiprocessors, clock, bytes_per_second }
}

const KIB: usize = 1024;

/// Every known compute capability, the oldest first.
pub const CHIPS: &[Chip] = &[
    Chip {
        isa: "sm_75",
        capability: (7, 5),
        shared_memory: 64 * KIB,
        operations: &[(DataType::F32, 128.0), (DataType::F64, 4.0), (DataType::F16, 1024.0), (DataType::I8, 2048.0)],
        board: board("Tesla T4", 40, 1.59e9, 320e9),
    },
    Chip {
        isa: "sm_80",
        capability: (8, 0),
        shared_memory: 163 * KIB,
        operations: &[
            (DataType::F32, 128.0),
            (DataType::F64, 64.0),
            (DataType::F16, 2048.0),
            (DataType::Bf16, 2048.0),
            (DataType::I8, 4096.0),
        ],
        board: board("A100", 108, 1.41e9, 2.0e12),
    },
    Chip {
        isa: "sm_86",
        capability: (8, 6),
        shared_memory: 99 * KIB,
        operations: &[
            (DataType::F32, 256.0),
            (DataType::F64, 4.0),
            (DataType::F16, 1024.0),
            (DataType::Bf16, 1024.0),
            (DataType::I8, 2048.0),
        ],
        board: board("A40", 84, 1.74e9, 696e9),
    },
    Chip {
        isa: "sm_89",
        capability: (8, 9),
        shared_memory: 99 * KIB,
        operations: &[
            (DataType::F32, 256.0),
            (DataType::F64, 4.0),
            (DataType::F16, 1024.0),
            (DataType::Bf16, 1024.0),
            (DataType::F8E4M3FN, 2048.0),
            (DataType::I8, 2048.0),
        ],
        board: board("L40S", 142, 2.52e9, 864e9),
    },
    Chip {
        isa: "sm_90a",
        capability: (9, 0),
        shared_memory: 227 * KIB,
        operations: &[
            (DataType::F32, 256.0),
            (DataType::F64, 128.0),
            (DataType::F16, 4096.0),
            (DataType::Bf16, 4096.0),
            (DataType::F8E4M3FN, 8192.0),
            (DataType::I8, 8192.0),
        ],
        board: board("H200", 132, 1.98e9, 4.8e12),
    },
    Chip {
        isa: "sm_100a",
        capability: (10, 0),
        shared_memory: 227 * KIB,
        operations: &[
            (DataType::F32, 256.0),
            (DataType::F64, 128.0),
            (DataType::F16, 8192.0),
            (DataType::Bf16, 8192.0),
            (DataType::F8E4M3FN, 16384.0),
            (DataType::I8, 16384.0),
        ],
        board: board("B200", 148, 1.97e9, 8.0e12),
    },
    Chip {
        isa: "sm_120a",
        capability: (12, 0),
        shared_memory: 99 * KIB,
        operations: &[
            (DataType::F32, 256.0),
            (DataType::F64, 4.0),
            (DataType::F16, 1024.0),
            (DataType::Bf16, 1024.0),
            (DataType::F8E4M3FN, 2048.0),
            (DataType::I8, 2048.0),
        ],
        board: board("RTX PRO 6000", 188, 2.6e9, 1.79e12),
    },
];

impl Chip {
    /// The chip of this name, `sm_90a` say.
    pub fn named(isa: &str) -> Option<&'static Self> {
        CHIPS.iter().find(|chip| chip.isa == isa)
    }

    /// The target of a board with this chip.
    fn target(&self, isa: String, multiprocessors: usize, clock: f64, bytes_per_second: f64) -> Target {
        Target {
            back_end: NAME.to_owned(),
            isa,
            units: multiprocessors,
            bytes_per_second,
            operations_per_second: self.operations.iter().map(|(ty, per_cycle)| (*ty, per_cycle * clock)).collect(),
        }
    }

    /// The target of the typical board.
    pub fn typical(&self) -> Target {
        let Board { multiprocessors, clock, bytes_per_second, .. } = self.board;
        self.target(self.isa.to_owned(), multiprocessors, clock, bytes_per_second)
    }
}

/// The compute capability of a target of the compiler, `sm_90a` say.
pub fn capability(isa: &str) -> Option<(u32, u32)> {
    let digits = isa.strip_prefix("sm_")?.trim_end_matches('a');
    let number: u32 = digits.parse().ok()?;
    Some((number / 10, number % 10))
}

/// The figures of a target; one that is not listed has those of the newest older one.
pub fn chip(isa: &str) -> Option<&'static Chip> {
    let capability = capability(isa)?;
    CHIPS.iter().rfind(|chip| chip.capability <= capability)
}

/// The target of a device. A capability that is not listed has the figures of the newest older one.
pub fn of(info: &DeviceInfo) -> Target {
    let (major, minor) = info.capability;
    let older = CHIPS.iter().rfind(|chip| chip.capability <= info.capability);
    let chip = older.unwrap_or(&CHIPS[0]);
    let isa = if chip.capability == info.capability { chip.isa.to_owned() } else { format!("sm_{major}{minor}") };
    // Data moves on both edges of the memory clock.
    let bytes_per_second = 2.0 * info.memory_clock as f64 * info.bus_width as f64 / 8.0;
    chip.target(isa, info.multiprocessors, info.clock as f64, bytes_per_second)
}

/// The target where there is no device.
pub fn none() -> Target {
    Target::unknown(NAME, "none", 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(capability: (u32, u32)) -> DeviceInfo {
        DeviceInfo {
            name: "a device".to_owned(),
            uuid: "GPU-00112233-4455-6677-8899-aabbccddeeff".to_owned(),
            capability,
            multiprocessors: 132,
            memory: 141 << 30,
            clock: 1_980_000_000,
            memory_clock: 3_201_000_000,
            bus_width: 6144,
            cache: 60 << 20,
            shared_memory: 227 << 10,
            has_pools: true,
        }
    }

    #[test]
    fn an_h200_has_the_figures_of_its_datasheet() {
        let target = of(&device((9, 0)));
        assert_eq!((target.isa.as_str(), target.units), ("sm_90a", 132));
        assert!((target.bytes_per_second / 4.8e12 - 1.0).abs() < 0.05, "{}", target.bytes_per_second);
        let per_second = |data_type| target.peak(data_type).expect("a figure") * 132.0;
        // 67 tera operations in f32, 989 in bf16 at the clock of long runs, 1,070 at the highest clock.
        assert!((per_second(DataType::F32) / 67e12 - 1.0).abs() < 0.01);
        assert!((per_second(DataType::Bf16) / 1070e12 - 1.0).abs() < 0.01);
        assert_eq!(Chip::named("sm_90a").map(Chip::typical), Some(Target { bytes_per_second: 4.8e12, ..target }));
    }

    #[test]
    fn unknown_capabilities_take_the_figures_of_an_older_one_and_their_own_name() {
        assert_eq!(of(&device((8, 7))).isa, "sm_87");
        assert_eq!(of(&device((8, 7))).peak(DataType::F16), of(&device((8, 6))).peak(DataType::F16));
        assert_eq!(of(&device((6, 1))).isa, "sm_61");
        assert_eq!(
            (capability("sm_120a"), capability("sm_87"), capability("none")),
            (Some((12, 0)), Some((8, 7)), None)
        );
        assert_eq!((chip("sm_87").map(|chip| chip.isa), chip("sm_61")), (Some("sm_86"), None));
        assert!(CHIPS.windows(2).all(|pair| pair[0].capability < pair[1].capability));
    }
}
