//! Whether mDNS packets come back on each interface: what finding each other on a network needs.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType, bind, socket, sockopt};

use super::Finding;
use crate::clock;
use crate::config::{Config, Forming};

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

/// What the node needs of multicast.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    Nothing,
    /// With -discover, to be found by the nodes of this machine, who dial `localhost`.
    Machine,
    /// With -discover.
    Network,
}

impl Need {
    fn of(config: &Config) -> Self {
        let addresses = [&config.http, &config.raft];
        match config.forming {
            Forming::Discover { .. } if addresses.iter().any(|it| it.is_loopback()) => {
                Self::Machine
            }
            Forming::Discover { .. } => Self::Network,
            Forming::Alone | Forming::List(_) => Self::Nothing,
        }
    }
}

pub(super) async fn examine(config: &Config) -> Vec<Finding> {
    let need = Need::of(config);
    let look = move || {
        let tried = interfaces(need).into_iter();
        let tried = tried.map(|(name, index)| (name, echo(index)));
        judge(tried.collect(), need)
    };
    let look = tokio::task::spawn_blocking(look);
    look.await.unwrap_or_default()
}

/// With -discover one interface must do it; which of several leads to the others, nobody knows here.
fn judge(tried: Vec<(String, io::Result<Duration>)>, need: Need) -> Vec<Finding> {
    let must = need != Need::Nothing && tried.iter().all(|(_, echo)| echo.is_err());
    let bad = |what: String, text: String| match must {
        true => Finding::fail(
            what,
            format!(
                "{text}, and -discover finds nobody without it: allow UDP port 5353, or use -cluster"
            ),
        ),
        false => Finding::warn(
            what,
            format!("{text}; only a search on the network needs it"),
        ),
    };
    if tried.is_empty() {
        let text = "no interface but the machine's own".to_owned();
        return vec![bad("multicast".to_owned(), text)];
    }
    let finding = |(name, echo): (String, io::Result<Duration>)| {
        let what = format!("multicast {name}");
        match echo {
            Ok(took) => {
                let ms = took.as_secs_f64() * 1e3;
                Finding::ok(what, format!("an mDNS packet came back in {ms:.1} ms"))
            }
            Err(error) => bad(what, format!("no mDNS there: {error}")),
        }
    };
    tried.into_iter().map(finding).collect()
}

/// Returns the interfaces that are up and can do it, with their numbers.
fn interfaces(need: Need) -> Vec<(String, u32)> {
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
            let usable = match flags & LOOPBACK {
                // It can do it, and does not say so.
                LOOPBACK => need == Need::Machine && flags & UP == UP,
                _ => flags & (UP | MULTICAST) == UP | MULTICAST,
            };
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
    use super::super::Verdict;
    use super::*;

    #[test]
    fn whoever_is_to_be_found_needs_an_interface_that_can_do_it() {
        let echo = |can: &bool| match can {
            true => Ok(Duration::from_millis(1)),
            false => Err(io::Error::from(io::ErrorKind::TimedOut)),
        };
        let verdicts = |tried: &[bool], need| {
            let tried = tried.iter().map(|can| ("i".to_owned(), echo(can)));
            let findings = judge(tried.collect(), need);
            findings.iter().map(|one| one.verdict).collect::<Vec<_>>()
        };
        for need in [Need::Machine, Need::Network] {
            assert_eq!(verdicts(&[], need), [Verdict::Fail]);
            assert_eq!(verdicts(&[false; 2], need), [Verdict::Fail; 2]);
            let one_can = [Verdict::Warn, Verdict::Ok];
            assert_eq!(verdicts(&[false, true], need), one_can);
        }
        assert_eq!(verdicts(&[], Need::Nothing), [Verdict::Warn]);
        assert_eq!(verdicts(&[false], Need::Nothing), [Verdict::Warn]);
        assert_eq!(verdicts(&[true], Need::Nothing), [Verdict::Ok]);
    }

    #[test]
    fn the_question_is_a_dns_message_of_one_question() {
        let packet = question(1);
        assert_eq!(packet[..12], [0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(&packet[12..28], b"\x0fdoctor-00000001");
        assert_eq!(packet[packet.len() - 5..], [0, 0, 12, 0, 1]);
    }
}
