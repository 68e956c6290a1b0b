//! Addresses as users write them.

use std::fmt;
use std::net::SocketAddr;

/// `host:port`; an empty host means `localhost`, as in `-join :11000`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HostPort {
    pub host: String,
    pub port: u16,
}

/// A text is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("address `{text}` is not host:port")]
pub struct InvalidAddress {
    text: String,
}

impl std::str::FromStr for HostPort {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let invalid = || InvalidAddress {
            text: text.to_owned(),
        };
        let bare = text
            .strip_prefix("http://")
            .unwrap_or(text)
            .trim_end_matches('/');
        let (host, port) = bare.rsplit_once(':').ok_or_else(invalid)?;
        let port = port.parse().map_err(|_not_a_port| invalid())?;
        let unbracketed = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        let host = match (host, unbracketed) {
            ("", _) => "localhost",
            (_, Some(host)) => host,
            (host, None) if host.contains([':', '/', ' ']) => return Err(invalid()),
            (host, None) => host,
        };
        Ok(Self {
            host: host.to_owned(),
            port,
        })
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

impl HostPort {
    /// Returns true for `0.0.0.0` and `::`, which nobody can dial.
    #[must_use]
    pub fn is_unspecified(&self) -> bool {
        self.host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|ip| ip.is_unspecified())
    }

    /// Returns true for `localhost` and its addresses, which mean another machine elsewhere.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        let ip = self.host.parse::<std::net::IpAddr>();
        ip.map_or(self.host == "localhost", |ip| ip.is_loopback())
    }

    /// Resolves the host to every address it has.
    ///
    /// # Errors
    ///
    /// The name is not known.
    pub async fn resolve(&self) -> std::io::Result<Vec<SocketAddr>> {
        let found = tokio::net::lookup_host((self.host.as_str(), self.port)).await?;
        let mut found: Vec<SocketAddr> = found.collect();
        found.sort_unstable();
        found.dedup();
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_the_seeds_parse() {
        for (text, shown) in [
            (":11000", "localhost:11000"),
            ("localhost:11001", "localhost:11001"),
            ("raft-cluster-host-01:8091", "raft-cluster-host-01:8091"),
            ("http://localhost:4000", "localhost:4000"),
            ("http://localhost:4000/", "localhost:4000"),
            ("[::1]:80", "[::1]:80"),
        ] {
            assert_eq!(text.parse::<HostPort>().unwrap().to_string(), shown);
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            "11000",
            "a:b",
            "a:70000",
            "::1:80",
            "a b:80",
            "https://a:80",
        ] {
            assert!(text.parse::<HostPort>().is_err(), "{text}");
        }
    }

    #[test]
    fn unspecified_addresses_are_noticed() {
        assert!("0.0.0.0:1".parse::<HostPort>().unwrap().is_unspecified());
        assert!("[::]:1".parse::<HostPort>().unwrap().is_unspecified());
        assert!(!"localhost:1".parse::<HostPort>().unwrap().is_unspecified());
    }
}
