//! Names and ports.

use std::io;
use std::net::{SocketAddr, TcpListener};

use conclave_shared::NodeStatus;

use super::Finding;
use super::directory::Place;
use crate::config::{Config, Forming, HostPort};

/// Resolves every name of the configuration.
pub(super) async fn names(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut raft_is_local = false;
    for (flag, address) in [
        ("-haddr", &config.http),
        ("-raddr", &config.raft),
        ("-hlisten", &config.http_listen),
        ("-rlisten", &config.raft_listen),
    ] {
        let bound = [&config.http, &config.raft];
        if flag.ends_with("listen") && bound.contains(&address) {
            continue; // the same name again
        }
        let what = format!("name {flag} {address}");
        match address.resolve().await {
            Ok(found) => {
                if flag == "-raddr" {
                    raft_is_local = found.iter().all(|one| one.ip().is_loopback());
                }
                findings.push(Finding::ok(what, list(&found)));
            }
            Err(error) => findings.push(Finding::fail(
                what,
                format!("cannot be resolved: {error}; a node cannot start with it"),
            )),
        }
    }
    for target in targets(config) {
        let what = format!("name -join {target}");
        findings.push(match target.resolve().await {
            Err(error) => Finding::warn(what, format!("cannot be resolved: {error}")),
            Ok(found) if raft_is_local && found.iter().any(|one| !one.ip().is_loopback()) => {
                let raft = &config.raft;
                let text = format!(
                    "{}: it is another machine, which cannot dial {raft}; set -raddr and -haddr to \
                     what it can",
                    list(&found)
                );
                Finding::warn(what, text)
            }
            Ok(found) => Finding::ok(what, list(&found)),
        });
    }
    findings
}

/// Returns the addresses of others that are configured.
pub(super) fn targets(config: &Config) -> Vec<HostPort> {
    match &config.forming {
        Forming::List(list) => list.clone(),
        Forming::Alone | Forming::Discover { .. } => config.join.clone(),
    }
}

fn list(found: &[SocketAddr]) -> String {
    let found: Vec<_> = found.iter().map(|one| one.ip().to_string()).collect();
    found.join(", ")
}

/// Tries to bind both ports. One that is taken is fine where a node of this name has it.
pub(super) async fn ports(
    config: &Config,
    running: Option<&NodeStatus>,
    place: &Place,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (flag, address) in [
        ("-haddr", &config.http_listen),
        ("-raddr", &config.raft_listen),
    ] {
        let what = format!("port {flag} {address}");
        let Ok(resolved) = address.resolve().await else {
            continue; // told as a name
        };
        findings.push(match (bind(&resolved), running) {
            (Ok(()), _) => Finding::ok(what, "free"),
            (Err(error), Some(node)) if error.kind() == io::ErrorKind::AddrInUse => {
                let name = &node.node;
                let is_own = match &place.identity {
                    Some(own) => own.cluster.to_string() == node.cluster_id && own.id == node.id,
                    None => *name == config.name && place.is_in_use,
                };
                match is_own {
                    true => Finding::ok(what, format!("held by the running node `{name}` itself")),
                    false => Finding::fail(
                        what,
                        format!("held by node `{name}` of cluster {}", node.cluster_id),
                    ),
                }
            }
            (Err(error), _) => Finding::fail(
                what,
                format!("cannot be bound: {error}; end what holds it, or choose another"),
            ),
        });
    }
    findings
}

fn bind(addresses: &[SocketAddr]) -> io::Result<()> {
    let mut bound = Vec::new();
    for address in addresses {
        match TcpListener::bind(address) {
            Ok(listener) => bound.push(listener),
            // `localhost` may name ::1 on a machine without IPv6.
            Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => {}
            Err(error) => return Err(error),
        }
    }
    match bound.is_empty() {
        true => Err(io::ErrorKind::AddrNotAvailable.into()),
        false => Ok(()),
    }
}
