//! The flags of `certiscope calibrate`.

use std::path::PathBuf;

use clap::Args;

use super::super::ModelArgs;
use super::super::part_from::PartFrom;
use crate::bundle::manifest::LEAST_FULL_SCALE;

/// The default share of good parts that may score above the threshold.
pub(in crate::cli) const FALSE_ALARM_RATE: f64 = 0.01;

/// Find the threshold from pictures of normal parts, and write a new bundle.
///
/// The given bundle is not changed: a new one with the next version is written beside it, with scores.svg, the
/// distribution of the scores, and scores.json, which says what each part scored. Near-duplicate pictures count as one
/// part. Parts that both folders show are used for the maps only.
///
/// All pictures must be of one size, one depth and one kind of colour. The bundle keeps their range: size, colours, bits, and the
/// lowest and highest mean, contrast, sharpness and asymmetry. A frame far outside of it is not inspected: it gets `abstain`
/// (bad_frame). Where the threshold is not believable, the command says so and why.
///
/// Split conformal: the probability that a new normal part is called anomalous is at most
/// false-alarm-rate + beta + alpha. The probability that it cannot be certified as normal at --radius is at most
/// false-alarm-rate + beta.
#[derive(Debug, Args)]
pub(in crate::cli) struct CalibrateArgs {
    /// Folder of the bundle to calibrate
    #[arg(long)]
    pub(super) bundle: PathBuf,
    /// Pictures of normal parts for the threshold; not the pictures that the model was trained on
    #[arg(long)]
    pub(super) normal: PathBuf,
    /// Pictures of normal parts for the maps, such as the training pictures [default: half of --normal]
    #[arg(long)]
    pub(super) maps: Option<PathBuf>,
    /// Folder for the new bundle; must not exist [default: beside the bundle, named by the next free version: B-v2]
    #[arg(long)]
    pub(super) out: Option<PathBuf>,
    /// Share of normal parts that may score above the threshold
    #[arg(long, default_value_t = FALSE_ALARM_RATE)]
    pub(super) false_alarm_rate: f64,
    /// Probability that the bound of one picture's score is wrong
    #[arg(long, default_value_t = 0.001)]
    pub(super) beta: f64,
    /// Normal parts must be certifiable at this l2 radius at the model input [default: half the sigma]
    #[arg(long)]
    pub(super) radius: Option<f64>,
    /// Every picture shows another part: near-identical pictures count separately, equal ones once
    #[arg(long)]
    pub(super) distinct_parts: bool,
    /// Names tell the part: the first group of this regular expression in a picture's path below its folder, or `folder` for its
    /// sub-folder [default: near-identical pictures show one part]
    #[arg(long, value_name = "REGEX|folder", value_parser = PartFrom::parse, conflicts_with = "distinct_parts")]
    pub(super) part_from: Option<PartFrom>,
    /// Value of white in 16-bit pictures, such as 4095 for a camera of 12 bits; written into the bundle [default: the
    /// bundle's, else 65535]
    #[arg(long, value_parser = clap::value_parser!(u16).range(i64::from(LEAST_FULL_SCALE)..))]
    pub(super) full_scale: Option<u16>,
    /// Allow pictures of several sizes: each is squashed to the model input, and the bundle checks the size of no frame
    #[arg(long)]
    pub(super) mixed_sizes: bool,
    /// Seed of the noise: the same seed and pictures give the same threshold. Do not try several and keep the best: that
    /// voids the guarantee
    #[arg(long, default_value_t = 1)]
    pub(super) seed: u64,
    #[command(flatten)]
    pub(super) model: ModelArgs,
}
