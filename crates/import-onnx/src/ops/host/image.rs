//! ImageDecoder-20.

use sinter_ops::host::{ImageDecoder, PixelFormat};

use crate::context::{Imported, NodeContext};

/// ImageDecoder.
pub fn image_decoder(cx: &mut NodeContext<'_, '_>) -> Imported {
    let format = match cx.text("pixel_format", "RGB").as_str() {
        "RGB" => PixelFormat::Rgb,
        "BGR" => PixelFormat::Bgr,
        "Grayscale" => PixelFormat::Grayscale,
        other => return Err(cx.problem(format!("pixel_format '{other}' is unknown"))),
    };
    let x = cx.input(0)?;
    cx.add_all(ImageDecoder { format }, &[x])
}
