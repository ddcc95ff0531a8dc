//! Factors to pixels. Edges are soft over one pixel, by the signed distance to the shape's outline.

use std::f32::consts::{FRAC_PI_2, PI, TAU};

use image::{Rgb, RgbImage};

use super::Factors;

/// The colours of [`super::COLOURS`].
const PALETTE: [[f32; 3]; 10] = [
    [0.90, 0.12, 0.12],
    [0.98, 0.55, 0.10],
    [0.95, 0.90, 0.15],
    [0.15, 0.75, 0.20],
    [0.10, 0.80, 0.85],
    [0.15, 0.30, 0.95],
    [0.55, 0.20, 0.85],
    [0.98, 0.50, 0.75],
    [0.97, 0.97, 0.97],
    [0.50, 0.30, 0.12],
];

/// The two greys of a background.
const DARK: f32 = 0.25;
const BRIGHT: f32 = 0.55;

/// Periods of a background's pattern across the image.
const PERIODS: f32 = 4.0;

type Point = [f32; 2];

pub(super) fn draw(factors: &Factors, size: u32) -> RgbImage {
    let outline = Outline::of(factors.shape);
    let pixel = 2.0 / size as f32;
    let (sin, cos) = factors.rotation.sin_cos();
    let (light_y, light_x) = factors.light_direction.sin_cos();
    let colour = PALETTE[factors.colour as usize];
    RgbImage::from_fn(size, size, |column, row| {
        let (x, y) = ((column as f32 + 0.5) * pixel - 1.0, (row as f32 + 0.5) * pixel - 1.0);
        // Into the shape's own frame: shifted, rotated back, scaled to unit size.
        let (dx, dy) = (x - factors.x, y - factors.y);
        let own = [(cos * dx + sin * dy) / factors.scale, (cos * dy - sin * dx) / factors.scale];
        let distance = outline.distance(own) * factors.scale / pixel;
        let cover = (0.5 - distance).clamp(0.0, 1.0);
        let grey = DARK + (BRIGHT - DARK) * texture(factors.texture, x, y, factors.phase);
        let light = factors.light * (1.0 + 0.25 * (x * light_x + y * light_y));
        Rgb(colour.map(|channel| {
            let value = light * (cover * channel + (1.0 - cover) * grey);
            (value.clamp(0.0, 1.0) * 255.0).round() as u8
        }))
    })
}

/// A shape within the unit circle.
enum Outline {
    Circle,
    Ring,
    Crescent,
    Half,
    Polygon(Vec<Point>),
}

impl Outline {
    /// The outline of an index into [`super::SHAPES`].
    fn of(shape: u32) -> Self {
        match super::SHAPES[shape as usize] {
            "circle" => Outline::Circle,
            "ring" => Outline::Ring,
            "crescent" => Outline::Crescent,
            "half" => Outline::Half,
            "square" => Outline::Polygon(vec![[-0.75, -0.75], [0.75, -0.75], [0.75, 0.75], [-0.75, 0.75]]),
            "bar" => Outline::Polygon(vec![[-1.0, -0.3], [1.0, -0.3], [1.0, 0.3], [-1.0, 0.3]]),
            "triangle" => Outline::Polygon(star(3, 0.5)),
            "star" => Outline::Polygon(star(5, 0.42)),
            "cross" => {
                let corners = [[0.3, 0.95], [0.3, 0.3], [0.95, 0.3]];
                let quarter = |turn: usize| corners.map(|corner| (0..turn).fold(corner, |[x, y], _| [y, -x]));
                Outline::Polygon((0..4).flat_map(quarter).collect())
            }
            "heart" => Outline::Polygon(
                (0..28)
                    .map(|i| {
                        let t = TAU * i as f32 / 28.0;
                        let x = 16.0 * t.sin().powi(3);
                        let y = 13.0 * t.cos() - 5.0 * (2.0 * t).cos() - 2.0 * (3.0 * t).cos() - (4.0 * t).cos();
                        [x / 17.0, -(y + 2.5) / 17.0]
                    })
                    .collect(),
            ),
            other => unreachable!("{other} has no outline"),
        }
    }

    /// Signed distance to the outline (for the crescent and the half a bound of it), negative inside.
    fn distance(&self, [x, y]: Point) -> f32 {
        let radius = x.hypot(y);
        match self {
            Outline::Circle => radius - 0.9,
            Outline::Ring => (radius - 0.75).abs() - 0.2,
            Outline::Crescent => (radius - 0.95).max(0.8 - (x - 0.45).hypot(y)),
            Outline::Half => (radius - 0.95).max(y - 0.05),
            Outline::Polygon(corners) => polygon_distance(corners, [x, y]),
        }
    }
}

/// A star of `points` points, whose dents lie at `dent` of its radius.
fn star(points: usize, dent: f32) -> Vec<Point> {
    (0..2 * points)
        .map(|i| {
            let (sin, cos) = (PI * i as f32 / points as f32 - FRAC_PI_2).sin_cos();
            let radius = if i % 2 == 0 { 1.0 } else { dent };
            [radius * cos, radius * sin]
        })
        .collect()
}

/// Signed distance to a polygon: to its nearest edge, with the sign of the crossing number.
fn polygon_distance(corners: &[Point], [x, y]: Point) -> f32 {
    let mut nearest = f32::INFINITY;
    let mut inside = false;
    let mut previous = corners[corners.len() - 1];
    for &corner in corners {
        let edge = [previous[0] - corner[0], previous[1] - corner[1]];
        let to = [x - corner[0], y - corner[1]];
        let along = ((to[0] * edge[0] + to[1] * edge[1]) / (edge[0] * edge[0] + edge[1] * edge[1])).clamp(0.0, 1.0);
        let away = [to[0] - edge[0] * along, to[1] - edge[1] * along];
        nearest = nearest.min(away[0] * away[0] + away[1] * away[1]);
        if (corner[1] > y) != (previous[1] > y) && to[0] < edge[0] * to[1] / edge[1] {
            inside = !inside;
        }
        previous = corner;
    }
    if inside { -nearest.sqrt() } else { nearest.sqrt() }
}

/// The background's pattern at a place, from 0 to 1; an index into [`super::TEXTURES`].
fn texture(texture: u32, x: f32, y: f32, phase: f32) -> f32 {
    let wave = |t: f32| 0.5 + 0.5 * (TAU * (t * PERIODS / 2.0 + phase)).sin();
    let sharp = |t: f32| ((t - 0.5) * 4.0 + 0.5).clamp(0.0, 1.0);
    let diagonal = std::f32::consts::FRAC_1_SQRT_2;
    match super::TEXTURES[texture as usize] {
        "flat" => 0.5,
        "rows" => sharp(wave(y)),
        "columns" => sharp(wave(x)),
        "rising" => sharp(wave((x + y) * diagonal)),
        "falling" => sharp(wave((x - y) * diagonal)),
        "checks" => sharp(0.5 + 2.0 * (wave(x) - 0.5) * (wave(y) - 0.5)),
        "dots" => sharp(1.6 * wave(x) * wave(y)),
        "rings" => sharp(wave(1.4 * x.hypot(y))),
        "gradient" => {
            let (sin, cos) = (TAU * phase).sin_cos();
            (0.5 + 0.5 * (x * cos + y * sin)).clamp(0.0, 1.0)
        }
        "noise" => noise((x + 1.0) * PERIODS, (y + 1.0) * PERIODS, phase),
        other => unreachable!("{other} has no pattern"),
    }
}

/// Value noise: a random number at each whole point, smoothly joined.
fn noise(x: f32, y: f32, phase: f32) -> f32 {
    let at = |x: f32, y: f32| {
        let mut hash = (x as u32).wrapping_mul(0x9E37_79B1) ^ (y as u32).wrapping_mul(0x85EB_CA77) ^ phase.to_bits();
        hash = (hash ^ (hash >> 15)).wrapping_mul(0x2C1B_3C6D);
        hash = (hash ^ (hash >> 12)).wrapping_mul(0x297A_2D39);
        ((hash ^ (hash >> 15)) >> 8) as f32 / (1 << 24) as f32
    };
    let (left, top) = (x.floor(), y.floor());
    let smooth = |t: f32| t * t * (3.0 - 2.0 * t);
    let (right_part, bottom_part) = (smooth(x - left), smooth(y - top));
    let mix = |a: f32, b: f32, part: f32| a + (b - a) * part;
    mix(
        mix(at(left, top), at(left + 1.0, top), right_part),
        mix(at(left, top + 1.0), at(left + 1.0, top + 1.0), right_part),
        bottom_part,
    )
}
