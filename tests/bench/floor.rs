//! The floor of all reads over HTTP: an axum handler that answers every request with one value, in as
//! many processes as there are nodes. What a read of Conclave costs beyond it is Conclave's own.

use std::net::Ipv4Addr;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};
use axum::Router;
use axum::body::Bytes;
use axum::routing::get;
use axum::serve::ListenerExt as _;
use conclave_tests::Ports;
use tokio::net::TcpListener;

/// As many as there are nodes.
const PROCESSES: usize = 3;

/// The flag by which this program starts itself as one of them.
pub(crate) const SERVE: &str = "--serve-floor";

/// Running handlers, killed when they are dropped.
#[derive(Debug)]
pub(crate) struct Handlers(Vec<Handler>);

#[derive(Debug)]
struct Handler {
    port: u16,
    child: Child,
}

impl Handlers {
    /// Starts them and does not wait for them.
    ///
    /// # Errors
    ///
    /// This program cannot be started once more.
    pub(crate) fn start(value_bytes: usize) -> Result<Self> {
        let mut handlers = Self(Vec::new());
        for _ in 0..PROCESSES {
            let port = Ports::reserve().http;
            let child = Command::new(std::env::current_exe()?)
                .arg(SERVE)
                .args([port.to_string(), value_bytes.to_string()])
                .stdin(Stdio::null())
                .spawn()
                .context("start this program once more")?;
            handlers.0.push(Handler { port, child });
        }
        Ok(handlers)
    }

    /// Returns `host:port` of each.
    pub(crate) fn addresses(&self) -> Vec<String> {
        let ports = self.0.iter().map(|handler| handler.port);
        ports.map(|port| format!("127.0.0.1:{port}")).collect()
    }

    /// Returns the name and the process of each.
    pub(crate) fn processes(&self) -> Vec<(String, u32)> {
        let all = (1..).zip(&self.0);
        all.map(|(number, handler)| (format!("handler{number}"), handler.child.id()))
            .collect()
    }
}

impl Drop for Handlers {
    #[expect(clippy::print_stderr, reason = "a process that is left behind")]
    fn drop(&mut self) {
        for Handler { port, child } in &mut self.0 {
            if let Err(error) = child.kill().and_then(|()| child.wait()) {
                eprintln!("kill the handler at {port}: {error}");
            }
        }
    }
}

/// Is a handler: serves until it is killed. `args` are the port and the bytes of the value.
///
/// # Errors
///
/// The arguments are no such numbers, or the port is taken.
pub(crate) fn serve(args: &[String]) -> Result<()> {
    let [port, value_bytes] = args else {
        anyhow::bail!("{SERVE} needs a port and a number of bytes");
    };
    let (port, value_bytes) = (port.parse::<u16>()?, value_bytes.parse()?);
    let value = Bytes::from(vec![b'v'; value_bytes]);
    let answer = move || {
        let value = value.clone();
        async move { value }
    };
    // As many threads as Conclave has: tokio's own number.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        let listener = listener.tap_io(|stream| {
            // Without it the answers would only be later.
            drop(stream.set_nodelay(true));
        });
        let router = Router::new().route("/api/keys/{*key}", get(answer));
        axum::serve(listener, router).await?;
        Ok(())
    })
}
