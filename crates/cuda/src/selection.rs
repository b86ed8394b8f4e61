//! The device that a user names: `1`, `GPU-...` or `MIG-...`, `sm_90a`.

use sinter_backend::KernelError;

use crate::driver::{DeviceInfo, context};
use crate::target::{CHIPS, Chip};

/// A device of this machine, or a kind of device elsewhere.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Selection {
    /// The device of this number.
    Number(usize),
    /// A typical board with this chip.
    Kind(&'static Chip),
}

impl Selection {
    /// Reads a user's choice. The driver need not be there for a number, which counts from 0, nor for a chip.
    ///
    /// # Errors
    /// For any other text, and for an identifier that no device, or more than one, begins with.
    pub fn of(text: &str) -> Result<Self, KernelError> {
        if let Ok(number) = text.parse() {
            return Ok(Self::Number(number));
        }
        if let Some(chip) = Chip::named(text) {
            return Ok(Self::Kind(chip));
        }
        if !text.starts_with("GPU-") && !text.starts_with("MIG-") {
            let chips: Vec<&str> = CHIPS.iter().map(|chip| chip.isa).collect();
            return Err(KernelError::Device(format!(
                "'{text}' names no CUDA device: give its number, its identifier (GPU-... or MIG-... of `nvidia-smi -L`), or one \
                 of {} to build for a device elsewhere",
                chips.join(", ")
            )));
        }
        let mut infos = Vec::new();
        for ordinal in 0..context::device_count()? {
            infos.push(context::device_info(ordinal)?);
        }
        Self::identified(text, &infos)
    }

    /// The device whose identifier begins with this text.
    fn identified(text: &str, infos: &[DeviceInfo]) -> Result<Self, KernelError> {
        let mut fitting = infos.iter().enumerate().filter(|(_, info)| info.uuid.starts_with(text));
        match (fitting.next(), fitting.next()) {
            (Some((ordinal, _)), None) => Ok(Self::Number(ordinal)),
            (first, _) => {
                let known: Vec<&str> = infos.iter().map(|info| info.uuid.as_str()).collect();
                let count = if first.is_some() { "several CUDA devices have" } else { "no CUDA device has" };
                Err(KernelError::Device(format!(
                    "{count} an identifier that begins with '{text}'; the driver offers {}",
                    known.join(", ")
                )))
            }
        }
    }
}

/// A device as a person reads it.
pub(crate) fn describe(info: &DeviceInfo) -> String {
    let DeviceInfo { name, uuid, capability: (major, minor), multiprocessors, memory, .. } = info;
    let gibibytes = *memory as f64 / f64::from(1 << 30);
    format!("{name}, compute capability {major}.{minor}, {multiprocessors} multiprocessors, {gibibytes:.1} GiB, {uuid}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(uuid: &str) -> DeviceInfo {
        DeviceInfo {
            name: "a device".to_owned(),
            uuid: uuid.to_owned(),
            capability: (9, 0),
            multiprocessors: 132,
            memory: 141 << 30,
            clock: 1,
            memory_clock: 1,
            bus_width: 1,
            cache: 1,
            shared_memory: 1,
            has_pools: true,
        }
    }

    #[test]
    fn numbers_and_chips_need_no_driver() {
        assert_eq!(Selection::of("3"), Ok(Selection::Number(3)));
        assert!(matches!(Selection::of("sm_90a"), Ok(Selection::Kind(chip)) if chip.isa == "sm_90a"));
        let wrong = Selection::of("sm_1").expect_err("no chip").to_string();
        assert!(wrong.contains("sm_1") && wrong.contains("sm_120a"), "{wrong}");
        assert!(Selection::of("-1").is_err());
    }

    #[test]
    fn identifiers_may_be_short_and_must_be_unique() {
        let devices = [device("GPU-00aa"), device("GPU-00ab"), device("MIG-77")];
        assert_eq!(Selection::identified("GPU-00ab", &devices), Ok(Selection::Number(1)));
        assert_eq!(Selection::identified("MIG-", &devices), Ok(Selection::Number(2)));
        for wrong in ["GPU-00", "GPU-1"] {
            let reason = Selection::identified(wrong, &devices).expect_err("none or several").to_string();
            assert!(reason.contains("GPU-00aa, GPU-00ab, MIG-77"), "{reason}");
        }
    }

    #[test]
    fn a_description_names_what_users_compare() {
        let text = describe(&device("GPU-1"));
        assert_eq!(text, "a device, compute capability 9.0, 132 multiprocessors, 141.0 GiB, GPU-1");
    }
}
