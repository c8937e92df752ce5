//! `certiscope inspections`: reads the inspection log. Prints a table, shows one inspection in plain words, or writes a
//! file for other programs.
//!
//! Guarantees: nothing is changed; the agent may run meanwhile; memory does not grow with the log.

mod export_table;
pub(crate) mod fuzz;
mod list;
mod row;
mod show;

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::Failure;

/// Read the inspection log: list inspections, show one in plain words, export them.
///
/// Changes nothing, and works while the agent runs.
#[derive(Debug, Args)]
pub(super) struct InspectionsArgs {
    #[command(subcommand)]
    command: InspectionsCommand,
}

// No doc comments here: they would replace those of the arguments in each command's help.
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
