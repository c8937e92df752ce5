//! The `certiscope` program itself, run to its end.

use assert_cmd::Command;
use serde_json::Value;
use std::sync::LazyLock;
use std::time::Duration;

/// How a run ended, and what it said.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// The program under test: the one that was built with the tests, or the one that `CERTISCOPE_TEST_PROGRAM` names, such as an older
/// one that a new test must fail on.
pub(crate) fn path() -> &'static str {
    static PATH: LazyLock<String> = LazyLock::new(|| {
        std::env::var("CERTISCOPE_TEST_PROGRAM")
            .unwrap_or_else(|_| env!("CARGO_BIN_EXE_certiscope").to_owned())
    });
    &PATH
}

/// A command of the program, to be given its arguments.
pub(crate) fn certiscope(command: &str) -> Command {
    let mut program = Command::new(path());
    program.env_remove("RUST_LOG").timeout(Duration::from_secs(120)).arg(command);
    program
}

/// Runs the program. It must end without a panic and print no colours.
pub(crate) fn run(command: &mut Command) -> Ran {
    let output = command.output().expect("the program starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("the program speaks UTF-8");
    let (stdout, stderr) = (text(output.stdout), text(output.stderr));
    let code = output.status.code().unwrap_or_else(|| panic!("{}: {stderr}", output.status));
    assert!(!stderr.contains("panic"), "{stderr}");
    assert!(!stderr.contains('\x1b'), "colours, although stderr is no terminal: {stderr:?}");
    Ran { code, stdout, stderr }
}

impl Ran {
    pub(crate) fn succeeded(self) -> Self {
        assert_eq!(self.code, 0, "{}{}", self.stdout, self.stderr);
        self
    }

    /// Checks that the program refused, with these words on stderr and nothing on stdout. `case` names the test's case.
    pub(crate) fn refused(&self, case: &str, words: &[&str]) {
        assert_eq!(self.code, 78, "{case}: {self:?}");
        assert_eq!(self.stdout, "", "{case}: a result of a refused run");
        for words in words {
            assert!(self.stderr.contains(words), "{case}: no {words:?} in {}", self.stderr);
        }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}", self.stdout))
    }
}
