//! Pixels of an encoded image.
//!
//! Input: the bytes of a BMP, JPEG, PNG, PNM, TIFF or WebP file, [n] u8. Result: [height, width, channels] u8, channels
//! red, green, blue, or the reverse, or one of luminance (0.299 R + 0.587 G + 0.114 B). Transparency is dropped. Bytes
//! that cannot be decoded give [0, 0, channels]; JPEG 2000 is an error. Source: ONNX ImageDecoder-20.

use std::io::Cursor;

use image::{DynamicImage, ImageReader};
use sinter_base::{Attributes, DataType, Dim, Tensor, Value, ValueType};

use crate::error::{EvalError, InferError};
use crate::evaluate::EvalContext;
use crate::example::Example;
use crate::infer::InferContext;
use crate::invalid;
use crate::operands::{Arguments, Operands};
use crate::operator::Operator;

/// Channels of the result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Attributes)]
pub enum PixelFormat {
    /// Red, green, blue.
    #[default]
    Rgb,
    /// Blue, green, red.
    Bgr,
    /// Luminance.
    Grayscale,
}

/// See the module documentation.
#[derive(Clone, Debug, Default, PartialEq, Attributes)]
pub struct ImageDecoder {
    /// Channels of the result.
    pub format: PixelFormat,
}

impl ImageDecoder {
    fn channels(&self) -> usize {
        if self.format == PixelFormat::Grayscale { 1 } else { 3 }
    }

    fn pixels(&self, image: &DynamicImage) -> Vec<u8> {
        if self.format == PixelFormat::Grayscale && !image.color().has_color() {
            return image.to_luma8().into_raw();
        }
        let rgb = image.to_rgb8().into_raw();
        let pixels = rgb.chunks_exact(3);
        match self.format {
            PixelFormat::Rgb => rgb,
            PixelFormat::Bgr => pixels.flat_map(|p| [p[2], p[1], p[0]]).collect(),
            PixelFormat::Grayscale => pixels
                .map(|p| {
                    // The weights in 16 bits, rounded to nearest; their sum is 65536, so the result fits.
                    let sum = 19595 * u32::from(p[0]) + 38470 * u32::from(p[1]) + 7471 * u32::from(p[2]) + 0x8000;
                    u8::try_from(sum >> 16).unwrap_or(u8::MAX)
                })
                .collect(),
        }
    }
}

/// First bytes of JPEG 2000 files and streams, which this decoder does not know.
const JPEG_2000: [&[u8]; 2] = [b"\x00\x00\x00\x0cjP  ", b"\xff\x4f\xff\x51"];

fn decode(bytes: &[u8]) -> Option<DynamicImage> {
    // The reader's own limits bound the memory that a small file can ask for.
    ImageReader::new(Cursor::new(bytes)).with_guessed_format().ok()?.decode().ok()
}

impl Operator for ImageDecoder {
    const NAME: &'static str = "ImageDecoder";

    fn infer(&self, inputs: &Operands<'_>, cx: &mut InferContext) -> Result<Vec<ValueType>, InferError> {
        inputs.data_type_where(0, "u8", |t| t == DataType::U8)?;
        if let Some(rank) = inputs.tensor(0)?.shape.rank().filter(|rank| *rank != 1) {
            return Err(InferError::Rank { index: 0, expected: "1".to_owned(), found: rank });
        }
        let dims = vec![cx.fresh("height"), cx.fresh("width"), Dim::from(self.channels())];
        Ok(vec![ValueType::tensor(DataType::U8, dims)])
    }

    fn reference(&self, inputs: &Arguments<'_>, _cx: &EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let bytes = inputs.tensor(0)?.elements::<u8>()?;
        let channels = self.channels();
        if JPEG_2000.iter().any(|start| bytes.starts_with(start)) {
            invalid!(eval: "images in JPEG 2000 format are not supported ({} bytes given)", bytes.len());
        }
        let Some(image) = decode(&bytes) else {
            return Ok(vec![Tensor::from_vec(&[0, 0, channels], Vec::<u8>::new())?.into()]);
        };
        let sizes = [image.height(), image.width()].map(|s| usize::try_from(s).unwrap_or(usize::MAX));
        Ok(vec![Tensor::from_vec(&[sizes[0], sizes[1], channels], self.pixels(&image))?.into()])
    }

    fn examples() -> Vec<Example> {
        let bytes = |bytes: &[u8]| Tensor::from_vec(&[bytes.len()], bytes.to_vec()).expect("one dimension");
        let op = |format| ImageDecoder { format };
        let colours = b"P6 2 1 255\n\x01\x02\x03\xff\x80\x00";
        vec![
            Example::new("colours", op(PixelFormat::Rgb)).tensor(bytes(colours)),
            Example::new("colours reversed", op(PixelFormat::Bgr)).tensor(bytes(colours)),
            Example::new("luminance", op(PixelFormat::Grayscale)).tensor(bytes(colours)),
            Example::new("grey as colours", op(PixelFormat::Rgb)).tensor(bytes(b"P5 1 2 255\n\x07\xfe")),
            Example::new("no image", op(PixelFormat::Bgr)).tensor(bytes(b"nothing of the kind")),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infer::reference_of;

    #[test]
    fn pixel_formats() {
        let file = b"P6 1 1 255\n\x64\xc8\x32";
        let x = Tensor::from_vec(&[file.len()], file.to_vec()).unwrap();
        let run = |format| reference_of(&ImageDecoder { format }, &[&x]).unwrap()[0].to_i64();
        assert_eq!(run(PixelFormat::Rgb), [100, 200, 50]);
        assert_eq!(run(PixelFormat::Bgr), [50, 200, 100]);
        // 29.9 + 117.4 + 5.7
        assert_eq!(run(PixelFormat::Grayscale), [153]);
    }

    #[test]
    fn what_is_no_image_is_empty() {
        let x = Tensor::from_vec(&[3], vec![1u8, 2, 3]).unwrap();
        assert_eq!(reference_of(&ImageDecoder::default(), &[&x]).unwrap()[0].sizes(), [0, 0, 3]);
    }
}
