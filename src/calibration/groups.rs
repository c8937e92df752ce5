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
        let rows: Vec<f64> = thumbnail
            .chunks_exact(THUMBNAIL_PX)
            .flat_map(local_mean)
            .collect();
        let mut mean = vec![0.0; rows.len()];
        for x in 0..THUMBNAIL_PX {
            let column: Vec<f64> = (0..THUMBNAIL_PX).map(|y| rows[y * THUMBNAIL_PX + x]).collect();
            for (y, value) in local_mean(&column).enumerate() {
                mean[y * THUMBNAIL_PX + x] = value;
            }
        }
        let fine: Vec<f64> = thumbnail
            .iter()
            .zip(&mean)
            .map(|(&value, mean)| f64::from(value) - mean)
            .collect();
        let centre = fine.iter().sum::<f64>() / fine.len() as f64;
        let norm = fine
            .iter()
            .map(|value| (value - centre).powi(2))
            .sum::<f64>()
            .sqrt();
        let scale = if norm > 1e-6 { norm.recip() } else { 0.0 };
        Self(
            fine.iter()
                .map(|value| ((value - centre) * scale) as f32)
                .collect(),
        )
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
