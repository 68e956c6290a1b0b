//! Which node's process holds the other end of a connection: the kernel knows.
//!
//! It is asked for the socket's inode with `sock_diag` , which takes a fraction
//! of a millisecond; its table in `/proc/net`, which has every closed connection of the last
//! minute, takes 20 ms to read on a busy machine, and is what is left where that is not allowed.

use std::fs;
use std::net::{IpAddr, SocketAddr};

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType, netlink, recv, send, socket};

/// The kernel's table may skip a row while others come and go.
const LOOKS: usize = 3;

/// Returns the index of the node that dialled from `client` to a proxy's address; `None` when no
/// node of `pids` (0 is one that is down) has such a socket now. Reads files: it may block.
pub(super) fn dialler(client: SocketAddr, proxy: SocketAddr, pids: &[u32]) -> Option<usize> {
    let listed = || (0..LOOKS).find_map(|_| listed_inode(client, proxy.port()));
    let inode = asked_inode(client, proxy).or_else(listed)?;
    let link = format!("socket:[{inode}]");
    pids.iter().position(|&pid| pid != 0 && holds(pid, &link))
}

/// Asks the kernel for one socket; `None` when it has none or does not say.
fn asked_inode(local: SocketAddr, remote: SocketAddr) -> Option<u64> {
    const SOCK_DIAG_BY_FAMILY: u16 = 20;
    const REQUEST: u16 = 1;
    const TCP: u8 = 6;
    /// `struct nlmsghdr`, and where `idiag_inode` is in `struct inet_diag_msg` behind it.
    const HEADER: usize = 16;
    const INODE: usize = HEADER + 68;
    let family = if local.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let mut body = vec![u8::try_from(family.as_raw()).ok()?, TCP, 0, 0];
    body.extend(u32::MAX.to_ne_bytes()); // in any state
    body.extend(local.port().to_be_bytes());
    body.extend(remote.port().to_be_bytes());
    body.extend(address(local.ip()));
    body.extend(address(remote.ip()));
    body.extend([0; 4]); // on any interface
    body.extend([0xFF; 8]); // with any cookie
    let mut request = Vec::from(u32::try_from(HEADER + body.len()).ok()?.to_ne_bytes());
    request.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    request.extend(REQUEST.to_ne_bytes());
    request.extend([0; 8]);
    request.extend(body);
    let diag = socket(
        AddressFamily::NETLINK,
        SocketType::RAW,
        Some(netlink::SOCK_DIAG),
    )
    .ok()?;
    send(&diag, &request, SendFlags::empty()).ok()?;
    let mut reply = [0; 1_024];
    // The kernel has answered, if only with an error, before `send` returned.
    let (_, length) = recv(&diag, &mut reply[..], RecvFlags::DONTWAIT).ok()?;
    let kind = u16::from_ne_bytes(reply[4..6].try_into().ok()?);
    let inode = u32::from_ne_bytes(reply[INODE..INODE + 4].try_into().ok()?);
    let is_found = kind == SOCK_DIAG_BY_FAMILY && length >= INODE + 4 && inode != 0;
    is_found.then_some(inode.into())
}

/// Returns an address in the sixteen bytes that both families have.
fn address(ip: IpAddr) -> [u8; 16] {
    let mut bytes = [0; 16];
    match ip {
        IpAddr::V4(ip) => bytes[..4].copy_from_slice(&ip.octets()),
        IpAddr::V6(ip) => bytes = ip.octets(),
    }
    bytes
}

/// Returns the inode of the socket with these ports. The two together are one client's: whoever
/// dials the proxy from the same port uses the other address family.
fn listed_inode(client: SocketAddr, port: u16) -> Option<u64> {
    let name = if client.is_ipv4() { "tcp" } else { "tcp6" };
    let table = fs::read_to_string(format!("/proc/net/{name}")).ok()?;
    let mut rows = table.lines().skip(1);
    rows.find_map(|row| {
        let mut fields = row.split_ascii_whitespace().skip(1);
        let local = port_of(fields.next()?)?;
        let remote = port_of(fields.next()?)?;
        // state, queues, timer, retransmissions, user, timeout
        let inode = fields.nth(6)?.parse().ok()?;
        (local == client.port() && remote == port && inode != 0).then_some(inode)
    })
}

/// Returns the port of `0100007F:1F90`.
fn port_of(address: &str) -> Option<u16> {
    let (_, port) = address.rsplit_once(':')?;
    u16::from_str_radix(port, 16).ok()
}

fn holds(pid: u32, link: &str) -> bool {
    let Ok(files) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return false;
    };
    files
        .flatten()
        .filter_map(|file| fs::read_link(file.path()).ok())
        .any(|target| target.as_os_str() == link)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn the_process_that_dialled_is_found_among_others() {
        let mut other = Command::new("sleep")
            .arg("60")
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        for host in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(host) else {
                continue;
            };
            let address = listener.local_addr().unwrap();
            let stream = TcpStream::connect(address).unwrap();
            let client = stream.local_addr().unwrap();
            let own = std::process::id();
            let found = |pids: &[u32]| dialler(client, address, pids);
            let listed = listed_inode(client, address.port());
            assert!(listed.is_some(), "{host}");
            let asked = asked_inode(client, address);
            assert!(asked.is_none_or(|inode| Some(inode) == listed), "{asked:?}");
            assert_eq!(found(&[0, other.id(), own]), Some(2), "{host}");
            assert_eq!(found(&[own, other.id()]), Some(0), "{host}");
            assert_eq!(found(&[other.id(), 0]), None, "{host}");
            drop(stream);
            assert_eq!(found(&[own]), None, "{host}: it has hung up");
        }
        other.kill().unwrap();
        other.wait().unwrap();
    }
}
