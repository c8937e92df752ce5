//! What the commands print: results to standard output, notes and the journal to standard error.
//!
//! Guarantees: printing never panics and never ends a command in the middle of its work. Once standard output cannot be
//! written, nothing more is written to it, and [`exit_code`] reports that at the end. A reader that closed the pipe early, as
//! `| head` does, is no fault. A note that cannot be written is dropped. A station never waits for a reader: after
//! [`never_wait`], lines that the reader does not take are counted and dropped. Other commands wait for theirs, as `| less` needs.

use std::fmt::Arguments;
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::anyhow;

use super::exit_code::{Failure, REFUSED, STOPPED};
use super::line_thread::LineThread;

/// How long the end of a station waits for readers that do not read.
const LAST_LINES: Duration = Duration::from_secs(1);

/// The first error of standard output.
static FAILED: OnceLock<io::Error> = OnceLock::new();

/// Whether this process inspects, so that it must not wait for readers.
static NEVER_WAIT: AtomicBool = AtomicBool::new(false);

/// The threads that write. `None` if the system allows no more threads: then lines are written by those who print them.
static RESULTS: OnceLock<Option<LineThread>> = OnceLock::new();
static NOTES: OnceLock<Option<LineThread>> = OnceLock::new();

/// Prints a line to standard output, like `println!`.
macro_rules! print_line {
    ($($words:tt)*) => { $crate::cli::output::line(format_args!($($words)*)) };
}

/// Prints a line for a person to standard error, like `eprintln!`.
macro_rules! print_note {
    ($($words:tt)*) => { $crate::cli::output::note(format_args!($($words)*)) };
}

pub(in crate::cli) use {print_line, print_note};

/// From now on nothing that is printed makes this process wait. For the commands that inspect parts.
pub(in crate::cli) fn never_wait() {
    NEVER_WAIT.store(true, Ordering::Relaxed);
}

/// Use [`print_line`].
pub(in crate::cli) fn line(words: Arguments<'_>) {
    if is_closed() {
        return;
    }
    if NEVER_WAIT.load(Ordering::Relaxed)
        && let Some(results) = results()
    {
        results.offer(format!("{words}\n").into_bytes());
        return;
    }
    let mut out = io::stdout().lock();
    // Flushed, so that the reader sees each result as it comes, and an error is seen at its line.
    keep(writeln!(out, "{words}").and_then(|()| out.flush()));
}

/// Use [`print_note`].
pub(in crate::cli) fn note(words: Arguments<'_>) {
    to_standard_error(format!("{words}\n").into_bytes());
}

/// Like [`print_note`], but never waits. For what must go on without a reader: a signal, a panic.
pub(in crate::cli) fn note_at_once(words: Arguments<'_>) {
    if let Some(notes) = notes() {
        notes.offer(format!("{words}\n").into_bytes());
    }
}

/// Writes the bytes of a note or of a line of the journal.
pub(in crate::cli) fn to_standard_error(line: Vec<u8>) {
    match notes() {
        Some(notes) if NEVER_WAIT.load(Ordering::Relaxed) => {
            notes.offer(line);
        }
        Some(notes) => notes.put(line),
        None => {
            let _ = io::stderr().lock().write_all(&line);
        }
    }
}

/// Waits until the notes so far are written, at most a second.
pub(in crate::cli) fn flush_notes() {
    if let Some(notes) = notes() {
        notes.flush(LAST_LINES);
    }
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
    if let Some(Some(results)) = RESULTS.get()
        && !results.flush(LAST_LINES)
    {
        keep(Err(io::Error::new(ErrorKind::TimedOut, "nobody reads it")));
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

/// Prints what the reader of the arguments has to say: help, the version, or what is wrong. Returns the exit code.
pub(in crate::cli) fn usage(said: &clap::Error) -> ExitCode {
    let printed = said.print().and_then(|()| io::stdout().flush());
    if !said.use_stderr() {
        keep(printed);
    }
    exit_code(Ok(ExitCode::from(u8::try_from(said.exit_code()).unwrap_or(STOPPED))))
}

fn results() -> Option<&'static LineThread> {
    RESULTS.get_or_init(|| thread("results", io::stdout(), |error| keep(Err(error)), "lines")).as_ref()
}

fn notes() -> Option<&'static LineThread> {
    NOTES.get_or_init(|| thread("notes", io::stderr(), |_| {}, "lines of the journal")).as_ref()
}

fn thread(
    name: &str,
    output: impl Write + Send + 'static,
    failed: impl Fn(io::Error) + Send + 'static,
    what: &'static str,
) -> Option<LineThread> {
    let loss = move |lost: u64| {
        format!("certiscope: {lost} {what} are lost: nobody read them in time; inspection went on\n")
    };
    LineThread::start(name, output, failed, loss).ok()
}

fn keep(result: io::Result<()>) {
    if let Err(error) = result {
        let _ = FAILED.set(error);
    }
}

fn unwritten(error: &io::Error) -> String {
    format!("output: cannot be written: {error}")
}
