//! A client's script as a process that is told what to do and says what came of it.
//!
//! It reads names from its standard input, one a line, and reports each before it reads the next, so
//! that what a backend was asked meanwhile is that one's doing. Invariant: the process ends with the
//! value.

use std::io::{Read as _, Seek as _};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// Longest that one of its steps may take; a real Ollama on two cores needs a tenth of it.
const LIMIT: Duration = Duration::from_secs(120);

/// Ends a report, which may have several lines.
const END: &str = "end of cell";

/// A running script.
pub(crate) struct Script {
    _child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    errors: std::fs::File,
}

impl Script {
    /// Starts it.
    pub(crate) fn start(command: std::process::Command) -> anyhow::Result<Self> {
        let errors = tempfile::tempfile()?;
        let mut child = Command::from(command)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors.try_clone()?)
            .kill_on_drop(true)
            .spawn()
            .context("cannot start a script")?;
        let input = child.stdin.take().context("no standard input")?;
        let output = BufReader::new(child.stdout.take().context("no standard output")?).lines();
        Ok(Self { _child: child, input, output, errors })
    }

    /// Lets it run one cell.
    pub(crate) async fn run(&mut self, cell: &str) -> anyhow::Result<()> {
        let first = match self.say(cell).await {
            Ok(()) => self.line().await,
            Err(why) => Err(why),
        };
        let first = first.with_context(|| self.errors())?;
        self.reported(cell, first).await
    }

    /// What its report, which begins with this line, says of a cell.
    pub(crate) async fn reported(&mut self, cell: &str, first: String) -> anyhow::Result<()> {
        let (mut report, mut line) = (String::new(), first);
        while line != END {
            report.push_str(&line);
            report.push('\n');
            line = self.line().await.with_context(|| format!("{report}{}", self.errors()))?;
        }
        match report.strip_prefix("cell ").and_then(|report| report.strip_prefix(cell)).map(str::trim) {
            Some("ok") => Ok(()),
            Some(_) | None => bail!("{report}{}", self.errors()),
        }
    }

    /// Sends it a line.
    pub(crate) async fn say(&mut self, line: &str) -> anyhow::Result<()> {
        self.input.write_all(format!("{line}\n").as_bytes()).await?;
        Ok(self.input.flush().await?)
    }

    /// The next line that it says.
    pub(crate) async fn line(&mut self) -> anyhow::Result<String> {
        let line = tokio::time::timeout(LIMIT, self.output.next_line()).await;
        let line = line.with_context(|| format!("it said nothing for {} s", LIMIT.as_secs()))??;
        line.context("it ended too early")
    }

    /// What it wrote to its standard error.
    pub(crate) fn errors(&mut self) -> String {
        let mut said = String::new();
        match self.errors.rewind().and_then(|()| self.errors.read_to_string(&mut said)) {
            Ok(_) => said,
            Err(error) => error.to_string(),
        }
    }
}
