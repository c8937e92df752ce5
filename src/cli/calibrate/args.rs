//! The flags of `certiscope calibrate`.

use std::path::PathBuf;

use clap::Args;

use super::super::ModelArgs;

/// Share of good parts above the threshold that is asked for unless told otherwise.
pub(in crate::cli) const FALSE_ALARM_RATE: f64 = 0.01;

/// Find training maps and threshold from pictures of normal parts; writes a new bundle.
///
/// Split conformal: a fresh normal part is called anomalous with probability of at most
/// false-alarm-rate + beta + alpha, and (with --radius) is certifiable as normal at that radius but for
/// false-alarm-rate + beta. Near-duplicate pictures count once, and parts that both folders show count for the maps
/// only. The bundle is not changed: a new one with the next version is written beside it, with scores.svg, the
/// distribution of the scores, and scores.json, which says what each part scored.
#[derive(Debug, Args)]
pub(in crate::cli) struct CalibrateArgs {
    /// Folder of the bundle to calibrate
    #[arg(long)]
    pub(super) bundle: PathBuf,
    /// Pictures of normal parts for the threshold; not those that the model was trained on
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
    /// Failure probability of the bound of one frame's score
    #[arg(long, default_value_t = 0.001)]
    pub(super) beta: f64,
    /// l2 radius at the model input at which normal parts shall be certifiable [default: half the sigma]
    #[arg(long)]
    pub(super) radius: Option<f64>,
    /// Every picture shows another part: count look-alikes separately (parts from one mould look alike)
    #[arg(long)]
    pub(super) distinct_parts: bool,
    /// Seed of the noise: the same pictures give the same threshold. Trying several and keeping the best voids it
    #[arg(long, default_value_t = 1)]
    pub(super) seed: u64,
    #[command(flatten)]
    pub(super) model: ModelArgs,
}
