//! The texture of a simulated part: tool marks, dust, and the weave of the belt, as smooth noise from a table.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::geometry::{Point, mix};

/// `v` rounded down, and the rest. `floor` would be a function call without SSE 4.1; this is not.
fn split(v: f32) -> (i32, f32) {
    let whole = v as i32 - i32::from(v < 0.0);
    (whole, v - whole as f32)
}

/// A table of random values, read as smooth noise, like the marks that a tool leaves on metal.
pub(super) struct Grain([f32; Self::SIZE]);

impl Grain {
    const SIZE: usize = 1024;

    pub(super) fn draw(rng: &mut ChaCha8Rng) -> Self {
        Self(std::array::from_fn(|_| rng.random_range(-1.0..1.0)))
    }

    pub(super) fn at(&self, column: i32, row: i32) -> f32 {
        self.0[(column.wrapping_mul(73) ^ row.wrapping_mul(151)) as usize % Self::SIZE]
    }

    /// Noise that is continuous along `x` and constant within a unit of `y`.
    pub(super) fn line(&self, x: f32, row: i32) -> f32 {
        let (cell, within) = split(x);
        mix(self.at(cell, row), self.at(cell + 1, row), within)
    }

    /// Noise that is continuous in both.
    pub(super) fn plane(&self, x: f32, y: f32) -> f32 {
        let (row, within) = split(y);
        mix(self.line(x, row), self.line(x, row + 1), within)
    }

    /// Concentric tool marks, broken up along the turn.
    pub(super) fn turned(&self, radius: f32, p: Point) -> f32 {
        // The diamond angle breaks the marks up as well as the true angle does, and needs no arc tangent.
        let turn = p.y / (p.x.abs() + p.y.abs() + 1e-3);
        let side = if p.x < 0.0 { 64.0 } else { 0.0 };
        0.035 * self.line(radius * 110.0, 1)
            + 0.03 * self.plane(radius * 60.0, 5.0 * turn + side)
            + 0.012 * self.line(radius * 18.0, 2)
    }

    /// Straight brush marks along `along`.
    pub(super) fn brushed(&self, along: f32, across: f32) -> f32 {
        0.04 * self.plane(across * 100.0, along * 5.0 + 300.0)
    }

    /// The distance to the speck of dust near `p`, if there is one, and its brightness.
    pub(super) fn speck(&self, p: Point) -> Option<(f32, f32)> {
        let ((column, x), (row, y)) = (split(p.x * 12.0), split(p.y * 12.0));
        let draw = self.at(column + 500, row);
        if draw < 0.93 {
            return None;
        }
        // Well inside its cell, so that neighbouring cells need no check.
        let place = |v: f32| 0.5 + 0.35 * v;
        let speck =
            Point { x: place(self.at(column, row + 500)), y: place(self.at(column + 500, row + 500)) };
        Some((Point { x, y }.minus(speck).norm() / 12.0, if draw > 0.965 { 0.8 } else { 0.1 }))
    }

    /// The belt's weave over patches of wear.
    pub(super) fn weave(&self, p: Point, offset: Point) -> f32 {
        let (x, y) = (p.x + offset.x, p.y + offset.y);
        let thread = |v: f32| (split(v * 22.0).1 - 0.5).abs() - 0.25;
        0.28 * thread(x) * thread(y)
            + 0.02 * self.plane(x * 55.0, y * 55.0)
            + 0.015 * self.plane(x * 6.0, y * 6.0)
    }
}
