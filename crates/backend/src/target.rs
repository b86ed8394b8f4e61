//! Targets: the builder chooses kernels for them. Plain data, recorded in the plan.

use std::fmt;

use sinter_base::DataType;

/// A kind of device with its performance figures. Offers depend on the target and on no other property of the machine,
/// so that an untuned build reads no clock.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// Name of the back end, `cpu` say.
    pub back_end: String,
    /// Instruction set tier or compute capability, `avx512` say.
    pub isa: String,
    /// Parallel units of a kernel: threads, multiprocessors.
    pub units: usize,
    /// Memory bandwidth of all units together, in bytes per second.
    pub bytes_per_second: f64,
    /// Arithmetic operations per second of one unit, by element type; a multiply-add counts as two. Types that are not
    /// listed are computed as `F32`.
    pub operations_per_second: Vec<(DataType, f64)>,
}

impl Target {
    /// A target with unknown figures.
    pub fn unknown(back_end: &str, isa: &str, units: usize) -> Self {
        let (back_end, isa) = (back_end.to_owned(), isa.to_owned());
        Self { back_end, isa, units, bytes_per_second: 0.0, operations_per_second: Vec::new() }
    }

    /// Operations per second of one unit on elements of this type; `None` where the figure is unknown.
    pub fn peak(&self, data_type: DataType) -> Option<f64> {
        let of = |required: DataType| self.operations_per_second.iter().find(|(known, _)| *known == required);
        of(data_type).or_else(|| of(DataType::F32)).map(|(_, peak)| *peak)
    }
}

/// As users see it: `cpu.avx512 with 2 threads`, `cuda.sm_90a with 132 units`.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.units == 1 { "" } else { "s" };
        let unit = if self.back_end == "cpu" { "thread" } else { "unit" };
        write!(f, "{}.{} with {} {unit}{plural}", self.back_end, self.isa, self.units)
    }
}
