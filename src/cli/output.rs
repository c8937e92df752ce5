//! What the commands print: results to standard output, notes to standard error.
//!
//! Guarantees: printing never panics and never ends a command in the middle of its work. Once standard output cannot be
//! written, nothing more is written to it, and [`exit_code`] reports that at the end. A reader that closed the pipe early, as
//! `| head` does, is no fault. A note that cannot be written is dropped.

use std::fmt::Arguments;
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;
use std::sync::OnceLock;

use anyhow::anyhow;

use super::exit_code::{Failure, REFUSED, STOPPED};

/// The first error of standard output.
static FAILED: OnceLock<io::Error> = OnceLock::new();

/// Prints a line to standard output, like `println!`.
macro_rules! print_line {
    ($($words:tt)*) => { $crate::cli::output::line(format_args!($($words)*)) };
}

/// Prints a line for a person to standard error, like `eprintln!`.
macro_rules! print_note {
    ($($words:tt)*) => { $crate::cli::output::note(format_args!($($words)*)) };
}

pub(in crate::cli) use {print_line, print_note};

/// Use [`print_line`].
pub(in crate::cli) fn line(words: Arguments<'_>) {
    if is_closed() {
        return;
    }
    let mut out = io::stdout().lock();
    // Flushed, so that whoever reads sees each result as it comes, and an error is seen at its line.
    keep(writeln!(out, "{words}").and_then(|()| out.flush()));
}

/// Use [`print_note`].
pub(in crate::cli) fn note(words: Arguments<'_>) {
    let _ = writeln!(io::stderr().lock(), "{words}");
}

/// Whether standard output cannot be written any more. A command whose only product is what it prints may end then.
pub(in crate::cli) fn is_closed() -> bool {
    FAILED.get().is_some()
}

/// The exit code of a command, after its error is printed. It is [`STOPPED`], with a note, if the command succeeded and its output
/// could not be written.
pub(in crate::cli) fn exit_code(result: Result<ExitCode, Failure>) -> ExitCode {
    let (code, error) = match result {
        Ok(code) => (code, None),
        Err(Failure::Refused(error)) => (ExitCode::from(REFUSED), Some(error)),
        Err(Failure::Stopped(error)) => (ExitCode::from(STOPPED), Some(error)),
    };
    if let Some(error) = error {
        print_note!("certiscope: {error:#}");
    }
    match FAILED.get() {
        Some(error) if error.kind() != ErrorKind::BrokenPipe && code == ExitCode::SUCCESS => {
            print_note!("certiscope: {}", unwritten(error));
            ExitCode::from(STOPPED)
        }
        _ => code,
    }
}

/// The result of a command that wrote its whole output at once. It is success if the reader closed the pipe early.
pub(in crate::cli) fn written(result: io::Result<()>) -> Result<ExitCode, Failure> {
    match result {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::stopped(anyhow!("{}", unwritten(&error))))
        }
        _ => Ok(ExitCode::SUCCESS),
    }
}

fn keep(result: io::Result<()>) {
    if let Err(error) = result {
        let _ = FAILED.set(error);
    }
}

fn unwritten(error: &io::Error) -> String {
    format!("output: cannot be written: {error}")
}
