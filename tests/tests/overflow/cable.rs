//! A cable between edge and relay that a test can cut: bytes go through as they are.

use std::net::SocketAddr;

use causeway_tests::stack::Quickstart;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// Lasts as long as the value; new connections are made after a cut.
pub(crate) struct Cable {
    cuts: watch::Sender<u32>,
    made: watch::Receiver<u32>,
    task: AbortHandle,
}

impl Cable {
    /// Puts one before the relay that edges started from now on use.
    pub(crate) async fn before(stack: &mut Quickstart) -> Self {
        let (rest, port) = stack.ready.edge_url.rsplit_once(':').unwrap();
        let (port, path) =
            port.split_once('/').map_or((port, String::new()), |(port, path)| (port, format!("/{path}")));
        let relay = SocketAddr::from(([127, 0, 0, 1], port.parse().unwrap()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let here = listener.local_addr().unwrap().port();
        stack.ready.edge_url = format!("{rest}:{here}{path}");
        let (cuts, cut) = watch::channel(0);
        let (making, made) = watch::channel(0);
        let task = tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let mut cut = cut.clone();
                cut.mark_unchanged();
                making.send_modify(|made| *made += 1);
                tokio::spawn(async move {
                    let Ok(mut far) = TcpStream::connect(relay).await else { return };
                    tokio::select! {
                        _ = copy_bidirectional(&mut near, &mut far) => {}
                        _ = cut.changed() => {}
                    }
                });
            }
        });
        Self { cuts, made, task: task.abort_handle() }
    }

    /// Cuts every connection, and waits until a new one is made.
    pub(crate) async fn cut(&self) {
        let mut made = self.made.clone();
        made.mark_unchanged();
        self.cuts.send_modify(|cuts| *cuts += 1);
        tokio::time::timeout(super::PATIENCE, made.changed()).await.unwrap().unwrap();
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        self.task.abort();
    }
}
