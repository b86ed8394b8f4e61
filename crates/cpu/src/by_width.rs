//! Code that moves elements without reading their values, instantiated for every width.

/// The unsigned type of a width in bytes under a name, for code that moves elements without looking at them.
#[macro_export]
macro_rules! by_width {
    ($width:expr, $t:ident => $body:expr) => {
        match $width {
            1 => {
                type $t = u8;
                $body
            }
            2 => {
                type $t = u16;
                $body
            }
            4 => {
                type $t = u32;
                $body
            }
            _ => {
                type $t = u64;
                $body
            }
        }
    };
}
