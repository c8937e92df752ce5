//! `certiscope inspections`: the log of what was decided, as a table, in plain words, as a file for others.
//!
//! Guarantees: nothing is changed; the agent may run meanwhile; memory does not grow with the log.

mod export_table;
mod list;
mod row;
mod show;

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::Failure;

/// Read the log: list inspections, show one in plain words, export them.
///
/// Reads the database beside the running agent and changes nothing.
#[derive(Debug, Args)]
pub(super) struct InspectionsArgs {
    #[command(subcommand)]
    command: InspectionsCommand,
}

// No comments on these: they would take the place of those on the arguments in each command's help.
#[derive(Debug, Subcommand)]
enum InspectionsCommand {
    List(list::ListArgs),
    Show(show::ShowArgs),
    Export(export_table::ExportTableArgs),
}

pub(super) fn inspections(args: &InspectionsArgs) -> Result<ExitCode, Failure> {
    match &args.command {
        InspectionsCommand::List(args) => list::list(args),
        InspectionsCommand::Show(args) => show::show(args),
        InspectionsCommand::Export(args) => export_table::export(args),
    }
}
