//! Tiles of the products of warpgroups (`include/group_product.cuh`): their shapes, their cost, and the part of the generated
//! header.

use std::fmt::Write;

use sinter_backend::Refusal;
use sinter_base::{Attr, Attribute, Attributes, DataType};

use crate::kernel::{Cooperation, Geometry};
use crate::matmul::cost::Schedule;
use crate::matmul::stacked::Extent;

/// The only target with these instructions.
pub(crate) const ISA: &str = "sm_90a";
/// Terms of a step.
pub(crate) const STEP: usize = 64;
/// Rows of a warpgroup, and of a panel.
pub(crate) const GROUP: usize = 64;
/// Bytes of shared memory of a block at most, those of a multiprocessor, and those that a block has beside its own.
const MOST_SHARED: usize = 227 << 10;
const UNIT_SHARED: usize = 228 << 10;
const RESERVED: usize = 1024 + 256;
/// Bytes that a warp stages in its epilogue.
const STAGED: usize = 2048;
/// Registers of a multiprocessor, and those of a thread beside its sums.
const REGISTERS: usize = 65_536;
const WORKING: usize = 72;
/// Bytes to align the tiles, and those of the barriers.
const SLACK: usize = 1024 + 256;

/// How blocks compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Attributes)]
pub(crate) struct Tile {
    /// Warpgroups that multiply: 64 rows of the instruction's left operand each.
    pub groups: usize,
    /// Rows of its right operand.
    pub width: usize,
    /// Stages of the pipeline.
    pub stages: usize,
    /// Blocks of a cluster that share k.
    pub split: usize,
    /// Is the left operand of the instruction the right one of the product?
    pub swapped: bool,
}

impl Default for Tile {
    fn default() -> Self {
        Self { groups: 2, width: 128, stages: 4, split: 1, swapped: false }
    }
}

impl Tile {
    /// Every tile: a plan may name no other.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        let forms = [1, 2].into_iter().flat_map(|groups| [false, true].map(|swapped| (groups, swapped)));
        let widths = forms.flat_map(|(groups, swapped)| {
            let widths: &[usize] = if swapped { &[8, 16, 32, 64, 128] } else { &[64, 128, 256] };
            widths.iter().map(move |width| (groups, swapped, *width))
        });
        let splits = widths.flat_map(|form| [1, 2, 4, 8].into_iter().map(move |split| (form, split)));
        let stages = splits.flat_map(|form| [2, 3, 4, 8].into_iter().map(move |stages| (form, stages)));
        let tiles =
            stages.map(|(((groups, swapped, width), split), stages)| Self { groups, width, stages, split, swapped });
        tiles.filter(|tile| tile.is_sound())
    }

    fn is_sound(self) -> bool {
        let Self { groups, width, stages, split, .. } = self;
        // Wide tiles need two warpgroups, and have no room for an exchange.
        let wide = width < 256 || (groups == 2 && split == 1);
        let exchanged = split == 1 || groups * GROUP * width * 4 <= stages * self.stage();
        // Few stages make room for more blocks of small tiles, or for wide ones.
        let few = match stages {
            2 => width == 64 && !self.swapped && split == 1,
            3 => width == 256 || (width == 64 && !self.swapped && split == 1),
            _ => true,
        };
        wide && exchanged && self.shared() <= MOST_SHARED && few
    }

    pub(crate) fn parameters(self) -> Attr {
        if self == Self::default() { Attr::Absent } else { self.to_attr() }
    }

    pub(crate) fn of_parameters(parameters: &Attr) -> Result<Self, Refusal> {
        if *parameters == Attr::Absent {
            return Ok(Self::default());
        }
        let tile = Self::from_attr(parameters).map_err(|error| Refusal::new(error.to_string()))?;
        let found = Self::all().any(|known| known == tile);
        if found { Ok(tile) } else { Err(Refusal::new(format!("has no tile {parameters}"))) }
    }

    /// Bytes of a stage.
    fn stage(self) -> usize {
        (self.groups * GROUP + self.width) * STEP * 2
    }

    /// Bytes of shared memory.
    fn shared(self) -> usize {
        self.stages * self.stage() + self.groups * 4 * STAGED + SLACK
    }

    /// Rows and columns of the result.
    pub(crate) fn sides(self) -> (usize, usize) {
        let height = self.groups * GROUP;
        if self.swapped { (self.width, height) } else { (height, self.width) }
    }

    fn threads(self) -> usize {
        128 * self.groups + if self.spares_registers() { 128 } else { 32 }
    }

    /// Do the multiplying warpgroups need registers of the copying one?
    fn spares_registers(self) -> bool {
        self.groups * self.width > 256
    }

    /// Blocks of a multiprocessor at once.
    fn resident(self) -> usize {
        let registers = REGISTERS / (self.threads() * (self.width / 2 + WORKING));
        (UNIT_SHARED / (self.shared() + RESERVED)).min(registers).max(1)
    }

    /// Is it worth trying for these sizes?
    pub(crate) fn suits(self, Extent { m, n, k, .. }: Extent) -> bool {
        let steps = (k / STEP as f64).ceil();
        let (rows, columns) = self.sides();
        let is_covered = |tile: usize, size: f64, least: f64| tile as f64 <= least || (tile as f64) < 2.0 * size;
        let divides = self.split == 1 || steps >= 2.0 * self.split as f64;
        let deep = self.stages < 8 || steps / self.split as f64 > 4.0;
        let swap = !self.swapped || m <= 512.0;
        divides
            && deep
            && swap
            && is_covered(rows, m, if self.swapped { 8.0 } else { 64.0 })
            && is_covered(columns, n, 64.0)
    }

    /// How it computes a product whose epilogue has so many operands as large as the result.
    pub(crate) fn schedule(self, wholes: usize) -> Schedule {
        let (rows, columns) = self.sides();
        let rounds = (self.width as f64 / 64.0).max(0.25);
        // Wide tiles have no registers to fetch operands ahead.
        let waits = if self.width > 128 { 1.5 } else { 0.5 };
        // The instruction reads 64 rows of its left operand, however few it has on the right.
        let issued = if self.swapped {
            columns as f64 * (self.width.max(32) as f64 / self.width as f64)
        } else {
            columns as f64
        };
        Schedule {
            rows: rows as f64,
            columns: columns as f64,
            issued,
            split: self.split as f64,
            resident: self.resident() as f64,
            stages: self.stages as f64,
            latency: 900.0,
            efficiency: 0.75,
            overhead: 800.0,
            gathering: 0.0,
            rounds: rounds * (1.0 + waits * wholes as f64),
        }
    }

    /// The part of a configuration.
    pub(crate) fn configuration(self) -> String {
        let Self { groups, width, stages, split, swapped } = self;
        format!("{}x{width}x{stages}.{split}{}", groups * GROUP, if swapped { "s" } else { "" })
    }

    /// The part of the generated header, for operands of this type; `inner` tells whether k is the inner axis of the left and
    /// the right operand of the product, and `has_weights` whether the right one is a weight.
    pub(crate) fn generated(self, data_type: DataType, inner: [bool; 2], has_weights: bool) -> String {
        let [a, b] = inner;
        let mut text = String::new();
        let constants = [
            ("GROUPS", self.groups),
            ("WIDTH", self.width),
            ("STAGES", self.stages),
            ("SPLIT", self.split),
            ("RESIDENT", self.resident()),
        ];
        constants.iter().for_each(|(name, value)| text.push_str(&format!("constexpr int {name} = {value};\n")));
        let flags = [
            ("SWAPPED", self.swapped),
            ("SPARES_REGISTERS", self.spares_registers()),
            ("WEIGHTS", has_weights),
            ("A_INNER", a),
            ("B_INNER", b),
        ];
        flags.iter().for_each(|(name, value)| text.push_str(&format!("constexpr bool {name} = {value};\n")));
        text.push_str(&instruction(self.width, data_type, if self.swapped { [b, a] } else { [a, b] }));
        text
    }

    /// Blocks, threads and memory of a launch of so many tiles on so many multiprocessors.
    pub(crate) fn geometry(self, tiles: u32, units: usize) -> (Geometry, Cooperation) {
        let small = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let split = small(self.split);
        let together = small(units.max(1) * self.resident());
        // Blocks that share a tile take one tile; others take tiles in turns.
        let blocks = if split > 1 { tiles.saturating_mul(split) } else { tiles.min(together) };
        let geometry = Geometry { grid: [blocks, 1, 1], threads: small(self.threads()), shared: small(self.shared()) };
        // A grid that fills the device leaves no room for the next one.
        (geometry, Cooperation { cluster: split, overlaps: blocks <= small(units) })
    }
}

/// The function `multiply_groups`: one instruction on all sums of a thread.
fn instruction(width: usize, data_type: DataType, [left, right]: [bool; 2]) -> String {
    let sums = width / 2;
    let name = if data_type == DataType::Bf16 { "bf16" } else { "f16" };
    let places: Vec<String> = (0..sums).map(|at| format!("%{at}")).collect();
    let operands: Vec<String> = (0..sums).map(|at| format!("\"+f\"(s[{at}])")).collect();
    let [left, right] = [left, right].map(|inner| u8::from(!inner));
    let (places, operands) = (places.join(", "), operands.join(", "));
    let call = format!("wgmma.mma_async.sync.aligned.m64n{width}k16.f32.{name}.{name}");
    let mut text = String::new();
    let _ = writeln!(text, "inline void multiply_groups(float (&s)[{sums}], u64 left, u64 right) {{");
    let _ = writeln!(text, "    asm volatile(\"{{\\n.reg .pred adds;\\nsetp.eq.u32 adds, 0, 0;\\n\"");
    let _ =
        writeln!(text, "        \"{call} {{{places}}}, %{sums}, %{}, adds, 1, 1, {left}, {right};\\n}}\"", sums + 1);
    let _ = writeln!(text, "        : {operands} : \"l\"(left), \"l\"(right));\n}}");
    text
}
