//! The `certiscope` program; everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    certiscope::main()
}
