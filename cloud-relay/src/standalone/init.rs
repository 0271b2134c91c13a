//! `init`: everything a new relay needs, in one directory.
//!
//! Invariant: nothing that is there is written over. What an `init` that was interrupted left out
//! is made by the next one, of two files that belong together both; a file that was replaced lies
//! beside the new one. Where CA and store are is the configuration's word, once there is one.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use rustls_pki_types::ServerName;

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
    /// What the configuration says, if it is there.
    configured: Option<Config>,
}

/// What is there of two files that belong together.
enum Pair {
    Both,
    One { there: PathBuf, missing: PathBuf },
    Neither,
}

/// What is there.
struct Found {
    ca: Pair,
    server: Pair,
    store: bool,
    config: bool,
}

impl Layout {
    fn new(directory: &Path) -> anyhow::Result<Self> {
        let config = directory.join("causeway-relay.toml");
        let configured = if exists(&config)? {
            let parsed = Config::parse(&files::read(&config)?, directory);
            Some(parsed.map_err(|faults| anyhow::anyhow!("{}: {faults}\nNothing was changed", config.display()))?)
        } else {
            None
        };
        let place = |configured: Option<&PathBuf>, file| configured.cloned().unwrap_or_else(|| directory.join(file));
        Ok(Self {
            directory: directory.to_owned(),
            ca: place(configured.as_ref().map(|config| &config.ca), "ca"),
            server: directory.join("server.pem"),
            server_key: directory.join("server.key"),
            store: place(configured.as_ref().map(|config| &config.store), "causeway-relay.db"),
            config,
            configured,
        })
    }

    /// What of it is there.
    ///
    /// # Errors
    ///
    /// What is there cannot be completed without losing something.
    fn look(&self) -> anyhow::Result<Found> {
        let ca_key = self.ca.join(ca::KEY_FILE);
        let found = Found {
            ca: pair(&ca_key, &self.ca.join(ca::CERT_FILE))?,
            server: pair(&self.server_key, &self.server)?,
            store: exists(&self.store)?,
            config: self.configured.is_some(),
        };
        let used = [(found.store, &self.store), (found.config, &self.config)];
        let used = used.into_iter().find_map(|(there, path)| there.then_some(path));
        let (there, missing) = match (&found.ca, used) {
            // A key alone, and nothing that was made after it: nobody has seen its certificate.
            (Pair::One { there, .. }, None) if *there == ca_key => return Ok(found),
            (Pair::Both, _) | (Pair::Neither, None) => return Ok(found),
            (Pair::One { there, missing }, _) => (there, missing),
            (Pair::Neither, Some(used)) => (used, &self.ca),
        };
        bail!(
            "{} is there and {} of the certificate authority is not: restore it from a backup, for edges trust it \
             alone, or correct [ca] directory if it is elsewhere; to begin anew, use another directory. Nothing was \
             changed",
            there.display(),
            missing.display(),
        );
    }

    /// Refuses a name that what is there does not have.
    fn check_name(&self, found: &Found, name: &str) -> anyhow::Result<()> {
        let directory = self.directory.display();
        match (&self.configured, &found.server) {
            (Some(config), _) if config.name != name => bail!(
                "{} says that this relay's name is `{own}`, not `{name}`: give --name {own}; to change the name, change \
                 edges.name there and run `init --dir {directory} --renew-certificates`; another relay needs another \
                 directory. Nothing was changed",
                self.config.display(),
                own = config.name,
            ),
            (None, Pair::Both) if !ca::is_for(&files::read(&self.server)?, name) => bail!(
                "{} is no certificate for `{name}`: give the name that it is for, run `init --dir {directory} \
                 --renew-certificates --name {name}` first, or move it and {} away. Nothing was changed",
                self.server.display(),
                self.server_key.display(),
            ),
            (Some(_), _) | (None, Pair::Both | Pair::One { .. } | Pair::Neither) => Ok(()),
        }
    }

    /// Makes what is missing.
    fn complete(&self, found: &Found, name: &str) -> anyhow::Result<()> {
        let ca = match found.ca {
            Pair::Both => Ca::load(&self.ca).with_context(|| self.ca.display().to_string())?,
            Pair::One { .. } | Pair::Neither => Ca::create(name)?,
        };
        // Signed before the first file is written, so that one that cannot be signed leaves nothing.
        let server = ca.sign_server(&[name])?;
        if found.ca.make_room()? {
            ca.save(&self.ca)?;
        }
        if found.server.make_room()? {
            files::write_new(&self.server_key, &server.key_pem)?;
            files::write_new(&self.server, &server.chain_pem)?;
        }
        if !found.store {
            Store::create(&self.store)?;
        }
        if !found.config {
            files::write_new(&self.config, &config(&self.directory, name))?;
        }
        Ok(())
    }

    fn next(&self) -> String {
        let config = self.config.display();
        format!(
            "next: causeway-relay keys create --config {config} --name my-app\n      causeway-relay serve --config {config}\n"
        )
    }
}

impl Pair {
    fn whole(&self) -> bool {
        matches!(self, Self::Both)
    }

    /// Whether both are to be made; one that is there alone is put aside.
    fn make_room(&self) -> anyhow::Result<bool> {
        if let Self::One { there, .. } = self {
            files::put_aside(there)?;
        }
        Ok(!self.whole())
    }

    /// What [`Self::make_room`] did, for people.
    fn aside(&self) -> String {
        match self {
            Self::One { there, missing } => {
                let (there, missing) = (there.display(), missing.display());
                format!("put {there} aside as {there}.old, for {missing} was not there\n")
            }
            Self::Both | Self::Neither => String::new(),
        }
    }
}

/// Makes CA, server certificate, store and a commented configuration, or what is missing of them.
///
/// # Errors
///
/// All of it is there, or has another name, a part is there that cannot be completed without losing
/// something, a file cannot be written, or a name that no certificate can carry.
pub(crate) fn init(directory: &Path, name: &str) -> anyhow::Result<String> {
    check_server_name(name)?;
    files::make_directory(directory)?;
    let directory = directory.canonicalize().with_context(|| directory.display().to_string())?;
    let _alone = alone_in(&directory)?;
    let layout = Layout::new(&directory)?;
    let found = layout.look()?;
    layout.check_name(&found, name)?;
    let parts = [
        (&layout.ca, found.ca.whole()),
        (&layout.server, found.server.whole()),
        (&layout.store, found.store),
        (&layout.config, found.config),
    ];
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
    layout.complete(&found, name)?;
    let kept = if kept.is_empty() { kept } else { format!("kept {kept}\n") };
    let aside = [&found.ca, &found.server].map(Pair::aside).concat();
    Ok(format!("{kept}{aside}made {made}\n{}", layout.next()))
}

/// Signs a new certificate for the callers' port; CA, store and configuration stay. The name is the
/// configuration's if none is given.
///
/// # Errors
///
/// The port's certificate is not one that `init` made, there is no CA, or a file cannot be written.
pub(crate) fn renew(directory: &Path, name: Option<&str>) -> anyhow::Result<String> {
    name.map_or(Ok(()), check_server_name)?;
    let directory = directory.canonicalize().with_context(|| directory.display().to_string())?;
    let _alone = alone_in(&directory)?;
    let layout = Layout::new(&directory)?;
    check_ours(&layout)?;
    let name = match (name, &layout.configured) {
        (Some(name), _) => name,
        (None, Some(config)) => &config.name,
        (None, None) => bail!("{} is not there; say the relay's name with --name", layout.config.display()),
    };
    let ca = Ca::load(&layout.ca)
        .with_context(|| format!("the authority in {} must sign it; restore it from a backup", layout.ca.display()))?;
    let server = ca.sign_server(&[name])?;
    // A running relay that sees one new file and one old keeps what it has, and looks again.
    files::replace(&layout.server_key, &server.key_pem)?;
    files::replace(&layout.server, &server.chain_pem)?;
    Ok(format!(
        "renewed {} and {} for {name}; the old ones are beside them as *.old, and a running relay takes the new ones within 60 s\n",
        layout.server.display(),
        layout.server_key.display(),
    ))
}

/// Holds the directory until it is dropped: what another `init` is just making would look like what
/// an interrupted one left.
fn alone_in(directory: &Path) -> anyhow::Result<std::fs::File> {
    let file = std::fs::File::open(directory).with_context(|| directory.display().to_string())?;
    match file.try_lock() {
        Err(std::fs::TryLockError::WouldBlock) => {
            bail!("another `init` is at work in {}; wait for its end. Nothing was changed", directory.display())
        }
        // Some file systems cannot lock a directory; there the operator must see to it.
        Ok(()) | Err(std::fs::TryLockError::Error(_)) => Ok(file),
    }
}

/// Refuses a configuration whose callers' certificate is not `init`'s.
fn check_ours(layout: &Layout) -> anyhow::Result<()> {
    let Some(config) = &layout.configured else {
        return Ok(());
    };
    let ours = (layout.server.clone(), layout.server_key.clone());
    match &config.tls {
        Some(tls) if *tls == ours => Ok(()),
        Some((cert, _)) => bail!(
            "callers.tls-cert is {}, which `init` did not make; renew it where it came from. Nothing was changed",
            cert.display()
        ),
        None => bail!("the callers' port has no certificate: it is plain HTTP. Nothing was changed"),
    }
}

/// Refuses what no client could ask for.
fn check_server_name(name: &str) -> anyhow::Result<()> {
    if ServerName::try_from(name).is_err() {
        bail!("--name `{name}`: expected a DNS name (xn--... for other letters) or an IP address. Nothing was changed");
    }
    Ok(())
}

/// What is there of two files that belong together.
fn pair(first: &Path, second: &Path) -> anyhow::Result<Pair> {
    let one = |there: &Path, missing: &Path| Pair::One { there: there.to_owned(), missing: missing.to_owned() };
    Ok(match (exists(first)?, exists(second)?) {
        (true, true) => Pair::Both,
        (false, false) => Pair::Neither,
        (true, false) => one(first, second),
        (false, true) => one(second, first),
    })
}

/// Whether it is there: one that this user may not look at is not missing.
fn exists(path: &Path) -> anyhow::Result<bool> {
    path.try_exists().with_context(|| {
        format!("{} cannot be looked at; run `init` as its owner. Nothing was changed", path.display())
    })
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

# While no edge is linked Amazon Bedrock may answer, with credentials and a budget of the relay's own: only for
# models that every edge which ever offered them lets go there. Off unless it is enabled. The keys are those of
# the daemon's section; credentials are found as the AWS SDK finds them. What is spent is kept in budget.sqlite
# beside the store.
# [overflow]
# enabled = true
# region = "us-east-1"
# [overflow.budget]
# daily-usd = 5.0
# [[overflow.model]]
# local = "gpt-oss:20b"
# bedrock = "openai.gpt-oss-20b-1:0"
# max-tokens = 4096
# usd-per-million = {{ input = 0.07, output = 0.30 }}
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
