//! `causeway-relay.toml`: strict, every fault at once, each with key, value, expectation and line.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use causeway_overflow::settings::{self, Origin, Reader, source};

use crate::standalone::toml_read::{Faults, Section, read_root};

/// What `serve` needs.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Config {
    /// Where callers connect.
    pub(crate) callers: SocketAddr,
    /// Certificate and key of the callers' port; without them it is plain HTTP on loopback.
    pub(crate) tls: Option<(PathBuf, PathBuf)>,
    /// Where edges connect.
    pub(crate) edges: SocketAddr,
    /// The name edges know this relay by.
    pub(crate) name: String,
    /// The CA's files.
    pub(crate) ca: PathBuf,
    /// The store's file.
    pub(crate) store: PathBuf,
    /// Largest body of one request, bytes.
    pub(crate) body: u64,
    /// All buffered bodies together, bytes.
    pub(crate) bodies: u64,
    /// Requests at once, count.
    pub(crate) streams: usize,
    /// Where requests go while no edge is linked; none where that is off.
    pub(crate) overflow: Option<settings::Overflow>,
}

const MIB: u64 = 1024 * 1024;

impl Config {
    /// Parses a file's text; relative paths are relative to `directory`.
    pub(crate) fn parse(text: &str, directory: &Path) -> Result<Self, Faults> {
        let mut faults = Faults::new(text);
        let Some(root) = read_root(text, &mut faults) else {
            return Err(faults);
        };
        let mut root = Section::new("", &root, &mut faults);
        // A later version brings it.
        root.not_yet("enroll");
        let (callers, tls) = root.section("callers", |section| callers(section, directory)).unwrap_or_default();
        let (edges, name) = root
            .section("edges", |section| {
                let name = section.string("name");
                if name.as_deref() == Some("") {
                    section.fault("name", "", "the name or address under which edges reach this relay");
                }
                (section.address("listen"), name)
            })
            .unwrap_or_default();
        let ca = root.section("ca", |section| section.path("directory", directory)).flatten();
        let store = root.section("store", |section| section.path("sqlite", directory)).flatten();
        let limits = root.optional_section("limits", |section| {
            (
                section.number("body-mib", 32, 1..=256) * MIB,
                section.number("bodies-mib", 512, 1..=65_536) * MIB,
                section.number("streams", 1024, 1..=65_536),
            )
        });
        let (body, bodies, streams) = limits.unwrap_or((32 * MIB, 512 * MIB, 1024));
        root.read_elsewhere("overflow");
        root.finish();
        let overflow = overflow(text, &mut faults);
        if body > bodies {
            faults.add("limits.bodies-mib", &(bodies / MIB).to_string(), "at least limits.body-mib", None);
        }
        if let (Some(callers), Some(edges)) = (callers, edges)
            && callers == edges
            && callers.port() != 0
        {
            faults.add("edges.listen", &format!("\"{edges}\""), "another port than callers.listen", None);
        }
        match (callers, edges, name, ca, store) {
            (Some(callers), Some(edges), Some(name), Some(ca), Some(store)) if faults.is_empty() => Ok(Self {
                callers,
                tls,
                edges,
                name,
                ca,
                store,
                body,
                bodies,
                streams: usize::try_from(streams).unwrap_or(usize::MAX),
                overflow,
            }),
            _ => Err(faults),
        }
    }
}

/// `[overflow]`, by the reader that the daemon has too.
fn overflow(text: &str, faults: &mut Faults) -> Option<settings::Overflow> {
    const SECTION: &str = "[overflow] to be a section";
    let (mut entries, mut found) = (source::Entries::new(), Vec::new());
    source::from_file(text, &mut entries, &mut found);
    entries.retain(|key, _| key == "overflow" || key.starts_with("overflow.") || key.starts_with("overflow["));
    let mut reader = Reader::new(entries, found, SECTION);
    let overflow = settings::overflow(&mut reader);
    if let Some(hedge) = overflow.as_ref().map(|overflow| overflow.hedge).filter(|hedge| !hedge.is_zero()) {
        let expected = "nothing: only a daemon has an answer of its own to hedge";
        faults.add("overflow.hedge-ms", &hedge.as_millis().to_string(), expected, None);
    }
    for fault in reader.finish() {
        let line = if let Origin::File(line) = fault.origin { Some(line) } else { None };
        faults.say_of_line(fault.to_string(), line);
    }
    overflow
}

fn callers(section: &mut Section<'_, '_>, directory: &Path) -> (Option<SocketAddr>, Option<(PathBuf, PathBuf)>) {
    section.only_empty("cors-origins");
    section.only_empty("trusted-proxies");
    let listen = section.address("listen");
    let cert = section.optional_path("tls-cert", directory);
    let key = section.optional_path("tls-key", directory);
    match (cert, key) {
        (Some(cert), Some(key)) => (listen, Some((cert, key))),
        (None, None) => {
            if let Some(address) = listen.filter(|address| !address.ip().is_loopback()) {
                section.fault(
                    "listen",
                    &address.to_string(),
                    "a loopback address, or tls-cert and tls-key beside it: plain HTTP is for loopback only",
                );
            }
            (listen, None)
        }
        (Some(_), None) => {
            section.missing("tls-key", "the key file that belongs to tls-cert");
            (listen, None)
        }
        (None, Some(_)) => {
            section.missing("tls-cert", "the certificate file that belongs to tls-key");
            (listen, None)
        }
    }
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
