//! What a plan may do beyond running the operators of the network one by one.
//!
//! Where each step computes its region and the whole does not compute the network, no kernel is to blame. Then the build
//! gives up one freedom after the other, until the plan agrees, and says so.

/// Everything that is given up at last, the first thing first: parts of values, memory that values share, regions of several
/// operators and their layouts, passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Freedom {
    /// Concatenations and slices may lie in the memory of other values.
    pub(crate) parts: bool,
    /// Values that are not alive at once may lie in the same memory, and results in that of operands.
    pub(crate) shared_memory: bool,
    /// Several operators may be one region, in a layout of its own.
    pub(crate) regions: bool,
    /// Passes may change the network.
    pub(crate) passes: bool,
}

impl Freedom {
    /// All of them; parts only where the user wants them.
    pub(crate) fn all(parts: bool) -> Self {
        Self { parts, shared_memory: true, regions: true, passes: true }
    }

    /// Gives up the next one: its name; `None` when nothing is left.
    pub(crate) fn give_up(&mut self) -> Option<&'static str> {
        let all = [
            (&mut self.parts, "parts of values"),
            (&mut self.shared_memory, "shared memory"),
            (&mut self.regions, "regions of several operators"),
            (&mut self.passes, ALL_PASSES),
        ];
        let (freedom, name) = all.into_iter().find(|(freedom, _)| **freedom)?;
        *freedom = false;
        Some(name)
    }
}

/// Stands for all passes where no single one is to blame.
pub(crate) const ALL_PASSES: &str = "all passes";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_after_the_other() {
        let mut freedom = Freedom::all(false);
        let names: Vec<&str> = std::iter::from_fn(|| freedom.give_up()).collect();
        assert_eq!(names, ["shared memory", "regions of several operators", ALL_PASSES]);
        assert_eq!(Freedom::all(true).give_up(), Some("parts of values"));
    }
}
