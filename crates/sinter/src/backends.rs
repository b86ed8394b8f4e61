//! THE list of back ends. Users can select only back ends of this list.

use sinter_backend::BackEnd;
use sinter_cpu::Cpu;
use sinter_cuda::Cuda;

/// Every back end, the default one first.
pub const BACK_ENDS: &[&dyn BackEnd] = &[&Cpu, &Cuda::FIRST];

/// The back end that is used when the user names none.
pub fn default() -> &'static dyn BackEnd {
    &Cpu
}

/// The back end of this name.
pub fn by_name(name: &str) -> Option<&'static dyn BackEnd> {
    BACK_ENDS.iter().copied().find(|b| b.name() == name)
}

/// The back end and, behind a colon, the device that a user names: `cpu`, `cuda`, `cuda:1`, `cuda:sm_90a`. `None` for the device
/// that the back end takes by itself.
pub fn split_device(text: &str) -> (&str, Option<&str>) {
    text.split_once(':').map_or((text, None), |(name, device)| (name, Some(device)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_leads_the_list_and_names_find_their_back_end() {
        assert_eq!(BACK_ENDS[0].name(), default().name());
        assert!(BACK_ENDS.iter().all(|b| by_name(b.name()).is_some_and(|found| found.name() == b.name())));
        assert!(by_name("abacus").is_none());
        assert_eq!(split_device("cuda:MIG-1:2"), ("cuda", Some("MIG-1:2")));
        assert_eq!(split_device("cpu"), ("cpu", None));
    }
}
