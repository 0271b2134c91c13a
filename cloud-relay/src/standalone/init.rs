//! `init`: everything a new relay needs, in one directory.
//!
//! Invariant: nothing that is there is written over. What an `init` that was interrupted left out
//! is made by the next one; a renewed certificate leaves the old one beside it.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use crate::ca::{self, Ca};
use crate::standalone::config::Config;
use crate::standalone::files;
use crate::standalone::store::Store;

/// The parts, in the order in which they are made.
struct Layout {
    directory: PathBuf,
    ca: PathBuf,
    server: PathBuf,
    server_key: PathBuf,
    store: PathBuf,
    config: PathBuf,
}

impl Layout {
    fn new(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
            ca: directory.join("ca"),
            server: directory.join("server.pem"),
            server_key: directory.join("server.key"),
            store: directory.join("causeway-relay.db"),
            config: directory.join("causeway-relay.toml"),
        }
    }

    /// Whether the authority and the server's certificate are there.
    ///
    /// # Errors
    ///
    /// What is there cannot be completed without losing something.
    fn check(&self) -> anyhow::Result<(bool, bool)> {
        let has_ca = pair(
            &self.ca.join(ca::CERT_FILE),
            &self.ca.join(ca::KEY_FILE),
            "restore it from a backup; if no edge ever used this authority, move the file away and run `init` again",
        )?;
        let has_server = pair(&self.server, &self.server_key, "`init --renew-certificates` makes both anew")?;
        if !has_ca && self.store.exists() {
            bail!(
                "{} is there and the certificate authority in {} is not: restore it from a backup, for edges trust it \
                 alone; to begin anew, move the store away or use another directory. Nothing was changed",
                self.store.display(),
                self.ca.display(),
            );
        }
        Ok((has_ca, has_server))
    }

    fn next(&self) -> String {
        let config = self.config.display();
        format!(
            "next: causeway-relay keys create --config {config} --name my-app\n      causeway-relay serve --config {config}\n"
        )
    }
}

/// Makes CA, server certificate, store and a commented configuration, or what is missing of them.
///
/// # Errors
///
/// All of it is there, a part is there that cannot be completed without losing something, a file
/// cannot be written, or a name that no certificate can carry.
pub(crate) fn init(directory: &Path, name: &str) -> anyhow::Result<String> {
    files::make_directory(directory)?;
    let layout = Layout::new(&directory.canonicalize()?);
    let (has_ca, has_server) = layout.check()?;
    let (has_store, has_config) = (layout.store.exists(), layout.config.exists());
    let parts =
        [(&layout.ca, has_ca), (&layout.server, has_server), (&layout.store, has_store), (&layout.config, has_config)];
    let list = |wanted: bool| {
        let paths = parts.iter().filter(|(_, there)| *there == wanted);
        paths.map(|(path, _)| path.display().to_string()).collect::<Vec<_>>().join(", ")
    };
    let (kept, made) = (list(true), list(false));
    if made.is_empty() {
        bail!(
            "all of it is there already and nothing was changed: {kept}\n{}\
             `init --dir {} --renew-certificates` renews the callers' certificate; another relay needs another directory",
            layout.next(),
            layout.directory.display(),
        );
    }
    let ca = if has_ca {
        Ca::load(&layout.ca).with_context(|| layout.ca.display().to_string())?
    } else {
        let ca = Ca::create(name)?;
        ca.save(&layout.ca)?;
        ca
    };
    if !has_server {
        let server = ca.sign_server(&[name])?;
        files::write_new(&layout.server_key, &server.key_pem)?;
        files::write_new(&layout.server, &server.chain_pem)?;
    }
    if !has_store {
        Store::create(&layout.store)?;
    }
    if !has_config {
        files::write_new(&layout.config, &config(&layout.directory, name))?;
    }
    let kept = if kept.is_empty() { kept } else { format!("kept {kept}\n") };
    Ok(format!("{kept}made {made}\n{}", layout.next()))
}

/// Signs a new certificate for the callers' port; CA, store and configuration stay. The name is the
/// configuration's if none is given.
///
/// # Errors
///
/// The port's certificate is not one that `init` made, there is no CA, or a file cannot be written.
pub(crate) fn renew(directory: &Path, name: Option<&str>) -> anyhow::Result<String> {
    let directory = directory.canonicalize().with_context(|| directory.display().to_string())?;
    let layout = Layout::new(&directory);
    let name = match (name, configured(&layout)?) {
        (Some(name), _) => name.to_owned(),
        (None, Some(config)) => config.name,
        (None, None) => bail!("{} is not there; say the relay's name with --name", layout.config.display()),
    };
    let ca = Ca::load(&layout.ca)
        .with_context(|| format!("the authority in {} must sign it; restore it from a backup", layout.ca.display()))?;
    let server = ca.sign_server(&[&name])?;
    // A running relay that sees one new file and one old keeps what it has, and looks again.
    files::replace(&layout.server_key, &server.key_pem)?;
    files::replace(&layout.server, &server.chain_pem)?;
    Ok(format!(
        "renewed {} and {} for {name}; the old ones are beside them as *.old, and a running relay takes the new ones within 60 s\n",
        layout.server.display(),
        layout.server_key.display(),
    ))
}

/// The configuration, if it is there and its callers' certificate is `init`'s.
fn configured(layout: &Layout) -> anyhow::Result<Option<Config>> {
    if !layout.config.exists() {
        return Ok(None);
    }
    let parsed = Config::parse(&files::read(&layout.config)?, &layout.directory);
    let config = parsed.map_err(|faults| anyhow::anyhow!("{}: {faults}", layout.config.display()))?;
    let ours = (layout.server.clone(), layout.server_key.clone());
    match &config.tls {
        Some(tls) if *tls == ours => Ok(Some(config)),
        Some((cert, _)) => bail!(
            "callers.tls-cert is {}, which `init` did not make; renew it where it came from. Nothing was changed",
            cert.display()
        ),
        None => bail!("the callers' port has no certificate: it is plain HTTP. Nothing was changed"),
    }
}

/// Whether both of two files that belong together are there, or neither.
fn pair(first: &Path, second: &Path, cure: &str) -> anyhow::Result<bool> {
    let (there, missing) = match (first.exists(), second.exists()) {
        (true, true) => return Ok(true),
        (false, false) => return Ok(false),
        (true, false) => (first, second),
        (false, true) => (second, first),
    };
    bail!("{} is there and {} is not: {cure}. Nothing was changed", there.display(), missing.display())
}

fn config(directory: &Path, name: &str) -> String {
    let path = |file: &str| quote(&directory.join(file).display().to_string());
    format!(
        r#"# The relay's configuration. `causeway-relay check-config --config FILE` tells every fault at once.

[callers]
# Where applications connect (HTTPS).
listen = "0.0.0.0:8443"
# Any CA's files, certbot's too; these are signed by the relay's own CA, {ca}.
# Without both lines: plain HTTP, accepted only on a loopback address.
tls-cert = {cert}
tls-key = {key}

[edges]
# Where GPU machines connect: mutual TLS 1.3.
listen = "0.0.0.0:8444"
# The name they know this relay by.
name = {name}

[ca]
# The own certificate authority; keep its key as safe as the machines it lets in.
directory = {ca_directory}

[store]
sqlite = {store}

[limits]
# Largest body of one request, MiB.
body-mib = 32
# All buffered bodies together, MiB; beyond: 503.
bodies-mib = 512
# Requests at once; beyond: 503.
streams = 1024
"#,
        ca = directory.join("ca/ca.pem").display(),
        cert = path("server.pem"),
        key = path("server.key"),
        name = quote(name),
        ca_directory = path("ca"),
        store = path("causeway-relay.db"),
    )
}

/// A TOML string; JSON's escapes are TOML's too.
fn quote(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
#[path = "init_tests.rs"]
mod tests;
