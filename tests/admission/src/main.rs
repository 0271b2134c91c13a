//! Admission in virtual time: callers, an Ollama, and systems between them, one of which is the
//! daemon's own ledger.
//!
//! `report DIR` writes tables into DIR/performance.md and plots into DIR/img. Two runs write the same
//! bytes. Absent: sockets, tokens' texts, a GPU.

mod arrivals;
mod causeway;
mod draw;
mod figures;
mod lengths;
mod ollama;
#[cfg(test)]
mod ollama_tests;
mod overflow;
mod plot;
mod report;
mod scenario;
#[cfg(test)]
mod simulation_tests;
mod spill;
mod systems;
mod world;

use std::path::Path;
use std::process::ExitCode;
use std::{env, fs, io};

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let told = match arguments.iter().map(String::as_str).collect::<Vec<&str>>()[..] {
        ["report", folder] => write_report(Path::new(folder)),
        _ => Err(io::Error::other("usage: causeway-admission-sim report DIR, where DIR holds performance.md")),
    };
    match told {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = io::Write::write_all(&mut io::stderr(), format!("{error}\n").as_bytes());
            ExitCode::FAILURE
        }
    }
}

fn write_report(folder: &Path) -> io::Result<()> {
    let page = folder.join("performance.md");
    let old = fs::read_to_string(&page)?;
    let parts =
        old.split_once(report::BEGIN).and_then(|(before, rest)| Some((before, rest.split_once(report::END)?.1)));
    let Some((before, after)) = parts else {
        return Err(io::Error::other(format!("{}: no `{}` … `{}`", page.display(), report::BEGIN, report::END)));
    };
    fs::write(&page, format!("{before}{}\n{}{}{after}", report::BEGIN, report::tables(), report::END))?;
    fs::create_dir_all(folder.join("img"))?;
    for (name, svg) in report::plots() {
        fs::write(folder.join("img").join(name), svg)?;
    }
    Ok(())
}
