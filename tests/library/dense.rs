//! Dense convolutions, on squares and along lines, against plain loops.

use crate::common::{max_abs_diff, random, values};
use candle_core::{DType, Var};
use kernelscope::nn::{BuildOptions, Builder, DenseConv};
use kernelscope::ops::oriented1d::{Options, channel_angles};

#[test]
fn a_dense_oriented_convolution_is_its_loops() {
    let (outputs, inputs, taps, stride, height, width) = (4, 3, 5, 4, 8, 12);
    let builder = Builder::new(BuildOptions::default());
    let theta = channel_angles(outputs, outputs, 0.0).unwrap();
    let options = Options { stride, ..Options::default() };
    let layer = DenseConv::oriented(&builder.root().child("stem"), inputs, theta.clone(), taps, true, options).unwrap();
    let params = builder.finish().unwrap();
    let set = |name: &str, shape: &[usize]| {
        let value = random(name, shape);
        params.get(name).unwrap().var.set(&value).unwrap();
        values(&value)
    };
    let (w, bias) = (set("stem.weight", &[outputs, inputs, 1, taps]), set("stem.bias", &[outputs]));
    let image = random("image", &[2, inputs, height, width]);
    let x = values(&image);
    let at = |n: usize, i: usize, row: i64, col: i64| {
        let inside = (0..height as i64).contains(&row) && (0..width as i64).contains(&col);
        if inside { x[((n * inputs + i) * height + row as usize) * width + col as usize] } else { 0.0 }
    };
    let mut expected = Vec::new();
    for n in 0..2 {
        for o in 0..outputs {
            let (sin, cos) = (f64::from(theta[o]).sin() as f32, f64::from(theta[o]).cos() as f32);
            for p in 0..height / stride {
                for q in 0..width / stride {
                    let mut y = bias[o];
                    for i in 0..inputs {
                        for k in 0..taps {
                            let t = k as f32 - (taps / 2) as f32;
                            let (dh, dw) = ((-sin * t).trunc() as i64, (cos * t).trunc() as i64);
                            let pixel = at(n, i, (stride * p) as i64 + dh, (stride * q) as i64 + dw);
                            y += w[(o * inputs + i) * taps + k] * pixel;
                        }
                    }
                    expected.push(y);
                }
            }
        }
    }
    let y = layer.forward(&image).unwrap();
    assert_eq!(y.dims(), [2, outputs, height / stride, width / stride]);
    let off = max_abs_diff(&values(&y), &expected);
    assert!(off < 1e-5, "off by {off:e}");
}

#[test]
fn a_dense_square_convolution_is_its_loops() {
    for (side, stride, height, width, bias) in [
        (3, 2, 8, 12, false),
        (3, 2, 7, 5, true),
        (3, 1, 4, 3, true),
        (5, 3, 9, 11, false),
        (1, 2, 5, 4, true),
        (7, 4, 1, 2, true),
    ] {
        let (outputs, inputs, n) = (4, 3, 2);
        let builder = Builder::new(BuildOptions { dtype: DType::F64, ..BuildOptions::default() });
        let layer = DenseConv::square(&builder.root().child("stem"), inputs, outputs, side, stride, bias).unwrap();
        let params = builder.finish().unwrap();
        let double = |name: &str, shape: &[usize]| random(name, shape).to_dtype(DType::F64).unwrap();
        let set = |name: &str, shape: &[usize]| {
            let value = double(name, shape);
            params.get(name).unwrap().var.set(&value).unwrap();
            values(&value)
        };
        let w = set("stem.weight", &[outputs, inputs, side, side]);
        let b = if bias { set("stem.bias", &[outputs]) } else { vec![0.0; outputs] };
        let image = Var::from_tensor(&double("image", &[n, inputs, height, width])).unwrap();
        let x = values(&image);
        let (rows, cols) = (height.div_ceil(stride), width.div_ceil(stride));
        let cotangent = double("cotangent", &[n, outputs, rows, cols]);
        let dy = values(&cotangent);
        let (mut y, mut dx) = (Vec::new(), vec![0.0; x.len()]);
        for (index, dy) in dy.iter().enumerate() {
            let (image, o, p, q) =
                (index / (outputs * rows * cols), index / (rows * cols) % outputs, index / cols % rows, index % cols);
            let mut sum = b[o];
            for tap in 0..inputs * side * side {
                let (i, j, k) = (tap / (side * side), tap / side % side, tap % side);
                let (Some(row), Some(col)) =
                    ((stride * p + j).checked_sub(side / 2), (stride * q + k).checked_sub(side / 2))
                else {
                    continue;
                };
                if row < height && col < width {
                    let (pixel, weight) =
                        (((image * inputs + i) * height + row) * width + col, w[o * inputs * side * side + tap]);
                    sum += weight * x[pixel];
                    dx[pixel] += weight * dy;
                }
            }
            y.push(sum);
        }
        let output = layer.forward(image.as_tensor()).unwrap();
        let case = format!("{side}x{side} / {stride} on {height}x{width}");
        assert_eq!(output.dims(), [n, outputs, rows, cols], "{case}");
        assert!(max_abs_diff(&values(&output), &y) < 1e-12, "{case}");
        let grads = (output * cotangent).unwrap().sum_all().unwrap().backward().unwrap();
        assert!(max_abs_diff(&values(grads.get(image.as_tensor()).unwrap()), &dx) < 1e-12, "{case}: gradient");
    }
}
