//! Which pictures show the same part: grouping by near-duplicates.
//!
//! One part photographed several times gives near-identical pictures. If they counted as several parts, no guarantee
//! that needs independent parts would hold. So two pictures whose fine structure correlates above [`LIMIT`] belong to
//! one group, also through a third picture.
//! Training data is split by exactly the same definition (`models/certiscope_models/grouping.py`).
//!
//! Guarantees: no pair above the limit is separated. The order of the pictures decides the numbering only. All pictures
//! without any structure (a closed lens, a lamp that is out) are one part.
//! Leaves out: decoding and shrinking to the thumbnail.
//! Costs: 4,096 products for every pair of pictures: half a second for 600 pictures.

/// Correlation of fine structure above which two pictures show one part.
pub(crate) const LIMIT: f64 = 0.85;
/// Side of the grey thumbnail, area averaged, that is compared.
pub(crate) const THUMBNAIL_PX: usize = 64;
/// Side of the box mean that is subtracted, so that slow changes of brightness do not decide.
const BLUR_PX: usize = 9;
/// Norm below which fine structure is only rounding. One grey level in one pixel of a 512x512 picture has 6e-5.
const NO_STRUCTURE: f64 = 3e-5;

/// The fine structure of one picture: thumbnail minus its local mean, mean 0, norm 1.
#[derive(Debug, Clone)]
pub(crate) struct Fingerprint(Vec<f32>);

impl Fingerprint {
    /// The fingerprint of a thumbnail, given row by row. All pictures without structure get the same constant
    /// fingerprint, whose correlation with every other is 0.
    pub(crate) fn of(thumbnail: &[f32; THUMBNAIL_PX * THUMBNAIL_PX]) -> Self {
        let rows: Vec<f64> = thumbnail.chunks_exact(THUMBNAIL_PX).flat_map(local_mean).collect();
        let mut mean = vec![0.0; rows.len()];
        for x in 0..THUMBNAIL_PX {
            let column: Vec<f64> = (0..THUMBNAIL_PX).map(|y| rows[y * THUMBNAIL_PX + x]).collect();
            for (y, value) in local_mean(&column).enumerate() {
                mean[y * THUMBNAIL_PX + x] = value;
            }
        }
        let fine: Vec<f64> =
            thumbnail.iter().zip(&mean).map(|(&value, mean)| f64::from(value) - mean).collect();
        let centre = fine.iter().sum::<f64>() / fine.len() as f64;
        let norm = fine.iter().map(|value| (value - centre).powi(2)).sum::<f64>().sqrt();
        if norm < NO_STRUCTURE {
            return Self(vec![1.0 / THUMBNAIL_PX as f32; fine.len()]);
        }
        Self(fine.iter().map(|value| ((value - centre) / norm) as f32).collect())
    }

    /// Whether both pictures show the same part, judged by these two pictures alone.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        self.correlation(other) > LIMIT
    }

    fn correlation(&self, other: &Self) -> f64 {
        // eight independent sums: with a single one, every addition would wait for the one before
        let mut lanes = [0.0_f32; 8];
        for (a, b) in self.0.chunks_exact(8).zip(other.0.chunks_exact(8)) {
            for (lane, (a, b)) in lanes.iter_mut().zip(a.iter().zip(b)) {
                *lane += a * b;
            }
        }
        lanes.iter().copied().map(f64::from).sum()
    }
}

/// Box mean along one line, mirrored at its ends without repeating the end (numpy's "reflect").
fn local_mean<T: Copy + Into<f64>>(line: &[T]) -> impl Iterator<Item = f64> {
    let (half, last) = ((BLUR_PX / 2) as isize, line.len() as isize - 1);
    (0..=last).map(move |centre| {
        let mirrored = |i: isize| line[(last - (last - i.abs()).abs()) as usize].into();
        (centre - half..=centre + half).map(mirrored).sum::<f64>() / BLUR_PX as f64
    })
}

/// Groups pictures by part while they arrive one by one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Parts {
    /// For each picture an earlier picture of its part; for the first picture of a part its own number.
    parent: Vec<usize>,
    count: usize,
}

impl Parts {
    /// Adds the next picture. `is_like(n)` says whether it shows the same part as picture `n`.
    pub(crate) fn add(&mut self, is_like: impl Fn(usize) -> bool) {
        let next = self.parent.len();
        self.parent.push(next);
        self.count += 1;
        for earlier in (0..next).filter(|&earlier| is_like(earlier)) {
            let (one, other) = (self.root(earlier), self.root(next));
            if one != other {
                // the earlier picture becomes the root, so that a root is the first of its part
                self.parent[one.max(other)] = one.min(other);
                self.count -= 1;
            }
        }
    }

    /// How many different parts there are.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// The group of each picture, numbered from 0 in order of first appearance.
    pub(crate) fn groups(mut self) -> Vec<usize> {
        let mut number = vec![0; self.parent.len()];
        let mut count = 0;
        for i in 0..self.parent.len() {
            let root = self.root(i);
            if root == i {
                number[i] = count;
                count += 1;
            } else {
                number[i] = number[root];
            }
        }
        number
    }

    fn root(&mut self, mut i: usize) -> usize {
        while self.parent[i] != i {
            self.parent[i] = self.parent[self.parent[i]];
            i = self.parent[i];
        }
        i
    }
}

/// The group of each of `count` pictures, numbered from 0 in order of first appearance. `is_like` compares two of them.
pub(crate) fn groups_by(count: usize, is_like: impl Fn(usize, usize) -> bool) -> Vec<usize> {
    let mut parts = Parts::default();
    for next in 0..count {
        parts.add(|earlier| is_like(earlier, next));
    }
    parts.groups()
}

/// The group of each picture by its fine structure.
pub(crate) fn groups(fingerprints: &[Fingerprint]) -> Vec<usize> {
    groups_by(fingerprints.len(), |one, other| fingerprints[one].is_like(&fingerprints[other]))
}

/// The first picture of each group: one per part, chosen without looking at a score.
pub(crate) fn first_of_each(groups: &[usize]) -> Vec<usize> {
    let mut next = 0;
    let mut first = Vec::new();
    for (picture, &group) in groups.iter().enumerate() {
        if group == next {
            first.push(picture);
            next += 1;
        }
    }
    first
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    type Thumbnail = [f32; THUMBNAIL_PX * THUMBNAIL_PX];

    fn noise(seed: u64) -> Thumbnail {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        std::array::from_fn(|_| rng.random())
    }

    /// A part seen again: a little sensor noise, another brightness, a lighting gradient.
    fn again(part: &Thumbnail, seed: u64) -> Thumbnail {
        let noise = noise(seed);
        std::array::from_fn(|i| {
            0.2 + 0.7 * part[i]
                + 0.1 * noise[i]
                + 0.01 * (i % THUMBNAIL_PX) as f32
                + 0.02 * (i / THUMBNAIL_PX) as f32
        })
    }

    fn groups_of(thumbnails: &[Thumbnail]) -> Vec<usize> {
        groups(&thumbnails.iter().map(Fingerprint::of).collect::<Vec<_>>())
    }

    #[test]
    fn pictures_of_one_part_share_a_group_whatever_the_light() {
        let parts = [noise(1), noise(2), noise(3)];
        let found = groups_of(&[parts[0], parts[1], again(&parts[0], 7), parts[2], again(&parts[1], 8)]);
        assert_eq!(found, [0, 1, 0, 2, 1]);
        assert_eq!(first_of_each(&found), [0, 1, 3]);
    }

    #[test]
    fn brightness_alone_makes_no_group() {
        let shaded = |seed| {
            let noise = noise(seed);
            std::array::from_fn(|i| 0.05 * noise[i] + (i / THUMBNAIL_PX) as f32 / 64.0)
        };
        assert_eq!(groups_of(&[shaded(1), shaded(2)]), [0, 1]);
    }

    #[test]
    fn pictures_without_structure_are_one_part_and_like_no_other() {
        let ramp = std::array::from_fn(|i| 0.3 + 0.005 * (i % THUMBNAIL_PX) as f32);
        let found = groups_of(&[[0.0; 4096], noise(1), [0.5; 4096], [0.1; 4096], noise(2)]);
        assert_eq!(found, [0, 1, 0, 0, 2]);
        // one grey level in one pixel of 256x256 is structure
        let mut speck: Thumbnail = [0.5; 4096];
        speck[2000] += 1.0 / 255.0 / 16.0;
        assert_eq!(groups_of(&[[0.5; 4096], speck, ramp]), [0, 1, 2], "the ramp is reflected at its ends");
    }

    #[test]
    fn parts_are_counted_while_pictures_come() {
        let (mut parts, like) = (Parts::default(), [(0, 2), (1, 3), (2, 3)]);
        let counts: Vec<usize> = (0..5)
            .map(|next| {
                parts.add(|earlier| like.contains(&(earlier, next)));
                parts.count()
            })
            .collect();
        // the fourth picture joins what were two parts
        assert_eq!((counts, parts.groups()), (vec![1, 2, 2, 1, 2], vec![0, 0, 0, 0, 1]));
    }

    #[test]
    fn groups_are_closed_under_likeness() {
        // a and c are not alike (correlation about .7), but each is like b
        let (a, c) = (noise(1), noise(2));
        let mixed =
            |share: f32| -> Thumbnail { std::array::from_fn(|i| share * a[i] + (1.0 - share) * c[i]) };
        let (one, two, three) = (mixed(0.72), mixed(0.5), mixed(0.28));
        assert_eq!(groups_of(&[one, three]), [0, 1]);
        assert_eq!(groups_of(&[one, three, two]), [0, 0, 0]);
    }

    #[test]
    fn the_local_mean_is_numpy_s_with_reflected_ends() {
        let line: Vec<f32> = (0..64).map(|i| (i * i % 7) as f32).collect();
        let found: Vec<f64> = local_mean(&line).collect();
        // line[4], 3, 2, 1, 0, 1, 2, 3, 4
        let first = (0..=4).map(|i| line[i] as f64).sum::<f64>() * 2.0 - line[0] as f64;
        let last = (59..=63).map(|i| line[i] as f64).sum::<f64>() * 2.0 - line[63] as f64;
        assert!((found[0] - first / 9.0).abs() < 1e-12 && (found[63] - last / 9.0).abs() < 1e-12);
        assert!((found[30] - line[26..=34].iter().map(|&v| v as f64).sum::<f64>() / 9.0).abs() < 1e-12);
    }
}
