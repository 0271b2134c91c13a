//! Scenarios that share one expensive stack run in order within one test process.
//!
//! Output looks like libtest's, so that the same readers understand it. A skipped target says so
//! on standard error, which nothing captures.

use std::future::Future;
use std::io::Write;
use std::process::ExitCode;
use std::time::Instant;

/// Counts scenarios and prints a line for each.
#[derive(Debug, Default)]
pub struct Runner {
    passed: usize,
    failed: Vec<String>,
}

impl Runner {
    /// Runs one scenario; a panic or an `Err` is its failure and does not end the others.
    pub async fn run<F>(&mut self, name: &str, scenario: F)
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let started = Instant::now();
        let failure = match tokio::spawn(scenario).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(format!("{error:#}")),
            Err(panicked) => Some(panicked.to_string()),
        };
        let seconds = started.elapsed().as_secs_f64();
        match failure {
            None => {
                self.passed += 1;
                say(&format!("test {name} ... ok ({seconds:.1} s)"));
            }
            Some(why) => {
                say(&format!("test {name} ... FAILED ({seconds:.1} s)\n    {why}"));
                self.failed.push(name.to_owned());
            }
        }
    }

    /// The closing line, and the process's exit code.
    #[must_use]
    pub fn finish(self) -> ExitCode {
        let verdict = if self.failed.is_empty() { "ok" } else { "FAILED" };
        say(&format!(
            "\ntest result: {verdict}. {} passed; {} failed; 0 ignored; 0 measured; 0 filtered out",
            self.passed,
            self.failed.len()
        ));
        if self.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// Says visibly that a whole target did not run. An error where `CAUSEWAY_REQUIRE_LIVE` is set,
/// as in CI.
#[must_use]
pub fn skipped(target: &str, why: &str) -> ExitCode {
    say(&format!("SKIPPED {target}: {why}"));
    say("\ntest result: ok. 0 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out");
    if std::env::var_os("CAUSEWAY_REQUIRE_LIVE").is_some() {
        say("CAUSEWAY_REQUIRE_LIVE is set, so a skip is a failure");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// A line on standard error, past any capture.
pub fn say(line: &str) {
    // Nothing can be done about a closed standard error.
    let _ = writeln!(std::io::stderr(), "{line}");
}
