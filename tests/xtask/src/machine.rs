//! When, where and of what a report was made.

use std::{env, fs, path::Path, thread};

use crate::{process::output_of, workspace::Workspace};

/// Files that commands write and that are no part of what is measured.
const REPORTS: [&str; 2] = ["RELIABILITY.md", "BENCHMARKS.md"];

/// Returns a list of date, commit and machine.
pub(crate) fn describe(workspace: &Workspace) -> String {
    format!(
        "- date: {}\n- commit: {}\n- {}\n",
        date(workspace),
        commit(workspace),
        parts(workspace).join("\n- ")
    )
}

/// Returns the time, to the minute.
pub(crate) fn date(workspace: &Workspace) -> String {
    ask(workspace, "date", &["-u", "+%Y-%m-%d %H:%M UTC"])
}

/// Returns the commit, and whether something but the reports differs from it.
pub(crate) fn commit(workspace: &Workspace) -> String {
    let commit = ask(workspace, "git", &["rev-parse", "--short=12", "HEAD"]);
    let reports = REPORTS.map(|name| format!(":(exclude){name}"));
    let mut status = vec!["status", "--porcelain", "--", "."];
    status.extend(reports.iter().map(String::as_str));
    let changed = match ask(workspace, "git", &status).is_empty() {
        true => "",
        false => ", with changes that are not committed",
    };
    format!("{commit}{changed}")
}

/// Returns the machine in one line.
pub(crate) fn hardware(workspace: &Workspace) -> String {
    parts(workspace).join("; ")
}

/// Returns the profile of a program in a target directory and the beginning of its SHA-256.
pub(crate) fn build(workspace: &Workspace, program: &Path) -> String {
    let profile = program.parent().and_then(Path::file_name);
    let profile = profile.unwrap_or_default().to_string_lossy();
    let sum = ask(workspace, "sha256sum", &[&program.to_string_lossy()]);
    format!("{profile} {}", sum.get(..12).unwrap_or("?"))
}

fn parts(workspace: &Workspace) -> [String; 4] {
    let folder = env::temp_dir();
    let folder = folder.to_string_lossy();
    let cores = thread::available_parallelism().map_or(0, usize::from);
    let file_system = ask(workspace, "stat", &["-f", "-c", "%T", &folder]);
    [
        format!(
            "processor: {}, {cores} cores",
            field("/proc/cpuinfo", "model name")
        ),
        format!("memory: {} MiB", memory_mib()),
        format!("kernel: {}", ask(workspace, "uname", &["-sr"])),
        format!("file system of the nodes: {file_system}"),
    ]
}

/// Returns what a program says, or `?`.
fn ask(workspace: &Workspace, program: &str, arguments: &[&str]) -> String {
    let mut command = workspace.command(program);
    command.args(arguments);
    output_of(command).unwrap_or_else(|| "?".to_owned())
}

fn memory_mib() -> u64 {
    let kib = field("/proc/meminfo", "MemTotal");
    let kib = kib.trim_end_matches(" kB").parse::<u64>();
    kib.unwrap_or(0) / 1_024
}

/// Returns what a file of the kernel says of a name.
fn field(path: &str, name: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let value = line.and_then(|line| line.split_once(':'));
    value.map_or_else(|| "?".to_owned(), |(_, value)| value.trim().to_owned())
}
