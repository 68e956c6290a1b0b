//! The configuration file: TOML, one key for each flag.

use std::any::TypeId;
use std::fmt;
use std::path::Path;

use clap::{Arg, ArgAction};
use toml::de::{DeTable, DeValue};

/// Keys that are this different at most are suggested for each other.
const NEAR: usize = 2;
/// Largest file that is read, bytes.
const FILE_BYTES: u64 = 1 << 20;

/// Where a value is written: `conclave.toml:3`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    file: String,
    line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// What a setting's value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Number,
    Switch,
    List,
}

impl Kind {
    pub(super) fn of(flag: &Arg) -> Self {
        let value = flag.get_value_parser().type_id();
        let is = |types: &[TypeId]| types.iter().any(|one| value == *one);
        if matches!(flag.get_action(), ArgAction::Append) {
            Self::List
        } else if is(&[TypeId::of::<bool>()]) {
            Self::Switch
        } else if is(&[
            TypeId::of::<u64>(),
            TypeId::of::<u32>(),
            TypeId::of::<u16>(),
            TypeId::of::<usize>(),
        ]) {
            Self::Number
        } else {
            Self::Text
        }
    }

    const fn wanted(self) -> &'static str {
        match self {
            Self::Text => "a string in quotes",
            Self::Number => "a whole number",
            Self::Switch => "true or false",
            Self::List => "a list of strings",
        }
    }
}

/// One key of the file, its value as a flag would be given it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Setting {
    pub(super) key: String,
    pub(super) place: Place,
    pub(super) values: Vec<String>,
}

/// Reads a file whose keys are the names of `flags`.
///
/// # Errors
///
/// It cannot be read, is no TOML, or has an unknown key or a value of another type; the text names
/// the file, the line and the key.
pub(super) fn read(path: &Path, flags: &[&Arg]) -> Result<Vec<Setting>, String> {
    let shown = path.display();
    let cannot = |error: std::io::Error| format!("cannot read `{shown}`: {error}");
    let bytes = std::fs::metadata(path).map_err(cannot)?.len();
    if bytes > FILE_BYTES {
        return Err(format!(
            "`{shown}` has {bytes} bytes: it is no configuration file"
        ));
    }
    let text = std::fs::read_to_string(path).map_err(cannot)?;
    parse(&shown.to_string(), &text, flags)
}

fn parse(file: &str, text: &str, flags: &[&Arg]) -> Result<Vec<Setting>, String> {
    let place = |at: usize| Place {
        file: file.to_owned(),
        line: 1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count(),
    };
    let table = DeTable::parse(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        format!("{}: {}", place(at), error.message())
    })?;
    let mut entries: Vec<_> = table.get_ref().iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    let mut settings = Vec::new();
    for (key, value) in entries {
        let (name, place) = (key.get_ref().as_ref(), place(key.span().start));
        let flag = flags.iter().find(|flag| flag.get_long() == Some(name));
        let flag = flag.ok_or_else(|| format!("{place}: {}", unknown(name, flags)))?;
        let kind = Kind::of(flag);
        let values = values(kind, value.get_ref()).ok_or_else(|| {
            let (wanted, found) = (kind.wanted(), value.get_ref().type_str());
            format!("{place}: `{name}` is {wanted}, and not of type {found}")
        })?;
        settings.push(Setting {
            key: name.to_owned(),
            place,
            values,
        });
    }
    Ok(settings)
}

fn values(kind: Kind, value: &DeValue<'_>) -> Option<Vec<String>> {
    let text = |value: &DeValue<'_>| value.as_str().map(str::to_owned);
    match kind {
        Kind::Text => Some(vec![text(value)?]),
        Kind::Switch => Some(vec![value.as_bool()?.to_string()]),
        Kind::Number => {
            let number = value.as_integer()?;
            let number = u64::from_str_radix(number.as_str(), number.radix()).ok()?;
            Some(vec![number.to_string()])
        }
        Kind::List => {
            let items = value.as_array()?.iter();
            items.map(|item| text(item.get_ref())).collect()
        }
    }
}

fn unknown(name: &str, flags: &[&Arg]) -> String {
    let names = flags.iter().filter_map(|flag| flag.get_long());
    let near = names
        .map(|known| (distance(name, known), known))
        .filter(|(distance, known)| *distance <= NEAR && *distance < known.len())
        .min();
    match near {
        Some((_, known)) => format!("unknown key `{name}`: is `{known}` meant?"),
        None => {
            format!("unknown key `{name}`: keys are the flags of conclave --help without dashes")
        }
    }
}

/// Returns how many characters must be added, left out or replaced; `_` is as good as `-`.
fn distance(from: &str, to: &str) -> usize {
    let alike = |a: char, b: char| a == b || (a == '_' && b == '-');
    let to: Vec<char> = to.chars().collect();
    let mut before: Vec<usize> = (0..=to.len()).collect();
    for (row, a) in from.chars().enumerate() {
        let mut now = vec![row + 1];
        for (column, b) in to.iter().enumerate() {
            let replaced = before[column] + usize::from(!alike(a, *b));
            now.push(replaced.min(before[column + 1] + 1).min(now[column] + 1));
        }
        before = now;
    }
    before[to.len()]
}

#[cfg(test)]
mod tests {
    use clap::builder::ValueParser;

    use super::*;

    fn flags() -> [Arg; 4] {
        [
            Arg::new("haddr").long("haddr"),
            Arg::new("inmem")
                .long("inmem")
                .value_parser(ValueParser::bool()),
            Arg::new("keep")
                .long("snapshot-log-keep")
                .value_parser(clap::value_parser!(u64)),
            Arg::new("join").long("join").action(ArgAction::Append),
        ]
    }

    fn read(text: &str) -> Result<Vec<(String, usize, Vec<String>)>, String> {
        let flags = flags();
        let flags: Vec<&Arg> = flags.iter().collect();
        let settings = parse("f.toml", text, &flags)?;
        Ok(settings
            .into_iter()
            .map(|one| (one.key, one.place.line, one.values))
            .collect())
    }

    #[test]
    fn every_type_is_read_with_its_line() {
        let text = "# a comment\nhaddr = \"a:1\"\n\njoin = [\n  \"b:1\", # with\n  \"c:2\"]\n\
                    inmem = true\nsnapshot-log-keep = 1_000\n";
        let text = text.replace("b:1\",", "b:1\",\n");
        let found = read(&text).unwrap();
        let entry = |key: &str, line, values: &[&str]| {
            let values = values.iter().map(|value| (*value).to_owned()).collect();
            (key.to_owned(), line, values)
        };
        assert_eq!(
            found,
            [
                entry("haddr", 2, &["a:1"]),
                entry("join", 4, &["b:1", "c:2"]),
                entry("inmem", 8, &["true"]),
                entry("snapshot-log-keep", 9, &["1000"]),
            ]
        );
    }

    #[test]
    fn what_is_wrong_is_named_with_file_line_and_key() {
        for (text, wanted) in [
            (
                "haddr = 1",
                "f.toml:1: `haddr` is a string in quotes, and not of type integer",
            ),
            ("\n\ninmem = \"yes\"", "f.toml:3: `inmem` is true or false"),
            ("join = \"a:1\"", "f.toml:1: `join` is a list of strings"),
            ("join = [1]", "f.toml:1: `join` is a list of strings"),
            (
                "snapshot-log-keep = -1",
                "f.toml:1: `snapshot-log-keep` is a whole number",
            ),
            (
                "snapshot-log-keep = 1.5",
                "f.toml:1: `snapshot-log-keep` is a whole number",
            ),
            (
                "inmem = true\nhadr = \"\"",
                "f.toml:2: unknown key `hadr`: is `haddr` meant?",
            ),
            ("snapshot_log_keep = 1", "is `snapshot-log-keep` meant?"),
            (
                "[cluster]\nname = 1",
                "f.toml:1: unknown key `cluster`: keys are",
            ),
            (
                "haddr.port = 1",
                "f.toml:1: `haddr` is a string in quotes, and not of type table",
            ),
            (
                "haddr = \"a:1\"\nhaddr = \"b:1\"",
                "f.toml:2: duplicate key",
            ),
            ("haddr = ", "f.toml:1: "),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(wanted), "{text}: {error}");
        }
    }
}
