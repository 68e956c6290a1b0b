//! When, where and of what a report was made.

use std::{env, fs, thread};

use crate::{process::output_of, workspace::Workspace};

/// Returns a list of date, commit and machine.
pub(crate) fn describe(workspace: &Workspace) -> String {
    let ask = |program: &str, arguments: &[&str]| {
        let mut command = workspace.command(program);
        command.args(arguments);
        output_of(command).unwrap_or_else(|| "?".to_owned())
    };
    let commit = ask("git", &["rev-parse", "--short=12", "HEAD"]);
    let changed = match ask("git", &["status", "--porcelain"]).is_empty() {
        true => "",
        false => ", with changes that are not committed",
    };
    let folder = env::temp_dir();
    let cores = thread::available_parallelism().map_or(0, usize::from);
    format!(
        "- date: {}\n- commit: {commit}{changed}\n- processor: {}, {cores} cores\n- memory: {} MiB\n\
         - kernel: {}\n- file system of the nodes: {}\n",
        ask("date", &["-u", "+%Y-%m-%d %H:%M UTC"]),
        field("/proc/cpuinfo", "model name"),
        memory_mib(),
        ask("uname", &["-sr"]),
        ask("stat", &["-f", "-c", "%T", &folder.to_string_lossy()]),
    )
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
