//! The yardstick: two haproxy with mutual TLS between, plain HTTP at both ends.
//!
//! Invariants: certificates of a CA made for this run, TLS 1.3 between the two; the system's own
//! haproxy with its default threads, connection reuse and buffers; `http-no-delay`, as its manual
//! asks for where every piece matters. Started anew for each round.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair};

use crate::client::Target;

/// Debian's place, outside the PATH of some users.
const BINARY: &str = "/usr/sbin/haproxy";

/// Longest start.
const START: Duration = Duration::from_secs(10);

/// How often a connection is tried until haproxy listens.
const LOOK: Duration = Duration::from_millis(5);

/// A running pair; dropping it ends both.
pub(crate) struct Pair {
    pub(crate) target: Target,
    children: Vec<Child>,
    _directory: tempfile::TempDir,
}

impl Pair {
    /// Whether there is a haproxy to compare with.
    pub(crate) fn there() -> bool {
        Path::new(BINARY).exists()
    }

    /// Its version line.
    pub(crate) fn version() -> String {
        let output = Command::new(BINARY).arg("-v").output().map(|output| output.stdout).unwrap_or_default();
        String::from_utf8_lossy(&output).lines().next().unwrap_or_default().to_owned()
    }

    /// Starts both in front of `backend`.
    pub(crate) async fn start(backend: SocketAddr) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        certificates(directory.path())?;
        let (near, far) = (free_port()?, free_port()?);
        let at = directory.path().display();
        let common = "global\n  maxconn 4096\n  ssl-default-bind-options ssl-min-ver TLSv1.3\n\
            defaults\n  mode http\n  option http-no-delay\n  timeout connect 5s\n  timeout client 10m\n  timeout server 10m\n";
        let near_config = format!(
            "{common}frontend callers\n  bind 127.0.0.1:{near}\n  default_backend link\n\
             backend link\n  server far 127.0.0.1:{far} ssl verify required ca-file {at}/ca.pem crt {at}/client.pem verifyhost localhost\n"
        );
        let far_config = format!(
            "{common}frontend link\n  bind 127.0.0.1:{far} ssl crt {at}/server.pem ca-file {at}/ca.pem verify required\n  default_backend ollama\n\
             backend ollama\n  server ollama {backend}\n"
        );
        let mut children = Vec::new();
        for (name, config) in [("far", far_config), ("near", near_config)] {
            let file = directory.path().join(format!("{name}.cfg"));
            std::fs::write(&file, config)?;
            let child = Command::new(BINARY).arg("-db").arg("-q").arg("-f").arg(&file).stdin(Stdio::null()).spawn();
            children.push(child.with_context(|| format!("cannot start {BINARY}"))?);
        }
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, near));
        let pair = Self { target: Target { addr, key: None }, children, _directory: directory };
        listening(addr).await?;
        listening(SocketAddr::from((Ipv4Addr::LOCALHOST, far))).await?;
        Ok(pair)
    }

    /// Process ids, for their CPU time.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.children.iter().map(Child::id).collect()
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        for child in &mut self.children {
            // Gone already: just as well.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A port that is free now.
pub(crate) fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

async fn listening(addr: SocketAddr) -> anyhow::Result<()> {
    let begun = Instant::now();
    while tokio::net::TcpStream::connect(addr).await.is_err() {
        if begun.elapsed() > START {
            bail!("{addr} does not listen");
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

/// `ca.pem`, and key with certificate in `server.pem` and `client.pem`, as haproxy wants them.
fn certificates(directory: &Path) -> anyhow::Result<()> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "causeway-load CA");
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    std::fs::write(directory.join("ca.pem"), ca.pem())?;
    let ends = [("server", ExtendedKeyUsagePurpose::ServerAuth), ("client", ExtendedKeyUsagePurpose::ClientAuth)];
    for (name, usage) in ends {
        let mut params = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()])?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &ca)?;
        std::fs::write(directory.join(format!("{name}.pem")), certificate.pem() + &key.serialize_pem())?;
    }
    Ok(())
}
