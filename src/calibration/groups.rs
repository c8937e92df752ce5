//! Which pictures show the same part: grouping by near-duplicates.
//!
//! One part photographed several times gives near-identical pictures, and counting them as several makes
//! every guarantee that rests on independent parts worthless. Two pictures whose fine structure correlates
//! above [`LIMIT`] belong to one group, and groups are closed under that relation.
//! The same definition, to the letter, splits training data (`models/certiscope_models/grouping.py`).
//!
//! Guarantees: no pair above the limit is separated; the order of the pictures only decides the numbering.
//! Leaves out: decoding and shrinking to the thumbnail.
//! Costs: every pair once, 4,096 products each: half a second for 600 pictures.

/// Correlation of fine structure above which two pictures show one part.
pub const LIMIT: f64 = 0.85;
/// Side of the grey thumbnail, area averaged, that is compared.
pub const THUMBNAIL_PX: usize = 64;
/// Side of the box mean that is taken off: slow changes of brightness must not decide.
const BLUR_PX: usize = 9;

/// The fine structure of one picture: thumbnail minus its local mean, mean 0, norm 1.
#[derive(Debug, Clone)]
pub struct Fingerprint(Vec<f32>);

impl Fingerprint {
    /// Of a thumbnail, row by row. A picture without any structure gets a fingerprint that matches nothing.
    pub fn of(thumbnail: &[f32; THUMBNAIL_PX * THUMBNAIL_PX]) -> Self {
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
        let scale = if norm > 1e-6 { norm.recip() } else { 0.0 };
        Self(fine.iter().map(|value| ((value - centre) * scale) as f32).collect())
    }

    fn correlation(&self, other: &Self) -> f64 {
        // eight sums side by side: a single one waits for itself at every addition
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

/// The group of each picture, numbered from 0 in order of first appearance.
pub fn groups(fingerprints: &[Fingerprint]) -> Vec<usize> {
    let mut parent: Vec<usize> = (0..fingerprints.len()).collect();
    for (i, one) in fingerprints.iter().enumerate() {
        for (j, other) in fingerprints.iter().enumerate().skip(i + 1) {
            if one.correlation(other) > LIMIT {
                let (i, j) = (root(&mut parent, i), root(&mut parent, j));
                // the earlier picture leads, so that a root is the first of its group
                parent[i.max(j)] = i.min(j);
            }
        }
    }
    let mut number = vec![0; parent.len()];
    let mut count = 0;
    for i in 0..parent.len() {
        let root = root(&mut parent, i);
        if root == i {
            number[i] = count;
            count += 1;
        } else {
            number[i] = number[root];
        }
    }
    number
}

/// The first picture of each group: one per part, chosen without looking at a score.
pub fn first_of_each(groups: &[usize]) -> Vec<usize> {
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

fn root(parent: &mut [usize], mut i: usize) -> usize {
    while parent[i] != i {
        parent[i] = parent[parent[i]];
        i = parent[i];
    }
    i
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
        assert_eq!(groups_of(&[[0.5; 4096], [0.5; 4096]]), [0, 1], "no structure matches nothing");
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
