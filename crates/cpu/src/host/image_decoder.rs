//! `cpu.image.decode`: pixels of an encoded image, by the library `image`. Its limits bound the memory that a small file
//! can ask for.

use std::io::Cursor;

use image::ImageReader;
use sinter_backend::{KernelError, Numerics, Refusal, Region, ValueKernel};
use sinter_base::{Tensor, Value};
use sinter_ops::OpKind;
use sinter_ops::host::PixelFormat;

use crate::launch::Loaded;
use crate::only_operator;
use crate::tactic::{Row, Speed};
use crate::values::{data, tensor};

/// See the module documentation.
pub const DECODE: Row = Row {
    name: "cpu.image.decode",
    roots: &[OpKind::ImageDecoder],
    numerics: Numerics::Exact,
    in_place: &[],
    speed: Speed::SCALAR,
    kernel,
};

fn kernel(region: &Region) -> Result<Loaded, Refusal> {
    let format = only_operator!(region, ImageDecoder).format;
    Ok(Loaded::Values(Box::new(Decode { format })))
}

struct Decode {
    format: PixelFormat,
}

/// Luminance with its weights in 16 bits; they add up to one, so the result fits a byte.
fn luminance(red: u8, green: u8, blue: u8) -> u8 {
    let sum = u32::from(red) * 19595 + u32::from(green) * 38470 + u32::from(blue) * 7471;
    ((sum + 32768) / 65536) as u8
}

impl ValueKernel for Decode {
    fn run(&self, inputs: &[Option<Value>]) -> Result<Vec<Value>, KernelError> {
        let x = tensor(inputs, 0)?;
        let bytes = x.elements::<u8>().map_err(data)?;
        let is_jpeg_2000 = bytes.get(4..8) == Some(b"jP  ") || bytes.starts_with(&[0xff, 0x4f, 0xff, 0x51]);
        if is_jpeg_2000 {
            return Err(data(format!("images in JPEG 2000 format are not supported ({} bytes given)", bytes.len())));
        }
        let is_grey = self.format == PixelFormat::Grayscale;
        let channels = if is_grey { 1 } else { 3 };
        let reader = ImageReader::new(Cursor::new(&*bytes)).with_guessed_format().ok();
        let Some(decoded) = reader.and_then(|reader| reader.decode().ok()) else {
            // Bytes that are no image give an empty one.
            return Ok(vec![Tensor::from_vec(&[0, 0, channels], Vec::<u8>::new()).map_err(data)?.into()]);
        };
        let sizes = [decoded.height() as usize, decoded.width() as usize, channels];
        let pixels = if is_grey && !decoded.color().has_color() {
            decoded.into_luma8().into_raw()
        } else {
            let mut rgb = decoded.into_rgb8().into_raw();
            match self.format {
                PixelFormat::Rgb => {}
                PixelFormat::Bgr => rgb.chunks_exact_mut(3).for_each(|pixel| pixel.swap(0, 2)),
                PixelFormat::Grayscale => {
                    rgb = rgb.chunks_exact(3).map(|pixel| luminance(pixel[0], pixel[1], pixel[2])).collect();
                }
            }
            rgb
        };
        Ok(vec![Tensor::from_vec(&sizes, pixels).map_err(data)?.into()])
    }
}
