//! Which node's process holds the other end of a connection: the kernel knows, in `/proc`.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;

/// The kernel's table may skip a row while others come and go.
const LOOKS: usize = 3;

/// Returns the index of the node that dialled from `client` to a proxy's `port`; `None` when no
/// node of `pids` (0 is one that is down) has such a socket now. Reads files: it may block.
pub(super) fn dialler(client: SocketAddr, port: u16, pids: &[u32]) -> Option<usize> {
    let inode = (0..LOOKS).find_map(|_| socket_inode(client, port))?;
    let link = format!("socket:[{inode}]");
    pids.iter().position(|&pid| pid != 0 && holds(pid, &link))
}

/// Returns the inode of the socket with these ports, 0 when its process has closed it; `None` when
/// there is no such row. The two ports are one client's: whoever dials the proxy from the same port
/// uses the other address family. Reads no further than the row: the table is long.
fn socket_inode(client: SocketAddr, port: u16) -> Option<u64> {
    let first = if client.is_ipv4() { "tcp" } else { "tcp6" };
    let table = File::open(format!("/proc/net/{first}")).ok()?;
    let mut rows = BufReader::new(table).lines().map_while(Result::ok).skip(1);
    rows.find_map(|row| {
        let mut fields = row.split_ascii_whitespace().skip(1);
        let local = port_of(fields.next()?)?;
        let remote = port_of(fields.next()?)?;
        // state, queues, timer, retransmissions, user, timeout
        let inode = fields.nth(6)?.parse().ok()?;
        (local == client.port() && remote == port).then_some(inode)
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
            let found = |pids: &[u32]| dialler(client, address.port(), pids);
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
