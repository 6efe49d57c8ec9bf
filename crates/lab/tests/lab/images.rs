//! What is read from image files of every kind.

use image::{DynamicImage, ExtendedColorType, ImageEncoder, ImageFormat};
use kernelscope_lab::data::{Dataset, Image, ImageFolder, Reading, list_images};
use std::io::Cursor;
use std::path::{Path, PathBuf};

/// The two colors of the images in `tests/fixtures`, 8x8 pixels each.
const COLORS: [[u8; 3]; 2] = [[200, 30, 60], [10, 180, 90]];

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// A file with this content in a folder of its own.
struct File {
    /// Removes itself with the file.
    _folder: tempfile::TempDir,
    path: PathBuf,
}

impl File {
    fn new(name: &str, content: impl AsRef<[u8]>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        File { _folder: folder, path }
    }

    fn open(&self) -> Image {
        Image::open(&self.path).unwrap()
    }

    fn error(&self) -> String {
        Image::open(&self.path).unwrap_err().to_string()
    }
}

fn encoded(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.into().write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// Two blocks of 8x8 pixels, as in the fixtures.
fn blocks() -> image::RgbImage {
    image::RgbImage::from_fn(16, 8, |x, _| image::Rgb(COLORS[x as usize / 8]))
}

fn assert_near(image: &Image, colors: [[u8; 3]; 2], tolerance: u8, what: &str) {
    assert_eq!((image.height, image.width), (8, 16), "{what}");
    for (x, expected) in [4, 12].into_iter().zip(colors) {
        let found = image.pixel(4, x);
        let apart = found.iter().zip(expected).map(|(a, b)| a.abs_diff(b)).max().unwrap();
        assert!(apart <= tolerance, "{what}: {found:?} at column {x}, expected {expected:?}");
    }
}

#[test]
fn four_inks_are_read_as_pillow_reads_them() {
    // What Pillow 13.0 makes of these files; make_images.py prints it. Both round differently.
    let inks = [[51, 207, 180], [149, 46, 100]];
    let turned = [[98, 235, 26], [0, 11, 63]];
    for (name, colors) in [("cmyk", inks), ("inks", inks), ("ycck", turned)] {
        for kind in ["", "-progressive"] {
            let name = format!("{name}{kind}.jpg");
            assert_near(&Image::open(fixture(&name)).unwrap(), colors, 2, &name);
        }
    }
}

#[test]
fn progressive_images_and_the_first_frames_of_animations_are_read() {
    assert_near(&Image::open(fixture("progressive.jpg")).unwrap(), COLORS, 3, "progressive JPEG");
    assert_near(&Image::open(fixture("animated.webp")).unwrap(), COLORS, 0, "animated WebP");
    let mut bytes = Vec::new();
    let mut encoder = image::codecs::gif::GifEncoder::new(&mut bytes);
    for color in [None, Some([0, 0, 255, 255])] {
        let first = DynamicImage::from(blocks()).into_rgba8();
        let frame = color.map_or(first, |color| image::RgbaImage::from_pixel(16, 8, image::Rgba(color)));
        encoder.encode_frame(image::Frame::new(frame)).unwrap();
    }
    drop(encoder);
    assert_near(&File::new("two.gif", bytes).open(), COLORS, 4, "animated GIF");
}

#[test]
fn the_content_decides_and_not_the_name() {
    for format in [ImageFormat::Png, ImageFormat::Bmp, ImageFormat::WebP, ImageFormat::Tiff] {
        let file = File::new("photo.jpg", encoded(blocks(), format));
        assert_near(&file.open(), COLORS, 0, &format!("{format:?}"));
    }
    assert_near(&File::new("photo.png", encoded(blocks(), ImageFormat::Jpeg)).open(), COLORS, 12, "JPEG");
    assert_near(&File::new("no ending", encoded(blocks(), ImageFormat::Png)).open(), COLORS, 0, "no ending");
}

#[test]
fn deep_images_are_scaled_and_not_clipped() {
    let values = [0, 128, 129, 0x8000, 0xFF00, 0xFFFF];
    let deep = image::ImageBuffer::<image::Luma<u16>, _>::from_fn(6, 1, |x, _| image::Luma([values[x as usize]]));
    for format in [ImageFormat::Png, ImageFormat::Tiff] {
        let image = File::new("deep", encoded(DynamicImage::ImageLuma16(deep.clone()), format)).open();
        let found: Vec<u8> = (0..6).map(|x| image.pixel(0, x)[0]).collect();
        assert_eq!(found, [0, 0, 1, 128, 254, 255], "{format:?}");
    }
}

/// A gray TIFF of floats, one row.
fn floats(values: &[f32]) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    let mut encoder = tiff::encoder::TiffEncoder::new(&mut bytes).unwrap();
    encoder.write_image::<tiff::encoder::colortype::Gray32Float>(values.len() as u32, 1, values).unwrap();
    bytes.into_inner()
}

#[test]
fn floats_are_scaled_from_the_range_that_holds_them() {
    for (values, expected) in [
        (&[0.0, 0.5, 1.0][..], &[0, 128, 255][..]),
        (&[0.25, 0.5], &[64, 128]),
        (&[0.0, 100.0, 255.0], &[0, 100, 255]),
        (&[0.0, 2.0], &[0, 2]),
        (&[0.0, 32_768.0, 65_535.0], &[0, 128, 255]),
        (&[-1.0, 0.0, 1.0], &[0, 128, 255]),
        (&[0.0, 50_000.0, 100_000.0], &[0, 128, 255]),
        (&[-3.0, -3.0], &[0, 0]),
        (&[f32::MIN, 0.0, f32::MAX], &[0, 128, 255]),
    ] {
        let gray = File::new("gray.tif", floats(values)).open();
        let found: Vec<u8> = (0..values.len()).map(|x| gray.pixel(0, x)[1]).collect();
        assert_eq!(found, expected, "{values:?}");
        let color = image::Rgb32FImage::from_fn(values.len() as u32, 1, |x, _| image::Rgb([values[x as usize]; 3]));
        let color = File::new("color.tif", encoded(DynamicImage::ImageRgb32F(color), ImageFormat::Tiff)).open();
        assert_eq!(color, gray, "{values:?}");
    }
    for bad in [f32::NAN, f32::INFINITY] {
        let error = File::new("bad.tif", floats(&[0.5, bad])).error();
        assert!(error.contains("bad.tif") && error.contains("not finite"), "{error}");
    }
    // Whole numbers of 32 bits.
    let mut bytes = Cursor::new(Vec::new());
    let mut encoder = tiff::encoder::TiffEncoder::new(&mut bytes).unwrap();
    encoder.write_image::<tiff::encoder::colortype::Gray32>(3, 1, &[0, 1 << 31, u32::MAX]).unwrap();
    let image = File::new("whole.tif", bytes.into_inner()).open();
    assert_eq!([0, 1, 2].map(|x| image.pixel(0, x)[2]), [0, 128, 255]);
}

/// A PNG of one row, from its indices or gray values.
fn png_row(color: png::ColorType, depth: png::BitDepth, width: u32, row: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, 1);
    encoder.set_color(color);
    encoder.set_depth(depth);
    if color == png::ColorType::Indexed {
        encoder.set_palette([200, 30, 60, 10, 180, 90, 1, 2, 3].to_vec());
        encoder.set_trns([0, 128].to_vec());
    }
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(row).unwrap();
    drop(writer);
    bytes
}

#[test]
fn palettes_few_bits_and_transparency_become_colors() {
    let indexed = png_row(png::ColorType::Indexed, png::BitDepth::Two, 4, &[0b00_01_10_01]);
    let image = File::new("palette.png", indexed).open();
    let colors = [0, 1, 2, 3].map(|x| image.pixel(0, x));
    assert_eq!(colors, [COLORS[0], COLORS[1], [1, 2, 3], COLORS[1]], "the colors below transparency");
    let bits = png_row(png::ColorType::Grayscale, png::BitDepth::One, 5, &[0b1010_1000]);
    let image = File::new("bits.png", bits).open();
    assert_eq!([0, 1, 2, 3, 4].map(|x| image.pixel(0, x)), [[255; 3], [0; 3], [255; 3], [0; 3], [255; 3]]);
    let mut bytes = Vec::new();
    let encoder = image::codecs::png::PngEncoder::new(&mut bytes);
    encoder.write_image(&[9, 0, 7, 255], 2, 1, ExtendedColorType::La8).unwrap();
    let image = File::new("alpha.png", bytes).open();
    assert_eq!([image.pixel(0, 0), image.pixel(0, 1)], [[9; 3], [7; 3]]);
}

/// A JPEG with an EXIF segment that holds nothing but an orientation.
fn oriented(value: u8) -> Vec<u8> {
    let jpeg = encoded(blocks(), ImageFormat::Jpeg);
    let header = [b'I', b'I', 42, 0, 8, 0, 0, 0, 1, 0];
    let entry = [0x12, 0x01, 3, 0, 1, 0, 0, 0, value, 0, 0, 0];
    let exif = [&b"Exif\0\0"[..], &header, &entry, &[0; 4]].concat();
    let length = (exif.len() as u16 + 2).to_be_bytes();
    [&jpeg[..2], &[0xFF, 0xE1], &length, &exif, &jpeg[2..]].concat()
}

#[test]
fn orientations_are_applied_on_request() {
    // Where the first block is, by EXIF's table: row 0 of the file is at the named side, column 0 at the other.
    for (value, tall, first) in [
        (1, false, (4, 4)),
        (2, false, (4, 12)),
        (3, false, (4, 12)),
        (4, false, (4, 4)),
        (5, true, (4, 4)),
        (6, true, (4, 4)),
        (7, true, (12, 4)),
        (8, true, (12, 4)),
        (9, false, (4, 4)),
    ] {
        let file = File::new("photo.jpg", oriented(value));
        assert_near(&file.open(), COLORS, 12, &format!("orientation {value}, ignored"));
        let image = Reading { exif: true, ..Reading::default() }.open(&file.path).unwrap();
        let sides = if tall { (16, 8) } else { (8, 16) };
        assert_eq!((image.height, image.width), sides, "orientation {value}");
        let (row, column) = first;
        let found = image.pixel(row, column);
        assert!(found.iter().zip(COLORS[0]).all(|(a, b)| a.abs_diff(b) <= 12), "orientation {value}: {found:?}");
    }
}

#[test]
fn what_is_cut_off_is_refused() {
    let mut noise = image::RgbImage::new(64, 48);
    for (index, pixel) in noise.pixels_mut().enumerate() {
        *pixel = image::Rgb([(index * 31 % 251) as u8, (index * 17 % 241) as u8, (index * 7 % 239) as u8]);
    }
    for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::Bmp, ImageFormat::WebP, ImageFormat::Gif] {
        let whole = encoded(noise.clone(), format);
        File::new("whole", &whole).open();
        for part in [whole.len() / 2, whole.len() * 9 / 10] {
            let file = File::new("cut.img", &whole[..part]);
            let error = file.error();
            assert!(error.contains("cut.img") && error.contains("decode"), "{format:?}: {error}");
        }
    }
    let progressive = std::fs::read(fixture("progressive.jpg")).unwrap();
    for length in [progressive.len() - 2, progressive.len() * 2 / 3] {
        let error = File::new("cut.jpg", &progressive[..length]).error();
        assert!(error.contains("cut off") && error.contains("end marker"), "{error}");
    }
}

#[test]
fn what_is_no_image_is_said() {
    for (name, content, part) in [
        ("nothing.png", &b""[..], "is empty"),
        ("page.jpg", b"<!DOCTYPE html><html>", "not an image"),
        ("photo.avif", b"\0\0\0\x1cftypavif\0\0\0\0", "Avif"),
    ] {
        let error = File::new(name, content).error();
        assert!(error.contains(name) && error.contains(part), "{error}");
    }
    let folder = tempfile::tempdir().unwrap();
    let error = Image::open(folder.path()).unwrap_err().to_string();
    assert!(error.contains("is a folder"), "{error}");
}

#[cfg(unix)]
#[test]
fn a_named_pipe_is_no_image() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe.png");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    if made.is_ok_and(|status| status.success()) {
        let error = Image::open(&pipe).unwrap_err().to_string();
        assert!(error.contains("pipe.png") && error.contains("not a regular file"), "{error}");
    }
}

/// A PNG that says it has these sides, and has no pixel.
fn huge_png(side: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, side, side);
    encoder.set_color(png::ColorType::Rgb);
    let mut writer = encoder.write_header().unwrap();
    writer.write_chunk(png::chunk::IDAT, &[0x78, 0x9C, 3, 0, 0, 0, 0, 1]).unwrap();
    drop(writer);
    bytes
}

#[test]
fn too_many_pixels_are_refused_before_they_are_decoded() {
    let error = File::new("huge.png", huge_png(20_000)).error();
    for part in ["max_pixels: got 178956970", "huge.png", "20000x20000", "at least 400000000"] {
        assert!(error.contains(part), "no {part:?} in {error}");
    }
    let file = File::new("small.png", encoded(blocks(), ImageFormat::Png));
    let most = |max_pixels| Reading { max_pixels, ..Reading::default() };
    assert!(most(128).open(&file.path).is_ok());
    assert!(most(127).open(&file.path).unwrap_err().to_string().contains("at least 128"));
    let gray = File::new("gray.tif", floats(&[0.5; 9]));
    assert!(most(9).open(&gray.path).is_ok());
    assert!(most(8).open(&gray.path).unwrap_err().to_string().contains("9x1 pixels"));
    assert!(most(0).check().unwrap_err().to_string().contains("max_pixels"));
}

#[test]
fn broken_files_are_told_apart_before_long_work() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("class")).unwrap();
    for index in 0..6 {
        let content = if index % 3 == 1 { Vec::new() } else { encoded(blocks(), ImageFormat::Png) };
        std::fs::write(folder.path().join(format!("class/{index}.png")), content).unwrap();
    }
    let files = list_images(folder.path()).unwrap();
    let error = Reading::default().sift(files.clone(), PathBuf::as_path).unwrap_err().to_string();
    assert!(error.contains("1.png") && error.contains("empty"), "{error}");
    let skip = Reading { skip_broken: true, ..Reading::default() };
    let (kept, broken) = skip.sift(files.clone(), PathBuf::as_path).unwrap();
    assert_eq!(kept, [0, 2, 3, 5].map(|i| files[i].clone()));
    let names: Vec<&str> = broken.iter().map(|b| b.path.rsplit('/').next().unwrap()).collect();
    assert_eq!(names, ["1.png", "4.png"]);
    let error = skip.sift(vec![files[1].clone()], PathBuf::as_path).unwrap_err().to_string();
    assert!(error.contains("1.png"), "without any image there is nothing to go on with: {error}");
    let set = ImageFolder::open(folder.path()).unwrap().with_reading(Reading { max_pixels: 1, ..skip });
    assert!(set.get(0).unwrap_err().to_string().contains("max_pixels"), "the set reads as it is told");
}
