//! The exit codes of the program and what each means. Scripts and systemd rely on them.

/// Stopped by a fault while running. systemd starts the service again.
pub(in crate::cli) const STOPPED: u8 = 1;
/// Something is not reachable at present, such as the broker or the camera.
pub(in crate::cli) const UNREACHABLE: u8 = 75;
/// Refused to start: the configuration, the bundle or the library is wrong, and starting again cannot help.
pub(in crate::cli) const REFUSED: u8 = 78;
/// Ended at once by a second signal, without the ordered stop.
pub(in crate::cli) const INTERRUPTED: u8 = 130;
// 0 is `ExitCode::SUCCESS`: done. 2 is wrong usage: clap says it when it reads the arguments.

/// Why a command failed. The kind decides the exit code.
#[derive(Debug)]
pub(in crate::cli) enum Failure {
    Refused(anyhow::Error),
    Stopped(anyhow::Error),
}

impl Failure {
    pub(in crate::cli) fn refused(error: impl Into<anyhow::Error>) -> Self {
        Self::Refused(error.into())
    }

    pub(in crate::cli) fn stopped(error: impl Into<anyhow::Error>) -> Self {
        Self::Stopped(error.into())
    }
}
