//! Which value counts: a flag's, else the environment's, else the file's, else the default.
//!
//! The file's values become the defaults of the command line for one parse, so that all layers pass
//! the same checks, and a new flag needs nothing here.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use clap::builder::Resettable;
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command};
use toml::Value;

use super::cli::ConfigError;
use super::file::{self, Kind, Place, Setting};
use super::forming::SeedEnvironment;

/// Flags that say nothing about a node, and so are no keys of a file.
const NO_KEYS: [&str; 4] = ["config", "json", "help", "version"];

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    Default,
    File(Place),
    Environment(String),
    Flag(String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(place) => write!(f, "file {place}"),
            Self::Environment(variable) => write!(f, "environment {variable}"),
            Self::Flag(flag) => write!(f, "flag {flag}"),
        }
    }
}

/// Why there is nothing to start.
#[derive(Debug)]
pub(super) enum Unusable {
    /// Help was asked for.
    Show(String),
    Wrong(ConfigError),
}

impl From<clap::Error> for Unusable {
    fn from(error: clap::Error) -> Self {
        match error.use_stderr() {
            true => Self::Wrong(ConfigError::Usage(error.to_string().trim_end().to_owned())),
            false => Self::Show(error.to_string()),
        }
    }
}

impl From<ConfigError> for Unusable {
    fn from(error: ConfigError) -> Self {
        Self::Wrong(error)
    }
}

/// A parsed command line over the environment over a file.
#[derive(Debug)]
pub(super) struct Layers {
    command: Command,
    matches: ArgMatches,
    /// What the file says, also where something else counts.
    file: Vec<Setting>,
    /// `PORT` is set, which is the HTTP address as long as no flag or variable of ours is.
    has_port: bool,
}

impl Layers {
    /// Parses a command line, and the file that it or the environment names.
    ///
    /// # Errors
    ///
    /// Help was asked for, or something is not acceptable.
    pub(super) fn new(
        command: Command,
        arguments: &[OsString],
        seeds: &SeedEnvironment,
    ) -> Result<Self, Unusable> {
        let matches = command.clone().try_get_matches_from(arguments)?;
        let path = matches.get_one::<PathBuf>("config").cloned();
        let mut layers = Self {
            command,
            matches,
            file: Vec::new(),
            has_port: seeds.port().is_some(),
        };
        let Some(path) = path else {
            return Ok(layers);
        };
        let flags: Vec<&Arg> = settings(&layers.command).collect();
        let file = file::read(&path, &flags).map_err(ConfigError::File)?;
        let mut with_file = layers.command.clone();
        for setting in &file {
            let flag = flags.iter().find(|flag| is_named(flag, &setting.key));
            let Some(flag) = flag else { continue };
            check(&layers.command, flag, setting)?;
            // An empty list is what there is without one.
            if setting.values.is_empty() || layers.is_overruled(flag) {
                continue;
            }
            let values = setting.values.clone();
            let id = flag.get_id().clone();
            with_file = with_file.mut_arg(id, |flag| flag.default_values(values));
        }
        layers.matches = with_file.try_get_matches_from(arguments)?;
        layers.file = file;
        Ok(layers)
    }

    pub(super) const fn matches(&self) -> &ArgMatches {
        &self.matches
    }

    /// Returns whether a value is on the command line.
    pub(super) fn is_flag(&self, id: &str) -> bool {
        self.matches.value_source(id) == Some(ValueSource::CommandLine)
    }

    /// Returns where the value of a flag such as `-haddr` comes from.
    pub(super) fn source(&self, flag: &str) -> Source {
        let name = flag.trim_start_matches('-');
        match self
            .command
            .get_arguments()
            .find(|flag| is_named(flag, name))
        {
            Some(flag) => self.source_of(flag),
            None => Source::Default,
        }
    }

    /// `PORT` is of the environment, and so above the file.
    fn is_overruled(&self, flag: &Arg) -> bool {
        self.has_port && is_named(flag, "haddr")
    }

    fn source_of(&self, flag: &Arg) -> Source {
        let name = flag.get_long().unwrap_or_default();
        if name == "data-dir" && self.is_flag("directory") {
            return Source::Flag("DATA_DIR".to_owned());
        }
        match self.matches.value_source(flag.get_id().as_str()) {
            Some(ValueSource::CommandLine) => Source::Flag(format!("-{name}")),
            Some(ValueSource::EnvVariable) => {
                let variable = flag.get_env().unwrap_or_default();
                Source::Environment(variable.to_string_lossy().into_owned())
            }
            _ if self.is_overruled(flag) => Source::Environment("PORT".to_owned()),
            _ => match self.file.iter().find(|setting| setting.key == name) {
                Some(setting) => Source::File(setting.place.clone()),
                None => Source::Default,
            },
        }
    }

    /// Writes all settings as a configuration file. `derived` are the values of those that follow
    /// from others, `name` is the node's.
    pub(super) fn effective(&self, name: &str, derived: &[(&str, String)]) -> String {
        let mut out = String::from(
            "# What counts here. A flag wins over the environment, the environment over a file.\n\
             # Start a node with it: conclave -c FILE\n",
        );
        for flag in settings(&self.command) {
            let key = flag.get_long().unwrap_or_default();
            let source = self.source_of(flag);
            let line = match (
                self.value(flag),
                derived.iter().find(|(known, _)| *known == key),
            ) {
                (None, None) if key == "id" => {
                    // A used directory keeps its name, so that nothing may be asked for.
                    format!("# id = {}", Value::from(name))
                }
                (None, None) => format!("# {key} ="),
                // Also for a data directory that is given as DATA_DIR.
                (_, Some((_, value))) => format!("{key} = {}", Value::from(value.as_str())),
                (Some(value), None) => format!("{key} = {value}"),
            };
            out.push_str(&format!("{line}  # {source}\n"));
        }
        out.truncate(out.trim_end().len());
        out
    }

    fn value(&self, flag: &Arg) -> Option<Value> {
        let raw = self.matches.get_raw(flag.get_id().as_str());
        let mut texts = raw
            .into_iter()
            .flatten()
            .map(|value| value.to_string_lossy().into_owned())
            .filter(|value| !value.is_empty());
        match Kind::of(flag) {
            Kind::List => Some(Value::from(texts.collect::<Vec<_>>())),
            Kind::Text => texts.next().map(Value::from),
            Kind::Number => Some(Value::Integer(texts.next()?.parse().ok()?)),
            Kind::Switch => {
                let on = self.matches.get_one::<bool>(flag.get_id().as_str());
                on.copied().map(Value::from)
            }
        }
    }
}

/// Returns the flags that are settings of a node.
fn settings(command: &Command) -> impl Iterator<Item = &Arg> {
    command
        .get_arguments()
        .filter(|flag| flag.get_long().is_some_and(|name| !NO_KEYS.contains(&name)))
}

fn is_named(flag: &Arg, name: &str) -> bool {
    flag.get_long() == Some(name)
}

/// Has the flag's own parser look at the file's value, so that an error can name the file.
fn check(command: &Command, flag: &Arg, setting: &Setting) -> Result<(), ConfigError> {
    if Kind::of(flag) == Kind::Switch {
        return Ok(());
    }
    let alone = |flag: Arg| flag.env(Resettable::Reset);
    for value in &setting.values {
        let arguments = ["conclave".to_owned(), format!("--{}={value}", setting.key)];
        if let Err(error) = command
            .clone()
            .mut_args(alone)
            .try_get_matches_from(arguments)
        {
            let text = error.to_string();
            let first = text.lines().next().unwrap_or_default();
            let reason = first.trim_start_matches("error: ");
            let place = &setting.place;
            return Err(ConfigError::File(format!("{place}: {reason}")));
        }
    }
    Ok(())
}
