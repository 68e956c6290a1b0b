//! From a command line to what is to be done: a node, a tool, or a text to show.

use std::ffi::OsString;

use clap::{CommandFactory, FromArgMatches};

use super::HostPort;
use super::cli::{Config, ConfigError, Flags, default_directory, resolve};
use super::forming::SeedEnvironment;
use super::layers::{Layers, Source, Unusable};
use super::tools::{self, ConfigFlags, DoctorFlags, Tool};

/// What the command line asks for.
#[derive(Debug)]
pub enum Parsed {
    Run(Box<Config>),
    /// A command that is no node.
    Tool(Box<Tool>),
    /// `--help`, `--version` or `config`: print the text and end well.
    Show(String),
}

/// Parses the command line, the environment and the configuration file.
///
/// # Errors
///
/// A flag or a key is unknown, or a value is not acceptable; the text names it.
pub fn parse(
    arguments: impl IntoIterator<Item = OsString>,
    seeds: &SeedEnvironment,
) -> Result<Parsed, ConfigError> {
    let mut arguments: Vec<_> = arguments.into_iter().map(two_dashes).collect();
    let first = arguments.get(1).and_then(|first| first.to_str());
    let command = tools::COMMANDS
        .into_iter()
        .find(|name| first == Some(*name));
    if command.is_some() {
        arguments.remove(1);
    }
    let parsed = match command {
        None => node(&arguments, seeds),
        Some("config") => show(&arguments, seeds),
        Some("doctor") => doctor(&arguments, seeds),
        Some(command) => tools::parse(command, &arguments).map(|tool| Parsed::Tool(Box::new(tool))),
    };
    match parsed {
        Err(Unusable::Show(text)) => Ok(Parsed::Show(text)),
        Err(Unusable::Wrong(error)) => Err(error),
        Ok(parsed) => Ok(parsed),
    }
}

fn node(arguments: &[OsString], seeds: &SeedEnvironment) -> Result<Parsed, Unusable> {
    let layers = Layers::new(Flags::command(), arguments, seeds)?;
    let flags = Flags::from_arg_matches(layers.matches())?;
    // With flags before it the word would be a directory: nobody means that.
    let given = layers.is_flag("directory").then_some(&flags.directory);
    if let Some(Some(directory)) = given
        && let Some(name) = tools::COMMANDS
            .iter()
            .find(|name| directory.as_os_str() == **name)
    {
        return Err(Unusable::Wrong(ConfigError::Usage(format!(
            "`{name}` is a command and comes first: conclave {name} …; for a directory of that \
             name write ./{name}"
        ))));
    }
    let config = configure(flags, &layers, seeds)?;
    Ok(Parsed::Run(Box::new(config)))
}

fn doctor(arguments: &[OsString], seeds: &SeedEnvironment) -> Result<Parsed, Unusable> {
    let layers = Layers::new(DoctorFlags::command(), arguments, seeds)?;
    let DoctorFlags { flags, json } = DoctorFlags::from_arg_matches(layers.matches())?;
    let config = Box::new(configure(flags, &layers, seeds)?);
    Ok(Parsed::Tool(Box::new(Tool::Doctor { config, json })))
}

fn show(arguments: &[OsString], seeds: &SeedEnvironment) -> Result<Parsed, Unusable> {
    let layers = Layers::new(ConfigFlags::command(), arguments, seeds)?;
    let ConfigFlags { flags } = ConfigFlags::from_arg_matches(layers.matches())?;
    let data_dir = flags.data_directory(None);
    let config = configure(flags, &layers, seeds)?;
    let data_dir = data_dir.unwrap_or_else(|| default_directory(&config.name));
    let address = |address: &HostPort| address.to_string();
    // What is not said follows from the rest.
    let derived = [
        ("haddr", address(&config.http)),
        ("raddr", address(&config.raft)),
        ("hlisten", address(&config.http_listen)),
        ("rlisten", address(&config.raft_listen)),
        ("data-dir", data_dir.to_string_lossy().into_owned()),
    ];
    Ok(Parsed::Show(layers.effective(&config.name, &derived)))
}

fn configure(flags: Flags, layers: &Layers, seeds: &SeedEnvironment) -> Result<Config, Unusable> {
    if layers.is_flag("directory") && layers.is_flag("data_dir") {
        let text = "the data directory is given twice: as DATA_DIR and with -data-dir";
        return Err(Unusable::Wrong(ConfigError::Usage(text.to_owned())));
    }
    resolve(flags, seeds).map_err(|error| {
        // Whoever wrote it in a file looks for it there.
        let source = error.flag().map(|flag| layers.source(flag));
        Unusable::Wrong(match source {
            Some(Source::File(place)) => ConfigError::File(format!("{place}: {error}")),
            _ => error,
        })
    })
}

/// Go's flag package, which the seeds use, takes `-id` and `--id` alike.
fn two_dashes(argument: OsString) -> OsString {
    let Some(text) = argument.to_str() else {
        return argument;
    };
    let long = text.strip_prefix('-').filter(|rest| {
        rest.len() > 1 && rest.starts_with(|first: char| first.is_ascii_alphabetic())
    });
    match long {
        // `-c FILE` and `-h` stay short; everything longer is a long flag.
        Some(rest) => format!("--{rest}").into(),
        None => argument,
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::Duration;

    use super::*;
    use crate::config::Forming;
    use crate::config::LogFormat;

    fn run(arguments: &[&str]) -> Result<Config, ConfigError> {
        with_port(arguments, None)
    }

    fn seeds(port: Option<&str>) -> SeedEnvironment {
        SeedEnvironment {
            port: port.map(str::to_owned),
            ..SeedEnvironment::default()
        }
    }

    fn with_port(arguments: &[&str], port: Option<&str>) -> Result<Config, ConfigError> {
        let all = std::iter::once("conclave").chain(arguments.iter().copied());
        match parse(all.map(OsString::from), &seeds(port))? {
            Parsed::Run(config) => Ok(*config),
            other => panic!("{other:?}"),
        }
    }

    /// Writes a configuration file, and returns its path with the folder that holds it.
    fn file(text: &str) -> (tempfile::TempDir, String) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("node.toml");
        std::fs::write(&path, text).unwrap();
        let path = path.to_str().unwrap().to_owned();
        (folder, path)
    }

    fn shown(arguments: &[&str], port: Option<&str>) -> Result<String, ConfigError> {
        let all = ["conclave", "config"].iter().chain(arguments).copied();
        match parse(all.map(OsString::from), &seeds(port))? {
            Parsed::Show(text) => Ok(text),
            other => panic!("{other:?}"),
        }
    }

    const WHOLE: &str = "id = \"n1\"\nhaddr = \"h:1\"\nraddr = \"r:2\"\njoin = [\"a:3\", \"b:4\"]\n\
                         join-timeout = \"5s\"\nhistory-age = \"2h\"\nhistory-revisions = 7\n\
                         data-dir = \"/from/file\"\nlog-format = \"json\"\n";

    #[test]
    fn a_file_sets_what_no_flag_does() {
        let (_folder, path) = file(WHOLE);
        let config = run(&["-c", &path]).unwrap();
        assert_eq!((&*config.name, config.name_given), ("n1", true));
        assert_eq!(config.http.to_string(), "h:1");
        assert_eq!(config.join.len(), 2);
        assert_eq!(config.join_timeout, Duration::from_secs(5));
        assert_eq!(config.history.age, Duration::from_secs(7_200));
        assert_eq!(config.history.revisions, 7);
        assert_eq!(config.log_format, LogFormat::Json);
        assert_eq!(config.data_dir, Some(PathBuf::from("/from/file")));

        let flags = ["-c", &path, "-haddr", "f:9", "-join", "c:5", "/from/flag"];
        let config = run(&flags).unwrap();
        assert_eq!(config.http.to_string(), "f:9");
        assert_eq!(config.join[0].to_string(), "c:5");
        assert_eq!(config.join.len(), 1, "a list replaces a list");
        assert_eq!(config.raft.to_string(), "r:2");
        assert_eq!(config.data_dir, Some(PathBuf::from("/from/flag")));
        let config = with_port(&["-config", &path], Some("3000")).unwrap();
        assert_eq!(config.http.port, 3000, "PORT is of the environment");
        assert_eq!(config.raft.to_string(), "r:2");
    }

    #[test]
    fn a_switch_of_the_file_can_be_taken_back() {
        let (_folder, path) = file("inmem = true\n");
        assert_eq!(run(&["-c", &path]).unwrap().data_dir, None);
        let config = run(&["-c", &path, "-inmem=false", "d"]).unwrap();
        assert_eq!(config.data_dir, Some(PathBuf::from("d")));
        let config = run(&["-inmem", "d"]).unwrap();
        assert_eq!(config.data_dir, None, "a switch takes no word after it");
    }

    #[test]
    fn an_error_in_a_file_names_the_line() {
        for (text, wanted) in [
            (
                "\nhaddr = \"nonsense\"",
                "node.toml:2: -haddr: address `nonsense`",
            ),
            ("haddr = \"0.0.0.0:1\"", "node.toml:1: -haddr 0.0.0.0:1"),
            (
                "join-timeout = \"soon\"",
                "node.toml:1: invalid value 'soon'",
            ),
            ("log-format = \"xml\"", "node.toml:1: invalid value 'xml'"),
            ("id = \"\"", "node.toml:1: "),
            (
                "\n\njoinn = []",
                "node.toml:3: unknown key `joinn`: is `join` meant?",
            ),
            ("config = \"x\"", "node.toml:1: unknown key `config`"),
        ] {
            let (_folder, path) = file(text);
            let error = run(&["-c", &path]).unwrap_err();
            assert!(matches!(error, ConfigError::File(_)), "{error:?}");
            assert!(error.to_string().contains(wanted), "{text}: {error}");
        }
        let error = run(&["-c", "/nowhere/node.toml"]).unwrap_err().to_string();
        assert!(error.contains("/nowhere/node.toml"), "{error}");
        let (_folder, path) = file("haddr = \"nonsense\"");
        let config = run(&["-c", &path, "-haddr", "h:1"]).unwrap();
        assert_eq!(config.http.port, 1, "what does not count does no harm");
    }

    #[test]
    fn the_effective_configuration_can_be_fed_back() {
        let (_folder, path) = file(WHOLE);
        for (arguments, port) in [
            (vec!["-c", &*path, "-history-bytes", "5", "d"], None),
            (vec!["-inmem", "-id", "x"], Some("3000")),
            (vec![], None),
        ] {
            let first = shown(&arguments, port).unwrap();
            let (_other, fed) = file(&first);
            let second = shown(&["-c", &fed], None).unwrap();
            let values = |text: &str| -> Vec<String> {
                let lines = text
                    .lines()
                    .map(|line| line.split("  # ").next().unwrap_or(line));
                lines.map(str::to_owned).collect()
            };
            assert_eq!(values(&first), values(&second));
        }
    }

    #[test]
    fn each_value_says_where_it_comes_from() {
        let (_folder, path) = file("haddr = \"h:1\"\n\njoin = [\"a:3\"]\n");
        let text = shown(&["-c", &path, "-raddr", "r:2", "dir"], None).unwrap();
        for line in [
            format!("haddr = \"h:1\"  # file {path}:1"),
            format!("join = [\"a:3\"]  # file {path}:3"),
            "raddr = \"r:2\"  # flag -raddr".to_owned(),
            "rlisten = \"r:2\"  # default".to_owned(),
            "# id = \"r:2\"  # default".to_owned(),
            "data-dir = \"dir\"  # flag DATA_DIR".to_owned(),
            "inmem = false  # default".to_owned(),
            "history-age = \"168h\"  # default".to_owned(),
        ] {
            assert!(
                text.lines().any(|one| one == line),
                "no `{line}` in\n{text}"
            );
        }
        let text = shown(&["-c", &path], Some("3000")).unwrap();
        assert!(
            text.contains("haddr = \"localhost:3000\"  # environment PORT"),
            "{text}"
        );
    }

    #[test]
    fn commands_come_first_and_directories_of_their_names_are_paths() {
        let config = run(&["-id", "n", "./config"]).unwrap();
        assert_eq!(config.data_dir, Some(PathBuf::from("./config")));
        let error = run(&["-id", "n", "config"]).unwrap_err().to_string();
        assert!(error.contains("conclave config"), "{error}");
        let error = run(&["-data-dir", "a", "b"]).unwrap_err().to_string();
        assert!(error.contains("twice"), "{error}");
        for command in tools::COMMANDS {
            let all = ["conclave", command, "-help"].map(OsString::from);
            let Ok(Parsed::Show(text)) = parse(all, &SeedEnvironment::default()) else {
                panic!("no help of {command}");
            };
            for word in [
                "Examples:",
                "Exit codes:",
                &format!("Usage: conclave {command} "),
            ] {
                assert!(text.contains(word), "{command}: {text}");
            }
        }
    }

    #[test]
    fn the_tools_check_what_they_are_told() {
        let tool = |line: &str| {
            let all = line.split_whitespace().map(OsString::from);
            parse(all, &SeedEnvironment::default()).map_err(|error| error.to_string())
        };
        for line in [
            "conclave recover -data-dir a --out b",
            "conclave recover --data-dir a --dry-run",
            "conclave backup --from :11000 -out f",
            "conclave backup --data-dir a --out -",
            "conclave restore -in - -out d -id n",
            "conclave doctor --json d",
        ] {
            assert!(
                matches!(tool(line), Ok(Parsed::Tool(_))),
                "{line}: {:?}",
                tool(line)
            );
        }
        for (line, word) in [
            ("conclave recover --data-dir a", "--out"),
            ("conclave recover --out a", "--data-dir"),
            ("conclave backup --out f", "--from"),
            (
                "conclave backup --from :1 --data-dir d --out f",
                "cannot be used with",
            ),
            ("conclave backup --from :1 --out f --level fresh", "fresh"),
            ("conclave restore --in f", "--out"),
            (
                "conclave restore --in f --out d --haddr 0.0.0.0:1",
                "-hlisten",
            ),
            ("conclave restore --in f --out d --id \u{7}", "-id"),
            ("conclave config --nope", "nope"),
        ] {
            let error = tool(line).unwrap_err();
            assert!(error.contains(word), "{line}: {error}");
        }
    }

    #[test]
    fn the_seeds_flags_work_with_one_dash_and_two() {
        for dash in ["-", "--"] {
            let flag = |name: &str| format!("{dash}{name}");
            let config = run(&[
                &flag("id"),
                "node1",
                &flag("haddr"),
                "localhost:11001",
                &flag("raddr"),
                "localhost:12001",
                &flag("join"),
                ":11000",
                "/tmp/node1",
            ])
            .unwrap();
            assert_eq!(config.name, "node1");
            assert_eq!(config.http.to_string(), "localhost:11001");
            assert_eq!(config.join[0].to_string(), "localhost:11000");
            assert_eq!(
                config.data_dir.as_deref(),
                Some(std::path::Path::new("/tmp/node1"))
            );
        }
    }

    #[test]
    fn defaults_are_those_of_keyval() {
        let config = run(&[]).unwrap();
        assert_eq!(config.http.to_string(), "localhost:11000");
        assert_eq!(config.raft.to_string(), "localhost:12000");
        assert_eq!(
            (config.name.as_str(), config.name_given),
            ("localhost:12000", false)
        );
        assert_eq!(
            config.data_dir.unwrap(),
            PathBuf::from("data/localhost_12000")
        );
    }

    #[test]
    fn port_alone_sets_both_ports_as_consens_would() {
        let config = with_port(&[], Some("3000")).unwrap();
        assert_eq!(config.http.to_string(), "localhost:3000");
        assert_eq!(config.raft.to_string(), "localhost:13000");
        let high = with_port(&[], Some("60000")).unwrap();
        assert_eq!(high.raft.port, 50_000);
        let flag = with_port(&["-haddr", "localhost:9"], Some("3000")).unwrap();
        assert_eq!(flag.http.port, 9, "a flag wins over the environment");
    }

    fn with_seeds(arguments: &[&str], seeds: &SeedEnvironment) -> Result<Config, ConfigError> {
        let all = std::iter::once("conclave").chain(arguments.iter().copied());
        match parse(all.map(OsString::from), seeds)? {
            Parsed::Run(config) => Ok(*config),
            other => panic!("{other:?}"),
        }
    }

    fn consens(cluster: &str, port: Option<&str>, join: Option<&str>) -> SeedEnvironment {
        SeedEnvironment {
            port: port.map(str::to_owned),
            cluster: Some(cluster.to_owned()),
            join: join.map(str::to_owned),
        }
    }

    #[test]
    fn the_environment_of_consens_is_a_list_of_the_others() {
        let others = "http://localhost:4000,http://localhost:5000";
        let config = with_seeds(&[], &consens(others, None, None)).unwrap();
        assert_eq!(config.http.to_string(), "localhost:3000");
        assert_eq!(config.raft.to_string(), "localhost:13000");
        let Forming::List(list) = &config.forming else {
            panic!("{:?}", config.forming);
        };
        let list: Vec<_> = list.iter().map(ToString::to_string).collect();
        assert_eq!(list, ["localhost:4000", "localhost:5000"]);

        let config = with_seeds(&[], &consens(others, Some("6000"), Some("true"))).unwrap();
        assert_eq!(config.join[0].to_string(), "localhost:4000");
        assert_eq!((config.join.len(), config.http.port), (1, 6000));
        assert_eq!(config.forming, Forming::Alone);

        let config = with_seeds(&["-j", ":9"], &consens(others, None, None)).unwrap();
        assert_eq!(config.join[0].port, 9, "a flag wins over the environment");
        for (seeds, word) in [
            (consens(others, None, Some("perhaps")), "perhaps"),
            (consens("", None, Some("true")), "CLUSTER"),
            (consens("nonsense", None, None), "CLUSTER"),
        ] {
            let error = with_seeds(&[], &seeds).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn there_is_one_way_to_a_cluster() {
        let config = run(&["-cluster", "http://a:1,b:2/"]).unwrap();
        assert!(matches!(config.forming, Forming::List(list) if list.len() == 2));
        let config = run(&["-discover", "mdns", "-expect", "5", "-env", "x"]).unwrap();
        assert_eq!(config.forming, Forming::Discover { expect: 5 });
        for (arguments, word) in [
            (vec!["-cluster", "a:1", "-join", "b:1"], "-join"),
            (vec!["-cluster", "a:1", "-discover", "mdns"], "-discover"),
            (vec!["-join", "a:1", "-discover", "mdns"], "-discover"),
            (vec!["-cluster", "a"], "-cluster"),
            (vec!["-discover", "gossip"], "discover"),
            (vec!["-discover", "mdns", "-expect", "0"], "expect"),
            (vec!["-discover", "mdns", "-expect", "8"], "expect"),
            (vec!["-env", ""], "-env"),
        ] {
            let error = run(&arguments).unwrap_err().to_string();
            assert!(error.contains(word), "{arguments:?}: {error}");
        }
    }

    #[test]
    fn bad_values_name_the_flag() {
        for (arguments, word) in [
            (vec!["-haddr", "nonsense"], "-haddr"),
            (vec!["-haddr", "0.0.0.0:11000"], "-hlisten"),
            (vec!["-raddr", "0.0.0.0:11000"], "-rlisten"),
            (vec!["-id", ""], "-id"),
            (vec!["-join", "localhost:11000"], "-join"),
            (vec!["-join-timeout", "soon"], "join-timeout"),
            (vec!["-remove-dead-after", "1s"], "remove-dead-after"),
            (vec!["-nope"], "nope"),
            (vec!["a", "b"], "'b'"),
        ] {
            let error = run(&arguments).unwrap_err().to_string();
            assert!(error.contains(word), "{arguments:?}: {error}");
        }
        let error = with_port(&[], Some("x")).unwrap_err().to_string();
        assert!(error.contains("PORT"), "{error}");
    }

    #[test]
    fn an_unspecified_address_can_be_bound_with_the_listen_flag() {
        let config = run(&["-haddr", "n1:11000", "-hlisten", "0.0.0.0:11000"]).unwrap();
        assert_eq!(config.http_listen.to_string(), "0.0.0.0:11000");
        assert_eq!(config.http.to_string(), "n1:11000");
    }

    #[test]
    fn help_is_no_error() {
        for flag in ["-h", "-help", "--help"] {
            let all = ["conclave", flag].map(OsString::from);
            assert!(
                matches!(parse(all, &SeedEnvironment::default()), Ok(Parsed::Show(_))),
                "{flag}"
            );
        }
    }
}
