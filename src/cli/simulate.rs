//! `certiscope simulate`: writes a simulated data set to the disk, for training, calibrating and trying out.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::{Failure, progress_bar};
use crate::capture::simulator::{SimulatorSettings, simulate as write_data_set};
use crate::cli::output::print_line;

/// Write a data set of simulated parts, in the layout of MVTec AD.
///
/// Writes train/good, test/good, test/KIND_OF_DEFECT and the masks of the defects in ground_truth.
#[derive(Debug, Args)]
pub(super) struct SimulateArgs {
    /// Folder to write to; new or empty
    #[arg(long)]
    out: PathBuf,
    /// Normal parts for training
    #[arg(long, default_value_t = 400)]
    train: u64,
    /// Parts of each kind for testing (normal ones and each kind of defect)
    #[arg(long, default_value_t = 30)]
    test_per_kind: u64,
    /// The same seed writes the same pictures
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Side of the square pictures, pixels
    #[arg(long, default_value_t = 256)]
    size_px: u32,
}

pub(super) fn simulate(args: &SimulateArgs) -> Result<ExitCode, Failure> {
    let settings = SimulatorSettings {
        seed: args.seed,
        width: args.size_px,
        height: args.size_px,
        ..SimulatorSettings::default()
    };
    let bar = progress_bar(args.train, "simulating");
    write_data_set(&args.out, settings, args.train, args.test_per_kind, &mut |done, of| {
        bar.set_length(of);
        bar.set_position(done);
    })
    .map_err(Failure::refused)?;
    bar.finish();
    print_line!("written to {}", args.out.display());
    Ok(ExitCode::SUCCESS)
}
