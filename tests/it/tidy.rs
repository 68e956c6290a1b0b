//! The house rules that no compiler checks. A violation names the file, the line and the rule.
//!
//! The tables in `tidy/tables.rs` say who may use what: a module of `server/src` that needs more gets
//! it there first, in the open. Tests inside a module may use everything.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use tables::{EVERYTHING, FORBIDDEN, MODULES, OWNED_CRATES};

mod tables;

/// Lines of a file before its tests.
const LINES: usize = 500;

/// One rule that one line breaks.
struct Violation {
    file: PathBuf,
    line: usize,
    rule: String,
}

/// A file of the repository: its path from the root, and its lines.
struct Source {
    path: PathBuf,
    text: String,
}

impl Source {
    /// Returns the numbered lines before the tests, without comments.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let before_tests = self
            .text
            .lines()
            .take_while(|line| line.trim() != "#[cfg(test)]");
        (1..).zip(before_tests.map(without_comment))
    }

    fn is_rust(&self) -> bool {
        self.path
            .extension()
            .is_some_and(|extension| extension == "rs")
    }

    fn violation(&self, line: usize, rule: impl Into<String>) -> Violation {
        Violation {
            file: self.path.clone(),
            line,
            rule: rule.into(),
        }
    }

    /// Returns the path below `server/src` without the extension, such as `node/status`.
    fn server_module(&self) -> Option<String> {
        let inside = self.path.strip_prefix("server/src").ok()?;
        let inside = inside.with_extension("");
        let is_test = inside.iter().any(|part| part == "tests");
        (self.is_rust() && !is_test).then(|| inside.to_string_lossy().into_owned())
    }
}

fn without_comment(line: &str) -> &str {
    let trimmed = line.trim_start();
    if trimmed.starts_with("//") {
        return "";
    }
    line.split_once(" // ").map_or(line, |(code, _)| code)
}

/// Returns all text files that people write, in order.
fn sources() -> Vec<Source> {
    const SKIPPED: [&str; 5] = ["target", "node_modules", "dist", "data", "golden"];
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the repository");
    let mut sources = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a readable folder").flatten() {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            let hidden = name.starts_with('.') && name != ".ci" && name != ".cargo";
            if hidden || SKIPPED.contains(&name.as_str()) {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if let Some(source) = read_source(root, &path) {
                sources.push(source);
            }
        }
    }
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(
        sources.len() > 20,
        "only {} files below {}",
        sources.len(),
        root.display()
    );
    sources
}

fn read_source(root: &Path, path: &Path) -> Option<Source> {
    let extension = path.extension().and_then(|extension| extension.to_str());
    let written = matches!(
        extension,
        None | Some("rs" | "toml" | "md" | "sh" | "js" | "mjs" | "html" | "css" | "json" | "yml")
    );
    // Files of another kind without an extension are not UTF-8 or do no harm.
    let text = fs::read_to_string(path).ok().filter(|_| written)?;
    let path = path.strip_prefix(root).ok()?.to_owned();
    Some(Source { path, text })
}

/// Returns whether a file such as `node/status` is `owner` or below it.
fn is_within(module: &str, owner: &str) -> bool {
    module
        .strip_prefix(owner)
        .is_some_and(|rest| !rest.starts_with(is_word))
}

fn assert_none(violations: &[Violation]) {
    let mut report = String::new();
    for violation in violations {
        let Violation { file, line, rule } = violation;
        writeln!(report, "{}:{line}: {rule}", file.display()).expect("a string takes all");
    }
    assert!(
        violations.is_empty(),
        "{} violations\n{report}",
        violations.len()
    );
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Returns what follows each place where `start` begins a path in the line.
fn after_paths<'a>(line: &'a str, start: &'a str) -> impl Iterator<Item = &'a str> {
    line.match_indices(start).filter_map(move |(at, _)| {
        let before = line[..at].chars().next_back();
        let begins = !before.is_some_and(|c| is_word(c) || c == ':');
        begins.then(|| &line[at + start.len()..])
    })
}

fn first_word(text: &str) -> &str {
    text.split(|c| !is_word(c)).next().unwrap_or_default()
}

/// Returns the first word of each path in a `{…}` group; of groups inside it, nothing.
fn words_of_group(group: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut depth = 0;
    let mut word = String::new();
    let mut done = false;
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => done = false,
            c if depth == 1 && !done && is_word(c) => word.push(c),
            c if depth == 1 && !word.is_empty() && !c.is_whitespace() => done = true,
            _ => {}
        }
        let ended = depth == 0 || done || c == ',';
        if ended && !word.is_empty() {
            words.push(std::mem::take(&mut word));
        }
        if depth == 0 {
            break;
        }
    }
    words
}

/// Returns the top-level modules that a file names, with their lines.
fn named_modules(source: &Source, module: &str) -> Vec<(usize, String)> {
    let depth = module.split('/').filter(|part| *part != "mod").count();
    let to_root = "super::".repeat(depth);
    let lines: Vec<_> = source.code().collect();
    let mut named = Vec::new();
    for (index, (number, line)) in lines.iter().enumerate() {
        for start in ["crate::", to_root.as_str()] {
            for rest in after_paths(line, start) {
                if rest.starts_with('{') {
                    let more = lines[index + 1..].iter().map(|(_, line)| *line);
                    let group: String = std::iter::once(rest).chain(more.take(60)).collect();
                    named.extend(
                        words_of_group(&group)
                            .into_iter()
                            .map(|word| (*number, word)),
                    );
                } else {
                    named.push((*number, first_word(rest).to_owned()));
                }
            }
        }
    }
    named.retain(|(_, name)| EVERYTHING.contains(&name.as_str()));
    named
}

#[test]
fn modules_of_the_server_use_only_what_the_table_allows() {
    let mut violations = Vec::new();
    for source in sources() {
        let Some(module) = source.server_module() else {
            continue;
        };
        let top = first_word(&module);
        let lines = MODULES.iter().filter(|(name, _)| is_within(&module, name));
        let Some((_, allowed)) = lines.max_by_key(|(name, _)| name.len()) else {
            let rule = format!("module `{top}` is not in the table of tests/it/tidy.rs");
            violations.push(source.violation(1, rule));
            continue;
        };
        for (line, used) in named_modules(&source, &module) {
            if used != top && !allowed.contains(&used.as_str()) {
                let rule = format!("`{module}` must not know `{used}`");
                violations.push(source.violation(line, rule));
            }
        }
    }
    assert_none(&violations);
}

#[test]
fn foreign_crates_stay_with_their_owners() {
    let mut violations = Vec::new();
    for source in sources() {
        let Some(module) = source.server_module() else {
            continue;
        };
        let owns = |owner: &&str| is_within(&module, owner);
        for (line, code) in source.code() {
            for (name, owners) in OWNED_CRATES {
                let used = after_paths(code, name).any(|rest| rest.starts_with("::"));
                if used && !owners.iter().any(owns) {
                    let rule = format!("`{name}` belongs to {owners:?}");
                    violations.push(source.violation(line, rule));
                }
            }
        }
    }
    assert_none(&violations);
}

#[test]
fn the_state_machine_is_the_same_function_on_every_node() {
    let mut violations = Vec::new();
    for source in sources() {
        let Some(module) = source.server_module() else {
            continue;
        };
        for (owner, names) in FORBIDDEN
            .iter()
            .filter(|(owner, _)| first_word(&module) == *owner)
        {
            for (line, code) in source.code() {
                for name in code
                    .split(|c| !is_word(c))
                    .filter(|word| names.contains(word))
                {
                    let rule = format!("`{owner}` must not use `{name}`");
                    violations.push(source.violation(line, rule));
                }
            }
        }
    }
    assert_none(&violations);
}

#[test]
fn the_wire_contract_knows_no_consensus_library() {
    let mut violations = Vec::new();
    for source in sources()
        .iter()
        .filter(|source| source.path.starts_with("shared"))
    {
        for (line, text) in (1..).zip(source.text.lines()) {
            if text.contains("openraft") {
                violations.push(source.violation(line, "`openraft` in the wire contract"));
            }
        }
    }
    assert_none(&violations);
}

#[test]
fn files_open_with_what_they_own_and_are_short() {
    let mut violations = Vec::new();
    for source in sources().iter().filter(|source| source.is_rust()) {
        if !source.text.starts_with("//!") {
            violations.push(source.violation(1, "a file opens with `//!`: what it owns"));
        }
        let lines = source.code().count();
        let is_tests = source.path.ends_with("tests.rs");
        if lines > LINES && !is_tests {
            let rule = format!("{lines} lines before the tests; at most {LINES}");
            violations.push(source.violation(lines, rule));
        }
    }
    assert_none(&violations);
}

#[test]
fn nothing_is_left_for_later_and_no_test_is_switched_off() {
    // Put together here, so that this file does not break its own rule.
    let unfinished = [
        concat!("to", "do!("),
        concat!("un", "implemented!("),
        concat!("#[", "ignore"),
    ];
    let mut violations = Vec::new();
    for source in sources().iter().filter(|source| source.is_rust()) {
        for (line, text) in (1..).zip(source.text.lines()) {
            for word in unfinished.iter().filter(|word| text.contains(*word)) {
                violations.push(source.violation(line, format!("`{word}`")));
            }
        }
    }
    assert_none(&violations);
}

#[test]
fn tests_wait_on_conditions_and_on_nothing_else() {
    let sleep = concat!("sl", "eep(");
    let mut violations = Vec::new();
    for source in sources()
        .iter()
        .filter(|source| source.path.starts_with("tests/it"))
    {
        for (line, text) in (1..).zip(source.text.lines()) {
            if text.contains(sleep) {
                violations.push(source.violation(line, "a sleep; use `wait_for`"));
            }
        }
    }
    assert_none(&violations);
}

#[test]
fn every_file_of_tests_is_part_of_the_binary() {
    let sources = sources();
    let main = sources
        .iter()
        .find(|source| source.path == Path::new("tests/it/main.rs"));
    let main = &main.expect("tests/it/main.rs").text;
    let mut violations = Vec::new();
    for source in &sources {
        let Ok(name) = source.path.strip_prefix("tests/it") else {
            continue;
        };
        let name = name.with_extension("").to_string_lossy().into_owned();
        let is_top = source.is_rust() && !name.contains('/') && name != "main";
        if is_top && !main.contains(&format!("mod {name};")) {
            violations.push(source.violation(1, "not named in tests/it/main.rs"));
        }
    }
    assert_none(&violations);
}

#[test]
fn nothing_names_a_place_outside_of_the_repository() {
    let banned = [
        concat!("../sha", "red/"),
        concat!("/wo", "rk/"),
        concat!("/ro", "ot/"),
    ];
    let mut violations = Vec::new();
    for source in sources() {
        for (line, text) in (1..).zip(source.text.lines()) {
            for word in banned.iter().filter(|word| text.contains(*word)) {
                violations.push(source.violation(line, format!("names `{word}`")));
            }
        }
    }
    assert_none(&violations);
}

#[test]
fn the_reader_of_paths_sees_groups_and_parents() {
    let source = |text: &str| Source {
        path: "server/src/a/b.rs".into(),
        text: text.to_owned(),
    };
    let text = "use crate::{\n    node::{Node, state},\n    state::Key, raft,\n};\n\
                // crate::http\nlet x = super::super::storage::Wal;\n#[cfg(test)]\ncrate::app";
    let named = named_modules(&source(text), "a/b");
    let names: Vec<_> = named
        .iter()
        .map(|(line, name)| (*line, name.as_str()))
        .collect();
    assert_eq!(
        names,
        [(1, "node"), (1, "state"), (1, "raft"), (6, "storage")]
    );
}
