//! Block sizes of a product, which divide it into tasks and cache blocks.
//!
//! The sizes are the parameters of a recipe. Fewer, larger tasks read operands less often; more, smaller ones keep all
//! threads at work to the end. The inner size says how many terms one register sums.

use sinter_backend::{Problem, Target};
use sinter_base::{Attr, Attribute, AttributeError, Attributes, DataType};

use crate::product::panel::WIDTH;

/// See the module documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Attributes)]
pub struct Blocks {
    /// Rows of one task: a multiple of the rows of every tile.
    pub rows: usize,
    /// Panels of one task.
    pub panels: usize,
    /// Inner elements that are summed before they are added to the others.
    pub inner: usize,
}

impl Default for Blocks {
    fn default() -> Self {
        Self { rows: 96, panels: 9, inner: 256 }
    }
}

/// Rows, columns and inner elements of a product at the optima.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Extent {
    /// Rows of the left operand.
    pub rows: f64,
    /// Columns of the right operand.
    pub columns: f64,
    /// Elements of a row.
    pub inner: f64,
}

impl Blocks {
    /// Every choice: a plan may name no other.
    pub fn all() -> impl Iterator<Item = Self> {
        let sizes = |rows| [9, 3].into_iter().map(move |panels| (rows, panels));
        let sizes = [96, 48, 24].into_iter().flat_map(sizes);
        sizes.flat_map(|(rows, panels)| [256, 128].map(|inner| Self { rows, panels, inner }))
    }

    /// The parameters of a recipe; the default sizes need none.
    pub fn parameters(self) -> Attr {
        if self == Self::default() { Attr::Absent } else { self.to_attr() }
    }

    /// The sizes that a recipe's parameters say.
    ///
    /// # Errors
    /// Parameters of another form, and sizes that no candidate has.
    pub fn of_parameters(parameters: &Attr) -> Result<Self, AttributeError> {
        let blocks = if *parameters == Attr::Absent { Self::default() } else { Self::from_attr(parameters)? };
        match Self::all().any(|known| known == blocks) {
            true => Ok(blocks),
            false => Err(AttributeError::expected("block sizes of a product", parameters)),
        }
    }

    /// Factor by which a product takes longer with these sizes than with all threads busy and operands read once: the
    /// threads that the last tasks leave idle, and the operands that each task reads again.
    pub fn slowdown(self, product: Extent, target: &Target) -> f64 {
        let panels = (product.columns / WIDTH as f64).ceil().max(1.0);
        let (own_rows, own_panels) = ((self.rows as f64).min(product.rows.max(1.0)), (self.panels as f64).min(panels));
        let (row_blocks, panel_blocks) = ((product.rows / own_rows).ceil().max(1.0), (panels / own_panels).ceil());
        let units = target.units.max(1) as f64;
        let waves = (row_blocks * panel_blocks / units).ceil();
        let busy = product.rows.max(1.0) * panels / (waves * units * own_rows * own_panels);
        // Seconds of arithmetic, of reading the operands for each task, and of adding up blocks of the inner dimension.
        let peak = target.peak(DataType::F32).unwrap_or(1e11) * units;
        let arithmetic = 2.0 * product.rows * product.columns * product.inner / peak;
        let again = 4.0 * (product.rows * product.inner * panel_blocks + product.columns * product.inner * row_blocks);
        let sums = 8.0 * product.rows * product.columns * ((product.inner / self.inner as f64).ceil() - 1.0).max(0.0);
        let bandwidth = target.bytes_per_second.max(1e9) * units * NEAR;
        let ideal = arithmetic.max(f64::MIN_POSITIVE);
        (1.0 / busy.min(1.0)) * (1.0 + (again + sums) / bandwidth / ideal)
    }
}

/// The model is coarse: other sizes than the default must be better by this factor.
const WORTH: f64 = 1.1;
/// How much faster the second-level cache of one unit is than the memory of all.
const NEAR: f64 = 8.0;

/// The candidates of a product, each with the factor of its estimate, which is 1 for the default sizes.
pub fn candidates(problem: &Problem<'_>, product: Extent) -> Vec<(Attr, f64)> {
    let usual = Blocks::default().slowdown(product, problem.target);
    let relative = |blocks: Blocks| {
        let margin = if blocks == Blocks::default() { 1.0 } else { WORTH };
        (blocks.parameters(), margin * blocks.slowdown(product, problem.target) / usual)
    };
    let mut all: Vec<(Attr, f64)> = Blocks::all().map(relative).collect();
    all.sort_by(|a, b| a.1.total_cmp(&b.1));
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tier::Tier;

    #[test]
    fn parameters_read_back() {
        assert_eq!(Blocks::all().count(), 12);
        for blocks in Blocks::all() {
            assert_eq!(Blocks::of_parameters(&blocks.parameters()), Ok(blocks));
        }
        assert_eq!(Blocks::default().parameters(), Attr::Absent);
        for rows in [0, 7, usize::MAX] {
            assert!(Blocks::of_parameters(&Blocks { rows, ..Blocks::default() }.to_attr()).is_err());
        }
        assert!(Blocks::of_parameters(&Attr::Bool(true)).is_err());
    }

    #[test]
    fn small_products_are_cut_smaller_for_many_threads() {
        let product = Extent { rows: 96.0, columns: 144.0, inner: 512.0 };
        let best = |threads: usize| {
            let target = Tier::Avx512.target(threads);
            let slowdown = |blocks: &Blocks| blocks.slowdown(product, &target);
            Blocks::all().min_by(|a, b| slowdown(a).total_cmp(&slowdown(b))).expect("twelve choices")
        };
        assert_eq!(best(1), Blocks::default(), "one thread waits for no other");
        let many = best(8);
        assert!(many.rows < 96 || many.panels < 9, "{many:?}");
    }
}
