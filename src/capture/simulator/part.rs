//! The simulated part: a turned flange on a belt, as a function from a point to its brightness.
//!
//! Guarantees: pure; the same random stream gives the same part. Every edge is a distance with a soft step of about one
//! pixel, so edges are smooth although each pixel is sampled once. Good parts differ much from one another, as real ones
//! do: they lie at any angle; they are turned, brushed or blasted, bright or dull, hazy with oil, sprinkled with dust.
//! None of that is a defect.
//! Leaves out: defects (see `defect`), the drift of the lamp and the sensor (see `render`).
//! Costs: about 50 ns a point.
//!
//! Lengths are in half-sides: the shorter side of the frame is 2 long, and the part's centre is the origin.

use std::f32::consts::TAU;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::geometry::{Point, mix};
use super::grain::Grain;

/// Radius of the part, and the width of the bevel at its rim.
pub(super) const RIM: f32 = 0.82;
const BEVEL: f32 = 0.055;
/// Radius of the ring where the turned face meets the raised hub.
pub(super) const HUB: f32 = 0.36;
/// The bore in the middle and its keyway, which shows the part's orientation.
pub(super) const BORE: f32 = 0.16;
const KEYWAY_WIDTH: f32 = 0.05;
const KEYWAY_DEPTH: f32 = 0.25;
/// The bolt holes: how many, on which circle, how wide, and the countersink around each.
pub(super) const HOLES: usize = 6;
pub(super) const HOLE_CIRCLE: f32 = 0.575;
const HOLE: std::ops::Range<f32> = 0.07..0.086;
const COUNTERSINK: f32 = 0.03;
/// A speck of dust is smaller than any defect.
const SPECK: f32 = 0.007;

/// The direction to the lamp, seen from the part: up and to the left, as a unit vector in the picture.
const LAMP: Point = Point { x: -0.6, y: -0.8 };

/// What is seen at a point: how bright it is, and how much of it is metal (0 on the belt and in holes).
#[derive(Debug, Clone, Copy)]
pub(super) struct Surface {
    pub(super) value: f32,
    pub(super) metal: f32,
}

/// How the face was finished; a good part comes with any of them.
#[derive(Debug, Clone, Copy)]
enum Finish {
    /// Rings of tool marks around the axis.
    Turned,
    /// Straight marks along this direction.
    Brushed(Point),
    /// No marks, and no shine.
    Blasted,
}

/// One part as it lies on the belt: its pose, and how this one's metal looks.
pub(super) struct SimulatedPart {
    shift: Point,
    cos: f32,
    sin: f32,
    lamp: Point,
    holes: [Point; HOLES],
    hole_radius: f32,
    grain: Grain,
    finish: Finish,
    /// How bright the metal of face and hub is.
    face_tone: f32,
    hub_tone: f32,
    /// How far a film of oil or patina clouds the metal.
    film: f32,
    /// How hard the bevels glint where they mirror the lamp.
    gloss: f32,
    belt_tone: f32,
    belt_offset: Point,
    /// One over the width of the soft step at an edge: a little more than a pixel, as a lens gives it.
    sharpness: f32,
}

impl SimulatedPart {
    /// Lays the next part on the belt; `pixel` is the length of a pixel's side.
    pub(super) fn draw(rng: &mut ChaCha8Rng, pixel: f32) -> Self {
        let (sin, cos) = rng.random_range(0.0..TAU).sin_cos();
        let mut jitter =
            |size: f32| Point { x: rng.random_range(-size..size), y: rng.random_range(-size..size) };
        let (shift, belt_offset) = (jitter(0.1), jitter(50.0));
        let finish = match rng.random_range(0..3) {
            0 => Finish::Turned,
            1 => Finish::Brushed(Point::polar(1.0, rng.random_range(0.0..TAU))),
            _ => Finish::Blasted,
        };
        Self {
            shift,
            cos,
            sin,
            lamp: Point { x: cos * LAMP.x + sin * LAMP.y, y: cos * LAMP.y - sin * LAMP.x },
            holes: std::array::from_fn(|i| Point::polar(HOLE_CIRCLE, i as f32 * TAU / HOLES as f32)),
            hole_radius: rng.random_range(HOLE),
            grain: Grain::draw(rng),
            finish,
            face_tone: rng.random_range(0.36..0.5),
            hub_tone: rng.random_range(0.52..0.68),
            film: rng.random_range(0.0..0.06),
            gloss: rng.random_range(0.0..0.4),
            belt_tone: rng.random_range(0.12..0.24),
            belt_offset,
            sharpness: 1.0 / (1.4 * pixel),
        }
    }

    /// From a point of the frame to the same point seen from the part.
    pub(super) fn locate(&self, frame: Point) -> Point {
        let p = frame.minus(self.shift);
        Point { x: self.cos * p.x + self.sin * p.y, y: self.cos * p.y - self.sin * p.x }
    }

    pub(super) fn lamp(&self) -> Point {
        self.lamp
    }

    pub(super) fn hole(&self, index: usize) -> Point {
        self.holes[index]
    }

    pub(super) fn hole_radius(&self) -> f32 {
        self.hole_radius
    }

    /// The radius of a hole with its countersink.
    pub(super) fn sunk_radius(&self) -> f32 {
        self.hole_radius + COUNTERSINK
    }

    /// How much of a pixel lies inside an edge that is `inside` away (negative: outside).
    pub(super) fn cover(&self, inside: f32) -> f32 {
        (inside * self.sharpness + 0.5).clamp(0.0, 1.0)
    }

    /// What is seen at `p` on a part without defects.
    pub(super) fn surface(&self, p: Point) -> Surface {
        let radius = p.norm();
        let body = self.cover(RIM - radius);
        let belt = if body < 1.0 { self.belt(p) } else { 0.0 };
        if body == 0.0 {
            return Surface { value: belt, metal: 0.0 };
        }
        let mut seen = Surface { value: self.face(p), metal: 1.0 };
        self.sink(&mut seen, p, radius - BORE, 0.022);
        let beside_key = p.x.abs().max(KEYWAY_WIDTH) - KEYWAY_WIDTH;
        if beside_key < 0.05 && p.y > 0.0 && p.y < KEYWAY_DEPTH + 0.05 {
            let outside = (p.x.abs() - KEYWAY_WIDTH).max(p.y - KEYWAY_DEPTH);
            self.open(&mut seen, p, outside);
        }
        for hole in self.holes {
            let q = p.minus(hole);
            if q.dot(q) < 0.02 {
                self.sink(&mut seen, q, q.norm() - self.hole_radius, COUNTERSINK);
            }
        }
        Surface { value: mix(belt, seen.value, body), metal: seen.metal * body }
    }

    /// The metal's face, hub and bevel without any holes.
    pub(super) fn face(&self, p: Point) -> f32 {
        let radius = p.norm().max(1e-3);
        let outward = p.scaled(1.0 / radius);
        let haze = self.film * self.grain.plane(p.x * 3.0 + 70.0, p.y * 3.0 + 70.0);
        let finish = if radius > HUB {
            let marks = match self.finish {
                // The light on a turned disc has the shape of a bow tie.
                Finish::Turned => self.shine(outward) + self.grain.turned(radius, p),
                Finish::Brushed(along) => {
                    let across = Point { x: along.y, y: -along.x };
                    self.shine(across) + self.grain.brushed(p.dot(along), p.dot(across))
                }
                Finish::Blasted => 0.1 + 0.03 * self.grain.plane(p.x * 70.0, p.y * 70.0),
            };
            self.face_tone + haze + marks
        } else {
            self.hub_tone + haze + self.grain.brushed(p.x, p.y)
        };
        // The groove hides the edge between the two finishes.
        let groove = (1.0 - (radius - HUB).abs() / 0.024).max(0.0);
        let face = finish * (1.0 - 0.55 * groove);
        self.dusty(p, mix(face, self.bevel(outward), self.cover(radius - (RIM - BEVEL))))
    }

    /// Marked metal shines where its marks, which run at right angles to `across`, are at right angles to the light.
    fn shine(&self, across: Point) -> f32 {
        let along = across.x * self.lamp.y - across.y * self.lamp.x;
        0.2 / (1.0 + 5.0 * along * along)
    }

    /// A bevel that faces `outward`: bright towards the lamp, with a small glint.
    fn bevel(&self, outward: Point) -> f32 {
        let facing = outward.dot(self.lamp);
        0.48 + 0.3 * facing + self.gloss * facing.max(0.0).powi(24)
    }

    /// The belt, with the soft shadow that the part throws away from the lamp.
    pub(super) fn belt(&self, p: Point) -> f32 {
        let texture = self.grain.weave(p, self.belt_offset);
        let beyond = p.minus(self.lamp.scaled(-0.05)).norm() - RIM;
        let lit = (beyond / 0.12 + 0.35).clamp(0.0, 1.0);
        self.dusty(p, (self.belt_tone + texture) * mix(0.45, 1.0, lit))
    }

    /// A surface this bright with the dust that fell on it.
    fn dusty(&self, p: Point, value: f32) -> f32 {
        match self.grain.speck(p) {
            Some((distance, shade)) => mix(value, shade, self.cover(SPECK - distance)),
            None => value,
        }
    }

    /// A round opening with a countersink: `q` from its centre, `outside` its edge.
    fn sink(&self, seen: &mut Surface, q: Point, outside: f32, rim: f32) {
        let cone = self.cover(rim - outside);
        if cone > 0.0 {
            let inward = q.scaled(-1.0 / q.norm().max(1e-3));
            seen.value = mix(seen.value, self.bevel(inward), cone);
        }
        self.open(seen, q, outside);
    }

    /// A cut right through the metal: dark, its wall lit on the side away from the lamp.
    fn open(&self, seen: &mut Surface, q: Point, outside: f32) {
        let void = self.cover(-outside);
        if void > 0.0 {
            let wall = (-q.dot(self.lamp) * 0.6).clamp(0.0, 0.08);
            seen.value = mix(seen.value, 0.05 + wall, void);
            seen.metal *= 1.0 - void;
        }
    }
}
