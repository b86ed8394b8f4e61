//! What kernels are chosen for: plain data, recorded in the plan.

use std::fmt;

use sinter_base::DataType;

/// A kind of device with its figures. An offer depends on the target and on nothing else of the machine, so an untuned build
/// reads no clock and no machine but this.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// Name of the back end, `cpu` say.
    pub back_end: String,
    /// Instruction set tier or compute capability, `avx512` say.
    pub isa: String,
    /// Parallel units that a kernel may use: threads, multiprocessors.
    pub units: usize,
    /// Bytes that all units together read from memory in a second.
    pub bytes_per_second: f64,
    /// Arithmetic operations that one unit does in a second, by element type; a multiply-add counts as two. Types that are
    /// not listed are computed as `F32`.
    pub operations_per_second: Vec<(DataType, f64)>,
}

impl Target {
    /// A target whose figures nobody knows.
    pub fn unknown(back_end: &str, isa: &str, units: usize) -> Self {
        let (back_end, isa) = (back_end.to_owned(), isa.to_owned());
        Self { back_end, isa, units, bytes_per_second: 0.0, operations_per_second: Vec::new() }
    }

    /// Operations that one unit does in a second on elements of this type; `None` where nobody knows.
    pub fn peak(&self, data_type: DataType) -> Option<f64> {
        let of = |wanted: DataType| self.operations_per_second.iter().find(|(known, _)| *known == wanted);
        of(data_type).or_else(|| of(DataType::F32)).map(|(_, peak)| *peak)
    }
}

/// As users see it: `cpu.avx512 with 2 threads`.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.units == 1 { "" } else { "s" };
        write!(f, "{}.{} with {} thread{plural}", self.back_end, self.isa, self.units)
    }
}
