//! The callers' port's certificate, read again when its files change (certbot renews them).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use arc_swap::ArcSwap;
use rustls::ServerConfig;
use tokio_rustls::TlsAcceptor;

use crate::standalone::{edges, files};

/// How often the files are looked at; a change holds within 60 s.
const POLL: Duration = Duration::from_secs(30);

/// What handshakes use now.
pub(crate) struct CallersTls {
    cert: PathBuf,
    key: PathBuf,
    now: ArcSwap<ServerConfig>,
}

impl CallersTls {
    /// Reads certificate and key.
    ///
    /// # Errors
    ///
    /// A file cannot be read, or they do not belong together.
    pub(crate) fn load(cert: PathBuf, key: PathBuf) -> anyhow::Result<Arc<Self>> {
        let config = read(&cert, &key)?;
        Ok(Arc::new(Self { cert, key, now: ArcSwap::new(config) }))
    }

    /// For the next handshake.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.now.load_full())
    }

    /// Reads the files again whenever they change, for ever. Bad new files keep the old ones in force.
    pub(crate) async fn watch(self: Arc<Self>) {
        let mut seen = self.changed();
        loop {
            tokio::time::sleep(POLL).await;
            let changed = self.changed();
            if changed != seen {
                seen = changed;
                self.reload();
            }
        }
    }

    fn changed(&self) -> [Option<SystemTime>; 2] {
        [&self.cert, &self.key].map(|path| std::fs::metadata(path).and_then(|file| file.modified()).ok())
    }

    fn reload(&self) {
        match read(&self.cert, &self.key) {
            Ok(config) => {
                self.now.store(config);
                tracing::info!("the callers' certificate was read again");
            }
            Err(error) => {
                let error = format!("{error:#}");
                tracing::error!(error, "the callers' new certificate cannot be used; the old one stays in force");
            }
        }
    }
}

fn read(cert: &Path, key: &Path) -> anyhow::Result<Arc<ServerConfig>> {
    let what = "callers.tls-cert, callers.tls-key";
    let (chain, key) = edges::parse(files::read(cert)?.as_bytes(), files::read(key)?.as_bytes()).context(what)?;
    causeway_transport::tls::caller_server(chain, key).context(what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ca::Ca;

    #[tokio::test(start_paused = true)]
    async fn changed_files_hold_within_a_minute_and_bad_ones_never() {
        let directory = tempfile::tempdir().unwrap();
        let (cert, key) = (directory.path().join("cert"), directory.path().join("key"));
        let write = |time: u64| {
            let signed = Ca::create("test").unwrap().sign_server(&["relay"]).unwrap();
            for (path, text) in [(&cert, signed.chain_pem), (&key, signed.key_pem)] {
                std::fs::write(path, text).unwrap();
                let file = std::fs::File::options().write(true).open(path).unwrap();
                file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(time)).unwrap();
            }
        };
        write(1);
        let tls = CallersTls::load(cert.clone(), key.clone()).unwrap();
        let _watching = tokio::spawn(Arc::clone(&tls).watch());
        tokio::time::sleep(POLL / 2).await;
        let first = tls.now.load_full();

        write(2);
        tokio::time::sleep(Duration::from_secs(60)).await;
        let second = tls.now.load_full();
        assert!(!Arc::ptr_eq(&first, &second));

        std::fs::write(&key, "no key").unwrap();
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(Arc::ptr_eq(&second, &tls.now.load_full()));
    }
}
