//! Whether mDNS packets come back on each interface: what finding each other on a network needs.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType, bind, socket, sockopt};

use super::Finding;
use crate::clock;

const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
const PORT: u16 = 5353;
/// Longest wait for the packet to come back.
const BACK: Duration = Duration::from_millis(700);
/// Flags of an interface, as in `linux/if.h`.
const UP: u32 = 0x1;
const LOOPBACK: u32 = 0x8;
const MULTICAST: u32 = 0x1000;
/// Most interfaces that are tried.
const INTERFACES: usize = 32;

pub(super) async fn examine() -> Vec<Finding> {
    let look = tokio::task::spawn_blocking(look);
    look.await.unwrap_or_default()
}

fn look() -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, index) in interfaces() {
        let what = format!("multicast {name}");
        findings.push(match echo(index) {
            Ok(took) => Finding::ok(
                what,
                format!(
                    "an mDNS packet came back in {:.1} ms",
                    took.as_secs_f64() * 1e3
                ),
            ),
            Err(error) => Finding::warn(
                what,
                format!("no mDNS there: {error}; only a search on the network needs it"),
            ),
        });
    }
    if findings.is_empty() {
        let text = "no interface but the machine's own: only a search on the network needs one";
        findings.push(Finding::warn("multicast", text));
    }
    findings
}

/// Returns the interfaces that are up and can do it, with their numbers.
fn interfaces() -> Vec<(String, u32)> {
    let number = |path: std::path::PathBuf| {
        let text = fs::read_to_string(path).ok()?;
        match text.trim().strip_prefix("0x") {
            Some(hex) => u32::from_str_radix(hex, 16).ok(),
            None => text.trim().parse().ok(),
        }
    };
    let entries = fs::read_dir("/sys/class/net")
        .into_iter()
        .flatten()
        .flatten();
    let mut found: Vec<_> = entries
        .filter_map(|entry| {
            let flags = number(entry.path().join("flags"))?;
            let usable = flags & (UP | LOOPBACK | MULTICAST) == UP | MULTICAST;
            let index = number(entry.path().join("ifindex"))?;
            usable.then(|| (entry.file_name().to_string_lossy().into_owned(), index))
        })
        .collect();
    found.sort();
    found.truncate(INTERFACES);
    found
}

/// Sends a question that nobody answers, and waits for it to come back.
fn echo(interface: u32) -> io::Result<Duration> {
    let any = Ipv4Addr::UNSPECIFIED;
    let socket = socket(AddressFamily::INET, SocketType::DGRAM, None)?;
    // A responder of this machine may have the port.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    sockopt::set_socket_reuseport(&socket, true)?;
    bind(&socket, &SocketAddrV4::new(any, PORT))?;
    sockopt::set_ip_add_membership_with_ifindex(&socket, &GROUP, &any, interface)?;
    sockopt::set_ip_multicast_if_with_ifindex(&socket, &GROUP, &any, interface)?;
    sockopt::set_ip_multicast_loop(&socket, true)?;
    let socket = UdpSocket::from(socket);
    let question = question(rand::random());
    let began = clock::now();
    socket.send_to(&question, (GROUP, PORT))?;
    let mut buffer = [0; 1500];
    loop {
        let left = BACK.saturating_sub(clock::since(began));
        if left.is_zero() {
            let text = format!("a packet did not come back within {BACK:?}");
            return Err(io::Error::new(io::ErrorKind::TimedOut, text));
        }
        socket.set_read_timeout(Some(left))?;
        match socket.recv(&mut buffer) {
            Ok(length) if buffer[..length] == question => return Ok(clock::since(began)),
            Ok(_somebody_elses) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

/// Asks for the service of a name that only this process knows (RFC 6762).
fn question(number: u32) -> Vec<u8> {
    let mut packet = vec![0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    let own = format!("doctor-{number:08x}");
    for label in [own.as_str(), "_conclave", "_tcp", "local"] {
        packet.push(u8::try_from(label.len()).unwrap_or(0));
        packet.extend_from_slice(label.as_bytes());
    }
    // The end of the name, type PTR, class IN.
    packet.extend_from_slice(&[0, 0, 12, 0, 1]);
    packet
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_question_is_a_dns_message_of_one_question() {
        let packet = question(1);
        assert_eq!(packet[..12], [0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(&packet[12..28], b"\x0fdoctor-00000001");
        assert_eq!(packet[packet.len() - 5..], [0, 0, 12, 0, 1]);
    }
}
