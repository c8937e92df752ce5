//! Points in the plane of a simulated part, and blending from one value to another.

/// A point or a direction in the plane of the part; y points down as in the picture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Point {
    pub(super) x: f32,
    pub(super) y: f32,
}

impl Point {
    pub(super) fn polar(radius: f32, angle: f32) -> Self {
        Self { x: radius * angle.cos(), y: radius * angle.sin() }
    }

    pub(super) fn minus(self, other: Self) -> Self {
        Self { x: self.x - other.x, y: self.y - other.y }
    }

    pub(super) fn dot(self, other: Self) -> f32 {
        self.x * other.x + self.y * other.y
    }

    pub(super) fn norm(self) -> f32 {
        self.dot(self).sqrt()
    }

    pub(super) fn scaled(self, by: f32) -> Self {
        Self { x: self.x * by, y: self.y * by }
    }
}

/// Blends from `from` (share 0) to `to` (share 1).
pub(super) fn mix(from: f32, to: f32, share: f32) -> f32 {
    from + (to - from) * share
}
