//! Which pictures show the same part: grouping by near-duplicates.
//!
//! One part photographed several times gives near-identical pictures. If they counted as several parts, no guarantee
//! that needs independent parts would hold. Parts of one product look alike too, so likeness is judged within the set: what all
//! its pictures have in common (the mean and up to [`DIRECTIONS`] principal directions) is taken off first. Two pictures show
//! one part if what is left correlates above [`LIMIT`], or if one is the other above [`EQUAL`], up to light and a small shift;
//! also through a third picture.
//! Training data is split by exactly the same definition (`models/certiscope_models/grouping.py`); tests/golden/parts.json holds
//! both to the same groups.
//!
//! Guarantees: no such pair is separated. All pictures without any structure (a closed lens, a lamp that is out) are one part.
//! Leaves out: decoding and shrinking to the thumbnail. A set whose pictures all show one part, under other noise: nothing in it
//! tells it from many parts. Names do (`--part-from`).
//! Costs: five products of 4,096 numbers for every pair of pictures, and 80 kB a picture: seconds for 600 pictures.

use ndarray::{Array1, Array2, ArrayView2, Axis, s};

/// Correlation of what is left of two pictures of one part.
const LIMIT: f32 = 0.66;
/// Correlation of two whole pictures of one part, in any set, after a small shift.
const EQUAL: f32 = 0.98;
/// Principal directions that are taken off; at most one for five parts.
const DIRECTIONS: usize = 30;
/// Correlation of two pictures less the mean that show one part in any set, for finding what is common.
const CLEAR: f32 = 0.9;
/// Or: how many times the middle half of all pairs such a pair stands out, if it is above [`LIMIT`] too.
const SPREADS: f32 = 6.0;
/// Fewer pictures do not show what they have in common.
const FEW: usize = 10;
/// Correlation of two pictures of so few that count as one part: rather too few parts than too many.
const ALIKE: f32 = 0.85;
/// Rounds of the subspace iteration.
const ROUNDS: usize = 30;
/// Rows of the table of all pairs that are held at a time.
const BLOCK: usize = 512;
/// Side of the grey thumbnail, area averaged, that is compared.
pub(crate) const THUMBNAIL_PX: usize = 64;
const PIXELS: usize = THUMBNAIL_PX * THUMBNAIL_PX;
/// Side of the box mean that is subtracted, so that slow changes of brightness do not decide.
const BLUR_PX: usize = 9;
/// Norm below which fine structure is only rounding. One grey level in one pixel of a 512x512 picture has 6e-5.
const NO_STRUCTURE: f64 = 3e-5;
/// Strength of fine structure (of 1) that the camera's noise may have.
const NOISE: f64 = 0.01;
/// Norm below which a difference of fingerprints is only rounding.
const ROUNDING: f32 = 1e-4;

/// The fine structure of one picture: thumbnail minus its local mean, divided by its local strength, so that the faint texture of
/// a part counts as much as the edges that all parts share; mean 0, norm 1.
#[derive(Debug, Clone)]
pub(crate) struct Fingerprint(Vec<f32>);

impl Fingerprint {
    /// The fingerprint of a thumbnail, given row by row. All pictures without structure get the same constant
    /// fingerprint, whose correlation with every other is 0.
    pub(crate) fn of(thumbnail: &[f32; PIXELS]) -> Self {
        let pixels: Vec<f64> = thumbnail.iter().copied().map(f64::from).collect();
        let mut fine: Vec<f64> =
            pixels.iter().zip(box_mean(&pixels)).map(|(value, mean)| value - mean).collect();
        if norm_about_mean(&fine).1 < NO_STRUCTURE {
            return Self(vec![1.0 / THUMBNAIL_PX as f32; PIXELS]);
        }
        let squares: Vec<f64> = fine.iter().map(|value| value * value).collect();
        for (value, square) in fine.iter_mut().zip(box_mean(&squares)) {
            *value /= square.sqrt() + NOISE;
        }
        let (mean, norm) = norm_about_mean(&fine);
        Self(fine.iter().map(|value| ((value - mean) / norm) as f32).collect())
    }
}

fn norm_about_mean(values: &[f64]) -> (f64, f64) {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    (mean, values.iter().map(|value| (value - mean).powi(2)).sum::<f64>().sqrt())
}

/// The box mean of a thumbnail, row by row.
fn box_mean(pixels: &[f64]) -> Vec<f64> {
    let rows: Vec<f64> = pixels.chunks_exact(THUMBNAIL_PX).flat_map(local_mean).collect();
    let mut mean = vec![0.0; rows.len()];
    for x in 0..THUMBNAIL_PX {
        let column: Vec<f64> = (0..THUMBNAIL_PX).map(|y| rows[y * THUMBNAIL_PX + x]).collect();
        for (y, value) in local_mean(&column).enumerate() {
            mean[y * THUMBNAIL_PX + x] = value;
        }
    }
    mean
}

/// Box mean along one line, mirrored at its ends without repeating the end (numpy's "reflect").
fn local_mean<T: Copy + Into<f64>>(line: &[T]) -> impl Iterator<Item = f64> {
    let (half, last) = ((BLUR_PX / 2) as isize, line.len() as isize - 1);
    (0..=last).map(move |centre| {
        let mirrored = |i: isize| line[(last - (last - i.abs()).abs()) as usize].into();
        (centre - half..=centre + half).map(mirrored).sum::<f64>() / BLUR_PX as f64
    })
}

/// Pictures that pairs of them connect to groups.
struct Groups {
    /// For each picture an earlier picture of its group; for the first picture of a group its own number.
    parent: Vec<usize>,
}

impl Groups {
    fn apart(count: usize) -> Self {
        Self { parent: (0..count).collect() }
    }

    fn join(&mut self, one: usize, other: usize) {
        let (one, other) = (self.root(one), self.root(other));
        self.parent[one.max(other)] = one.min(other);
    }

    /// The group of each picture, numbered from 0 in order of first appearance.
    fn numbered(mut self) -> Vec<usize> {
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

/// The group of each of `count` pictures, numbered from 0 in order of first appearance. `is_same` compares two of them.
pub(crate) fn groups_by(count: usize, is_same: impl Fn(usize, usize) -> bool) -> Vec<usize> {
    let mut groups = Groups::apart(count);
    for other in 0..count {
        (0..other).filter(|&one| is_same(one, other)).for_each(|one| groups.join(one, other));
    }
    groups.numbered()
}

/// The group of each picture of a set, numbered from 0 in order of first appearance.
pub(crate) fn groups(fingerprints: &[Fingerprint]) -> Vec<usize> {
    let count = fingerprints.len();
    let mut rows = Array2::zeros((count, PIXELS));
    for (mut row, fingerprint) in rows.outer_iter_mut().zip(fingerprints) {
        row.assign(&ndarray::ArrayView1::from(&fingerprint.0));
    }
    if count < FEW {
        return connected(count, &pairs_above(ALIKE, &rows, &[rows.view()]));
    }
    let [across, down] = shifts(&rows);
    let equal = pairs_above(EQUAL, &rows, &[rows.view(), across.view(), down.view()]);
    drop((across, down));
    // One picture a part, as far as that is clear already: else a part that was photographed often would look common.
    let centre = rows.mean_axis(Axis(0)).expect("there are pictures");
    let centred = &rows - &centre;
    let stands_out = (SPREADS * spread(&centred)).clamp(LIMIT, CLEAR);
    let clear = connected(count, &[equal.clone(), pairs_above_cosine(stands_out, centred)].concat());
    let firsts = rows.select(Axis(0), &first_of_each(&clear));
    let mean = firsts.mean_axis(Axis(0)).expect("there is a part");
    let common = principal_directions(&(&firsts - &mean), DIRECTIONS.min(firsts.nrows() / 5));
    let mut rest = rows - &mean;
    rest -= &rest.dot(&common).dot(&common.t());
    connected(count, &[equal, pairs_above_cosine(LIMIT, rest)].concat())
}

fn connected(count: usize, pairs: &[(usize, usize)]) -> Vec<usize> {
    let mut groups = Groups::apart(count);
    pairs.iter().for_each(|&(one, other)| groups.join(one, other));
    groups.numbered()
}

/// For each fingerprint two unit vectors that it moves along when its picture is shifted across and down. Each is at a right angle
/// to the other and to the fingerprint, so that the squares of the correlations with the three add up.
fn shifts(rows: &Array2<f32>) -> [Array2<f32>; 2] {
    let (mut across, mut down) = (Array2::zeros(rows.dim()), Array2::zeros(rows.dim()));
    for (number, row) in rows.outer_iter().enumerate() {
        let picture = row.to_shape((THUMBNAIL_PX, THUMBNAIL_PX)).expect("its size");
        let sideways = slope(&picture.view());
        let downwards = slope(&picture.t());
        let x = unit(without(Array1::from_iter(sideways.iter().copied()), &[&row.to_owned()]));
        let y = unit(without(Array1::from_iter(downwards.t().iter().copied()), &[&row.to_owned(), &x]));
        across.row_mut(number).assign(&x);
        down.row_mut(number).assign(&y);
    }
    [across, down]
}

/// The slope along each row: central differences, one-sided at the ends.
fn slope(picture: &ArrayView2<'_, f32>) -> Array2<f32> {
    let last = picture.ncols() - 1;
    let mut slope = Array2::zeros(picture.dim());
    for x in 0..=last {
        let (before, after) = (x.saturating_sub(1), (x + 1).min(last));
        let difference = &picture.column(after) - &picture.column(before);
        slope.column_mut(x).assign(&(difference / (after - before) as f32));
    }
    slope
}

/// A vector less its shares along unit vectors that are at right angles to each other.
fn without(mut vector: Array1<f32>, directions: &[&Array1<f32>]) -> Array1<f32> {
    for direction in directions {
        let share = vector.dot(*direction);
        vector.scaled_add(-share, direction);
    }
    vector
}

/// A vector with norm 1; one of nothing but rounding becomes 0.
fn unit(vector: Array1<f32>) -> Array1<f32> {
    let norm = vector.dot(&vector).sqrt();
    if norm > ROUNDING { vector / norm } else { Array1::zeros(vector.len()) }
}

/// The pairs (i, j), i != j, where row i lies in the span of row j of all `bases` by more than `limit`.
fn pairs_above(limit: f32, rows: &Array2<f32>, bases: &[ArrayView2<'_, f32>]) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    for start in (0..rows.nrows()).step_by(BLOCK) {
        let block = rows.slice(s![start..rows.nrows().min(start + BLOCK), ..]);
        // the negative of a picture is no likeness
        let mut squares = block.dot(&bases[0].t()).mapv(|near| near * near.abs());
        for base in &bases[1..] {
            squares += &block.dot(&base.t()).mapv(|near| near * near);
        }
        let near = squares.indexed_iter().filter(|(_, square)| **square > limit * limit);
        found.extend(near.map(|((i, j), _)| (start + i, j)).filter(|(i, j)| i != j));
    }
    found
}

/// The pairs of rows whose angle has a cosine above `limit`.
fn pairs_above_cosine(limit: f32, mut rows: Array2<f32>) -> Vec<(usize, usize)> {
    for mut row in rows.outer_iter_mut() {
        let direction = unit(row.to_owned());
        row.assign(&direction);
    }
    pairs_above(limit, &rows, &[rows.view()])
}

/// How far the correlations of pairs lie apart: the width of their middle half, from at most [`BLOCK`] of the rows.
fn spread(rows: &Array2<f32>) -> f32 {
    let count = rows.nrows().min(BLOCK);
    let mut chosen: Vec<Array1<f32>> =
        (0..count).map(|i| unit(rows.row(i * rows.nrows() / count).to_owned())).collect();
    let mut pairs = Vec::new();
    while let Some(one) = chosen.pop() {
        pairs.extend(chosen.iter().map(|other| one.dot(other)));
    }
    pairs.sort_unstable_by(f32::total_cmp);
    pairs[3 * pairs.len() / 4] - pairs[pairs.len() / 4]
}

/// The first `count` principal directions of centred rows, one a column, by subspace iteration.
fn principal_directions(rows: &Array2<f32>, count: usize) -> Array2<f32> {
    let chosen: Vec<usize> = (0..count).map(|i| i * rows.nrows() / count).collect();
    let mut basis = rows.select(Axis(0), &chosen);
    if count == 0 {
        return basis.reversed_axes();
    }
    make_orthonormal(&mut basis);
    for _ in 0..ROUNDS {
        basis = basis.dot(&rows.t()).dot(rows);
        make_orthonormal(&mut basis);
    }
    basis.reversed_axes()
}

/// Makes the rows orthonormal (Gram-Schmidt, twice against rounding).
fn make_orthonormal(basis: &mut Array2<f32>) {
    for number in 0..basis.nrows() {
        let mut row = unit(basis.row(number).to_owned());
        for _ in 0..2 {
            let before = basis.slice(s![..number, ..]);
            let shares = before.dot(&row);
            row = unit(row - before.t().dot(&shares));
        }
        basis.row_mut(number).assign(&row);
    }
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

    /// A texture that Python's test makes in the same way.
    fn made_up(seed: u32) -> Vec<f64> {
        let mixed = |i: u32| {
            let steps = [(16, 0x7feb_352d_u32), (15, 0x846c_a68b), (16, 1)];
            let start = seed.wrapping_mul(4096).wrapping_add(i);
            steps
                .iter()
                .fold(start, |value, (shift, factor)| (value ^ (value >> shift)).wrapping_mul(*factor))
        };
        (0..PIXELS as u32).map(|i| f64::from(mixed(i)) / 2_f64.powi(32)).collect()
    }

    #[derive(serde::Deserialize)]
    struct Case {
        name: String,
        product: f64,
        kind: f64,
        own: f64,
        noise: f64,
        parts: Vec<u32>,
        groups: Vec<usize>,
    }

    #[test]
    fn the_groups_are_those_that_python_finds() {
        let cases: Vec<Case> = serde_json::from_str(include_str!("../tests/golden/parts.json")).unwrap();
        let (product, kinds) = (made_up(1), [made_up(2), made_up(3)]);
        for case in cases {
            let pictures = case.parts.iter().zip(0..).map(|(part, shot)| {
                let (own, noise) = (made_up(100 + part), made_up(10_000 + shot));
                let kind = &kinds[*part as usize % 2];
                let light = 0.7 + 0.1 * f64::from(shot % 4);
                let value = |i: usize| {
                    light * (0.2 + case.product * product[i] + case.kind * kind[i] + case.own * own[i])
                        + case.noise * noise[i]
                };
                Fingerprint::of(&std::array::from_fn(|i| value(i) as f32))
            });
            assert_eq!(groups(&pictures.collect::<Vec<_>>()), case.groups, "{}", case.name);
        }
    }

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
