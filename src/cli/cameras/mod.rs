//! `certiscope cameras`: lists the cameras, with the names to use in a configuration and what they can do.
//!
//! Guarantees: changes nothing in a camera, except for a snapshot, which sets its format and size. A node that cannot be
//! opened is listed with the reason.

mod listing;
mod snapshot;

use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use serde_json::Value;

use self::listing::{as_json, look_at, look_at_all, write_listing};
use self::snapshot::{SnapshotRequest, snapshot};
use super::Failure;
use super::output::{print_line, written};
use crate::capture::camera::{PixelFormat, device};

/// List the cameras of this machine: names, formats, sizes, rates, controls.
///
/// In a configuration, use one of the camera's by-id or by-path names. They stay the same when cameras are
/// plugged in or out; the number in /dev/video0 may change. Controls are listed by the names that
/// [station.source.controls] takes, with their present value and their range. Formats that certiscope cannot read are
/// summed up in one line; --json lists all of them. With --snapshot the command takes one picture, by the same code as `run`.
#[derive(Debug, Args)]
pub(super) struct CamerasArgs {
    /// Only this camera: a by-id or by-path name, or a node such as /dev/video0
    #[arg(long)]
    device: Option<PathBuf>,
    /// Print a JSON array instead of text
    #[arg(long, conflicts_with = "snapshot")]
    json: bool,
    /// Write one frame to this file: PNG, or if the name ends in .jpg the bytes of a camera that sends JPEG
    #[arg(long)]
    snapshot: Option<PathBuf>,
    /// Format of the snapshot, such as YUYV [default: the first that can be read]
    #[arg(long, requires = "snapshot", value_parser = format_by_word)]
    format: Option<PixelFormat>,
    /// Size of the snapshot, such as 1280x720 [default: as the camera is set]
    #[arg(long, requires = "snapshot", value_parser = size_by_words)]
    size: Option<(u32, u32)>,
}

fn format_by_word(typed: &str) -> Result<PixelFormat, String> {
    PixelFormat::from_word(&typed.to_ascii_uppercase())
        .ok_or_else(|| format!("one of {} is allowed", PixelFormat::ALL.map(PixelFormat::word).join(", ")))
}

fn size_by_words(typed: &str) -> Result<(u32, u32), String> {
    let sides = typed.split_once('x').and_then(|(w, h)| Some((w.parse().ok()?, h.parse().ok()?)));
    sides.ok_or_else(|| "width and height such as 1280x720 are needed".to_owned())
}

pub(super) fn cameras(args: &CamerasArgs) -> Result<ExitCode, Failure> {
    if let Some(file) = &args.snapshot {
        let device = args.device.as_deref();
        return snapshot(&SnapshotRequest { device, format: args.format, size: args.size, file });
    }
    let seen = match &args.device {
        Some(named) => {
            let path = fs::canonicalize(named).with_context(|| named.display().to_string());
            vec![look_at(device(path.map_err(Failure::Stopped)?))]
        }
        None => look_at_all()?,
    };
    let mut out = BufWriter::new(io::stdout().lock());
    if args.json {
        let all: Vec<Value> = seen.iter().map(as_json).collect();
        return written(
            serde_json::to_writer_pretty(&mut out, &all)
                .map_err(io::Error::from)
                .and_then(|()| writeln!(out)),
        );
    }
    if seen.is_empty() {
        print_line!("no camera: /dev/video* does not exist; plug a camera in, or load its driver");
        return Ok(ExitCode::SUCCESS);
    }
    written(seen.iter().try_for_each(|seen| write_listing(&mut out, seen)).and_then(|()| out.flush()))
}
