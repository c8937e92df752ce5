//! `certiscope generate`: writes man pages and shell completions, made from the definition of the command line.
//!
//! For those who make packages; the help does not list it. The same program writes the same bytes.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Command};
use clap_complete::Shell;

use super::Failure;

/// Write man pages (DIR/man) and completions for bash, zsh and fish (DIR/completions)
#[derive(Debug, Args)]
#[command(hide = true)]
pub(super) struct GenerateArgs {
    /// Folder to write to; created if it does not exist
    dir: PathBuf,
}

pub(super) fn generate(args: &GenerateArgs, command: &Command) -> Result<ExitCode, Failure> {
    let [man, completions] = ["man", "completions"].map(|name| args.dir.join(name));
    for folder in [&man, &completions] {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("{}: cannot be created", folder.display()))
            .map_err(Failure::refused)?;
    }
    clap_mangen::generate_to(command.clone(), &man)
        .with_context(|| format!("{}: cannot be written", man.display()))
        .map_err(Failure::stopped)?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut command.clone(), "certiscope", &completions)
            .with_context(|| format!("{}: cannot be written", completions.display()))
            .map_err(Failure::stopped)?;
    }
    Ok(ExitCode::SUCCESS)
}
