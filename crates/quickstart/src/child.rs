//! The child's side: re-executed with a hidden first argument, one process a program.
//!
//! Invariant: the watcher runs before the program's `main` does; when standard input closes, the
//! parent is gone and so is this process, at once, and it takes the state directory along.

use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Duration;

use causeway_standin::{Config, Model, Pace, Standin};

use crate::output::failure;

/// Where the state lies, for whichever child is left to remove if the parent cannot.
pub(crate) const STATE: &str = "CAUSEWAY_QUICKSTART_STATE";

/// Which program a child is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Role {
    Relay,
    Daemon,
    StandIn,
}

impl Role {
    const ALL: [Self; 3] = [Self::Relay, Self::Daemon, Self::StandIn];

    /// The hidden first argument.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Relay => "__causeway-relay",
            Self::Daemon => "__causewayd",
            Self::StandIn => "__causeway-standin",
        }
    }

    /// For messages.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Relay => "relay",
            Self::Daemon => "daemon",
            Self::StandIn => "stand-in",
        }
    }
}

/// Runs the program that the first argument names; `None` if it names none.
pub(crate) fn main(args: &[OsString]) -> Option<ExitCode> {
    let word = args.get(1)?;
    let role = Role::ALL.into_iter().find(|role| word == role.word())?;
    watch_stdin();
    let program = [OsString::from(match role {
        Role::Relay => "causeway-relay",
        Role::Daemon => "causewayd",
        Role::StandIn => "causeway-standin",
    })];
    let args: Vec<OsString> = program.into_iter().chain(args.iter().skip(2).cloned()).collect();
    let code = match role {
        Role::Relay => causeway_relay::main(args),
        Role::Daemon => causewayd::main(args),
        Role::StandIn => stand_in(&args),
    };
    // A program that ends because its files or its parent are gone must not cut the removal short.
    drop(REMOVAL.lock());
    Some(code)
}

fn watch_stdin() {
    let state = std::env::var_os(STATE).map(PathBuf::from);
    std::thread::spawn(move || {
        let mut byte = [0];
        // The parent writes nothing; whatever ends the read ends the parent's promise to be there.
        while matches!(std::io::stdin().read(&mut byte), Ok(1..)) {}
        if let Some(state) = state {
            remove(&state);
        }
        std::process::exit(1);
    });
}

/// Held while the state is being removed.
static REMOVAL: Mutex<()> = Mutex::new(());

/// Renames, so that the store finds no directory to write anew in, then removes. Every child does
/// it, since whichever began may be ended midway; what another one has removed already is no error.
fn remove(state: &Path) {
    let _removing = REMOVAL.lock();
    let mut gone = state.as_os_str().to_owned();
    gone.push(".gone");
    // Renamed by another child already.
    let _ = std::fs::rename(state, &gone);
    // Nobody is left to be told.
    let _ = std::fs::remove_dir_all(&gone);
}

/// `PORT PARALLEL`: a stand-in at about the speed of a small model on a small GPU.
fn stand_in(args: &[OsString]) -> ExitCode {
    let number = |at: usize| args.get(at).and_then(|arg| arg.to_str()).and_then(|arg| arg.parse::<u16>().ok());
    let pace =
        Pace { tokens: 24, first_token: Duration::from_millis(60), gap: Duration::from_millis(20), ..Pace::default() };
    let config = Config {
        listen: (std::net::Ipv4Addr::LOCALHOST, number(1).unwrap_or(0)).into(),
        models: vec![Model::named("standin:latest"), Model::named("standin:other")],
        parallel: number(2).unwrap_or(1).into(),
        pace,
        ..Config::default()
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failure(&error.into()),
    };
    match runtime.block_on(Standin::bind(config)) {
        Ok(standin) => {
            runtime.block_on(standin.run());
            ExitCode::SUCCESS
        }
        Err(error) => failure(&error.into()),
    }
}
