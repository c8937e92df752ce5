//! The six kinds of defects of a simulated part. Each knows exactly where it is.
//!
//! Guarantees: a point that a defect does not cover keeps its brightness, so the mask made from the coverage is exact and
//! not an estimate. Defects lie on the metal, never on the belt.
//! Leaves out: which part gets which defect (see `simulator`).

use std::f32::consts::TAU;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::geometry::{Point, mix};
use super::part::{HOLES, HUB, RIM, SimulatedPart, Surface};

/// The kinds of defects, in the order of their folders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DefectKind {
    Chip,
    Crack,
    Dent,
    MissingHole,
    Scratch,
    Stain,
}

impl DefectKind {
    pub const ALL: [Self; 6] =
        [Self::Chip, Self::Crack, Self::Dent, Self::MissingHole, Self::Scratch, Self::Stain];

    /// The name of the class folder and of the label.
    pub fn word(self) -> &'static str {
        match self {
            Self::Chip => "chip",
            Self::Crack => "crack",
            Self::Dent => "dent",
            Self::MissingHole => "missing_hole",
            Self::Scratch => "scratch",
            Self::Stain => "stain",
        }
    }
}

/// One defect on one part. Strength 1 is a clear defect, 0 is none at all.
pub(super) struct Defect {
    shape: Shape,
    strength: f32,
}

enum Shape {
    /// A piece broken out of the rim.
    Chip(Blob),
    /// A dark jagged line that starts at a bolt hole.
    Crack(Stroke),
    /// A dimple or, with a negative depth, a bump: only the way the light falls changes.
    Dent { centre: Point, radius: f32, depth: f32 },
    /// One bolt hole was not drilled, or not through.
    MissingHole(Point),
    /// A thin bowed line, bright (bare metal) or dark.
    Scratch { line: Stroke, shade: f32 },
    /// Dirt that darkens what lies under it, or a dried residue that whitens it.
    Stain { blob: Blob, tone: f32 },
}

impl Defect {
    pub(super) fn draw(kind: DefectKind, contrast: f32, part: &SimulatedPart, rng: &mut ChaCha8Rng) -> Self {
        let shape = match kind {
            DefectKind::Chip => {
                Shape::Chip(Blob::draw(Point::polar(RIM - 0.03, any_angle(rng)), 0.08..0.13, rng))
            }
            DefectKind::Crack => Shape::Crack(Stroke::crack(part, rng)),
            DefectKind::Dent => Shape::Dent {
                centre: on_face(rng),
                radius: rng.random_range(0.09..0.14),
                depth: either(1.4, -1.4, rng),
            },
            DefectKind::MissingHole => Shape::MissingHole(part.hole(rng.random_range(0..HOLES))),
            DefectKind::Scratch => {
                Shape::Scratch { line: Stroke::scratch(rng), shade: either(0.98, 0.08, rng) }
            }
            DefectKind::Stain => {
                Shape::Stain { blob: Blob::draw(on_face(rng), 0.07..0.12, rng), tone: either(0.5, 1.5, rng) }
            }
        };
        Self { shape, strength: contrast * rng.random_range(0.6..1.0_f32) }
    }

    /// What is seen at `p` with the defect, and how much of the point the defect covers.
    pub(super) fn touch(&self, part: &SimulatedPart, p: Point, seen: Surface) -> (f32, f32) {
        let Surface { value, metal } = seen;
        let (coverage, defective) = match &self.shape {
            Shape::Chip(blob) => {
                let depth = blob.inside(p);
                // The broken face catches the light before the belt shows.
                let broken = mix(0.62, part.belt(p), part.cover(depth - 0.015));
                (part.cover(depth) * metal, broken)
            }
            Shape::Crack(line) => (part.cover(line.inside(p)) * metal, 0.04),
            Shape::Dent { centre, radius, depth } => {
                let q = p.minus(*centre);
                let inside = (1.0 - q.dot(q) / (radius * radius)).max(0.0);
                let tilt = -q.dot(part.lamp()) / radius;
                (if inside > 0.0 { metal } else { 0.0 }, value + depth * tilt * inside * inside)
            }
            Shape::MissingHole(centre) => {
                (part.cover(part.sunk_radius() - p.minus(*centre).norm()), part.face(p))
            }
            Shape::Scratch { line, shade } => (part.cover(line.inside(p)) * metal, *shade),
            Shape::Stain { blob, tone } => {
                let soft = (blob.inside(p) / 0.03 + 0.5).clamp(0.0, 1.0);
                (soft * metal, value * tone)
            }
        };
        (mix(value, defective, coverage * self.strength.min(1.0)), coverage)
    }
}

fn either(one: f32, other: f32, rng: &mut ChaCha8Rng) -> f32 {
    if rng.random_bool(0.5) { one } else { other }
}

fn any_angle(rng: &mut ChaCha8Rng) -> f32 {
    rng.random_range(0.0..TAU)
}

/// A place on the turned face, between two holes.
fn on_face(rng: &mut ChaCha8Rng) -> Point {
    let after = rng.random_range(0..HOLES) as f32;
    let angle = (after + rng.random_range(0.28..0.72)) * TAU / HOLES as f32;
    Point::polar(rng.random_range(HUB + 0.08..RIM - 0.12), angle)
}

/// A round patch with an uneven edge.
struct Blob {
    centre: Point,
    radius: f32,
    /// Size and phase of the 2nd, 3rd and 5th harmonic of the edge.
    lobes: [(f32, f32, f32); 3],
}

impl Blob {
    fn draw(centre: Point, radius: std::ops::Range<f32>, rng: &mut ChaCha8Rng) -> Self {
        Self {
            centre,
            radius: rng.random_range(radius),
            lobes: [2.0, 3.0, 5.0].map(|order| (order, rng.random_range(0.0..0.4 / order), any_angle(rng))),
        }
    }

    /// How far `p` lies inside the edge (negative: outside).
    fn inside(&self, p: Point) -> f32 {
        let q = p.minus(self.centre);
        let distance = q.norm();
        if distance > 2.0 * self.radius {
            return -self.radius;
        }
        let angle = q.y.atan2(q.x);
        let bumps: f32 =
            self.lobes.iter().map(|(order, size, phase)| size * (order * angle + phase).cos()).sum();
        self.radius * (1.0 + bumps) - distance
    }
}

/// A thin line through some points.
struct Stroke {
    points: Vec<Point>,
    half_width: f32,
    /// A circle around the stroke, so that points far away need no further computation.
    centre: Point,
    circle: f32,
}

impl Stroke {
    fn new(points: Vec<Point>, half_width: f32) -> Self {
        let centre = points[points.len() / 2];
        let farthest = points.iter().map(|p| p.minus(centre).norm()).fold(0.0, f32::max);
        Self { points, half_width, centre, circle: farthest + 0.1 }
    }

    /// A bowed stroke across the face.
    fn scratch(rng: &mut ChaCha8Rng) -> Self {
        let (start, heading) = (on_face(rng), any_angle(rng));
        let (length, bow): (f32, f32) = (rng.random_range(0.35..0.7), rng.random_range(-0.8..0.8));
        // Towards the middle, so that most of the stroke stays on the part.
        let inward = if start.dot(Point::polar(1.0, heading)) > 0.0 { -1.0 } else { 1.0 };
        let points = (0..10).scan(start, |at, i| {
            let here = *at;
            let step = Point::polar(inward * length / 9.0, heading + bow * i as f32 / 9.0);
            *at = Point { x: here.x + step.x, y: here.y + step.y };
            Some(here)
        });
        Self::new(points.collect(), rng.random_range(0.009..0.016))
    }

    /// A jagged walk away from a bolt hole.
    fn crack(part: &SimulatedPart, rng: &mut ChaCha8Rng) -> Self {
        let hole = part.hole(rng.random_range(0..HOLES));
        let heading = any_angle(rng);
        let start = Point::polar(part.hole_radius(), heading);
        let mut at = Point { x: hole.x + start.x, y: hole.y + start.y };
        let mut points = vec![at];
        for _ in 0..rng.random_range(7..11) {
            let step = Point::polar(rng.random_range(0.03..0.06), heading + rng.random_range(-0.9..0.9));
            at = Point { x: at.x + step.x, y: at.y + step.y };
            points.push(at);
        }
        Self::new(points, rng.random_range(0.011..0.017))
    }

    /// How far `p` lies inside the line's edge (negative: outside).
    fn inside(&self, p: Point) -> f32 {
        if p.minus(self.centre).norm() > self.circle {
            return -self.circle;
        }
        let nearest = self
            .points
            .windows(2)
            .map(|ends| {
                let (along, q) = (ends[1].minus(ends[0]), p.minus(ends[0]));
                let share = (q.dot(along) / along.dot(along).max(1e-9)).clamp(0.0, 1.0);
                let beside = q.minus(Point { x: along.x * share, y: along.y * share });
                beside.dot(beside)
            })
            .fold(f32::INFINITY, f32::min);
        self.half_width - nearest.sqrt()
    }
}
