//! Binding: a listener on every address that a name resolves to.

use anyhow::{Context, bail};
use tokio::net::TcpListener;

use crate::config::HostPort;

/// Binds every address of `address`.
///
/// # Errors
///
/// The name is unknown, or an address is taken or not this machine's; the text names the flag.
pub(super) async fn bind(flag: &str, address: &HostPort) -> anyhow::Result<Vec<TcpListener>> {
    let resolved = address
        .resolve()
        .await
        .with_context(|| format!("{flag}: cannot resolve {address}"))?;
    let mut listeners = Vec::new();
    for one in resolved {
        match TcpListener::bind(one).await {
            Ok(listener) => listeners.push(listener),
            // `localhost` may name ::1 on a machine without IPv6.
            Err(error) if error.kind() == std::io::ErrorKind::AddrNotAvailable => {
                tracing::debug!(address = %one, %error, "not bound");
            }
            Err(error) => {
                return Err(error).with_context(|| format!("{flag}: cannot listen on {one}"));
            }
        }
    }
    if listeners.is_empty() {
        bail!("{flag}: {address} is not an address of this machine");
    }
    Ok(listeners)
}
