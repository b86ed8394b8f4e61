//! Small grey images in the terminal.

/// From dark to bright.
const SHADES: [char; 5] = [' ', '░', '▒', '▓', '█'];

/// Space between images.
const GAP: &str = "   ";

/// Draws images of `width` pixels side by side, each pixel two characters wide; `brightest` is the largest value. A
/// caption stands under each.
pub fn side_by_side(images: &[&[f64]], width: usize, brightest: f64, captions: &[String]) -> String {
    let height = images.first().map_or(0, |image| image.len() / width.max(1));
    let mut text = String::new();
    for row in 0..height {
        let lines = images.iter().map(|image| {
            let pixels = image.iter().skip(row * width).take(width);
            pixels.flat_map(|pixel| [shade(*pixel, brightest); 2]).collect::<String>()
        });
        text.push_str(lines.collect::<Vec<_>>().join(GAP).trim_end());
        text.push('\n');
    }
    let captions = captions.iter().map(|caption| format!("{caption:<w$}", w = 2 * width));
    text.push_str(captions.collect::<Vec<_>>().join(GAP).trim_end());
    text
}

fn shade(pixel: f64, brightest: f64) -> char {
    let steps = (SHADES.len() - 1) as f64;
    let index = (pixel / brightest * steps).round().clamp(0.0, steps) as usize;
    SHADES[index]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_stand_beside_each_other_over_their_captions() {
        let (a, b) = ([0.0, 16.0, 8.0, 0.0], [16.0, 16.0, 4.0, 99.0]);
        let text = side_by_side(&[&a, &b], 2, 16.0, &["one".to_owned(), "two".to_owned()]);
        assert_eq!(text, "  ██   ████\n▒▒     ░░██\none    two");
    }
}
