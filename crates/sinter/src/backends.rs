//! THE list of back ends. Users can select only back ends of this list.

use sinter_backend::BackEnd;
use sinter_cpu::Cpu;
use sinter_cuda::Cuda;

/// Every back end, the default one first.
pub const BACK_ENDS: &[&dyn BackEnd] = &[&Cpu, &Cuda];

/// The back end that is used when the user names none.
pub fn default() -> &'static dyn BackEnd {
    &Cpu
}

/// The back end of this name.
pub fn by_name(name: &str) -> Option<&'static dyn BackEnd> {
    BACK_ENDS.iter().copied().find(|b| b.name() == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_leads_the_list_and_names_find_their_back_end() {
        assert_eq!(BACK_ENDS[0].name(), default().name());
        assert!(BACK_ENDS.iter().all(|b| by_name(b.name()).is_some_and(|found| found.name() == b.name())));
        assert!(by_name("abacus").is_none());
    }
}
