//! Addresses of the dashboard: a screen and what it shows. All that a reader chose is in the address,
//! so that reload, Back and a copied link bring it back.
//!
//! Names of keys and locks stand in the query, never in the path: browsers normalise the segments `.`
//! and `..` of a path, whatever is escaped in them.

/// Below which path the dashboard lives.
const BASE: &str = "/ui/";

/// The screens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Screen {
    Overview,
    Nodes,
    Keys,
    Locks,
    Events,
    Lab,
    Metrics,
}

impl Screen {
    /// All screens in the order of the navigation.
    pub const ALL: [Self; 7] = [
        Self::Overview,
        Self::Nodes,
        Self::Keys,
        Self::Locks,
        Self::Events,
        Self::Lab,
        Self::Metrics,
    ];

    /// Returns the word in addresses and test ids.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Overview => "overview",
            Self::Nodes => "nodes",
            Self::Keys => "keys",
            Self::Locks => "locks",
            Self::Events => "events",
            Self::Lab => "lab",
            Self::Metrics => "metrics",
        }
    }

    /// Returns the word that a reader sees.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Overview => "Overview",
            Self::Nodes => "Nodes",
            Self::Keys => "Keys",
            Self::Locks => "Locks",
            Self::Events => "Events",
            Self::Lab => "Lab",
            Self::Metrics => "Metrics",
        }
    }

    const fn path(self) -> &'static str {
        match self {
            Self::Overview => "",
            other => other.as_str(),
        }
    }
}

/// One address: a screen, and the query in its order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    pub screen: Screen,
    query: Vec<(String, String)>,
}

impl Address {
    /// Returns the address of a screen that shows nothing in particular.
    #[must_use]
    pub const fn of(screen: Screen) -> Self {
        let query = Vec::new();
        Self { screen, query }
    }

    /// Reads a path and a query with or without its `?`. An unknown screen is the overview.
    #[must_use]
    pub fn parse(path: &str, query: &str) -> Self {
        let name = path.strip_prefix(BASE).unwrap_or_default();
        let name = name.split('/').next().unwrap_or_default();
        let named = Screen::ALL.into_iter().find(|s| s.as_str() == name);
        let pairs = query.strip_prefix('?').unwrap_or(query).split('&');
        let pair = |text: &str| {
            let (name, value) = text.split_once('=').unwrap_or((text, ""));
            (unescape(name), unescape(value))
        };
        Self {
            screen: named.unwrap_or(Screen::Overview),
            query: pairs.filter(|text| !text.is_empty()).map(pair).collect(),
        }
    }

    /// Returns the first value under a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        let mut values = self.query.iter().filter(|(n, _)| n == name);
        values.next().map(|(_, value)| value.as_str())
    }

    /// Returns the address with this value under that name, or without the name.
    #[must_use]
    pub fn with(mut self, name: &str, value: Option<&str>) -> Self {
        let place = self.query.iter().position(|(n, _)| n == name);
        self.query.retain(|(n, _)| n != name);
        if let Some(value) = value {
            let place = place.unwrap_or(self.query.len()).min(self.query.len());
            self.query
                .insert(place, (name.to_owned(), value.to_owned()));
        }
        self
    }

    /// Writes it as it stands behind the origin.
    #[must_use]
    pub fn href(&self) -> String {
        let mut href = format!("{BASE}{}", self.screen.path());
        for (place, (name, value)) in self.query.iter().enumerate() {
            href.push(if place == 0 { '?' } else { '&' });
            href.push_str(&escape(name));
            href.push('=');
            href.push_str(&escape(value));
        }
        href
    }
}

/// Escapes a text for one part of a path or one value of a query (RFC 3986 §2.3: all but the
/// unreserved characters).
#[must_use]
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            for nibble in [byte >> 4, byte & 15] {
                out.push(char::from(b"0123456789ABCDEF"[usize::from(nibble)]));
            }
        }
    }
    out
}

/// The other way. What is no escape stays as it is, and so does what would not be UTF-8, replaced.
fn unescape(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = text.get(at + 1..at + 3);
        let escaped = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (bytes[at], escaped) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 2;
            }
            (b'+', _) => out.push(b' '),
            (byte, _) => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_comes_back_whatever_the_key_is_called() {
        for key in [
            "a/../b",
            "<img src=x onerror=alert(1)>",
            "ключ 🗝 שלום",
            "100%",
            "a+b&c=d?#",
            "%2F",
        ] {
            let address = Address::of(Screen::Keys).with("key", Some(key));
            let href = address.href();
            let (path, query) = href.split_once('?').unwrap();
            let read = Address::parse(path, query);
            assert_eq!(read.get("key"), Some(key), "{href}");
            assert_eq!(read, address);
        }
    }

    #[test]
    fn an_unknown_screen_is_the_overview() {
        for path in ["/ui/", "/ui/deep/er", "/ui", ""] {
            assert_eq!(Address::parse(path, "").screen, Screen::Overview, "{path}");
        }
        assert_eq!(Address::parse("/ui/keys", "").screen, Screen::Keys);
    }

    #[test]
    fn a_value_keeps_its_place_and_goes_when_there_is_none() {
        let address = Address::parse("/ui/keys", "?a=1&b=2");
        let changed = address.with("a", Some("3"));
        assert_eq!(changed.href(), "/ui/keys?a=3&b=2");
        assert_eq!(changed.with("a", None).href(), "/ui/keys?b=2");
    }

    #[test]
    fn broken_escapes_are_text() {
        assert_eq!(unescape("%zz%4"), "%zz%4");
        assert_eq!(unescape("%FF"), "\u{fffd}");
    }
}
