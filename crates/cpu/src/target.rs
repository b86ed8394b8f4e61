//! Results whose sizes depend on the contents of operands: known before the launch, or set by the kernel.

use sinter_backend::KernelError;
use sinter_base::ViewMut;

use crate::launch::Output;

/// The memory of a result of these sizes: its own where the sizes were known, else new.
///
/// # Errors
/// When the sizes differ from the known ones, or are too large.
pub fn placed<'t>(target: &'t mut Output<'_>, sizes: &'t [usize]) -> Result<ViewMut<'t>, KernelError> {
    let view = match target {
        Output::Dynamic(target) => return target.allocate(sizes),
        Output::View(view) => view,
    };
    if view.sizes() != sizes {
        let found = view.sizes();
        let message = format!("the operands ask for a result of sizes {sizes:?} where {found:?} were laid out");
        return Err(KernelError::Data(message));
    }
    ViewMut::new(view.data_type(), sizes, view.bytes()).map_err(|e| KernelError::Data(e.to_string()))
}
