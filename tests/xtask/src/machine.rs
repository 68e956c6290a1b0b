//! What a report says of the machine, the day and the commit.

use std::fs;

use crate::{process::output_of, workspace::Workspace};

const UNKNOWN: &str = "?";

/// Returns a few lines of Markdown.
pub(crate) fn describe(workspace: &Workspace) -> String {
    let of = |program: &str, arguments: &[&str]| {
        let mut command = workspace.command(program);
        command.args(arguments);
        output_of(command)
    };
    let date = of("date", &["-u", "+%Y-%m-%d"]);
    let commit = of("git", &["describe", "--always", "--dirty"]);
    let kernel = of("uname", &["-sr"]);
    let cores = of("nproc", &[]);
    let known = |text: Option<String>| text.unwrap_or_else(|| UNKNOWN.to_owned());
    format!(
        "- day: {}\n- commit: {}\n- processor: {}, {} cores\n- memory: {}\n- system: {}\n",
        known(date),
        known(commit),
        known(field("/proc/cpuinfo", "model name")),
        known(cores),
        known(field("/proc/meminfo", "MemTotal")),
        known(kernel),
    )
}

/// Returns the first value of that name in a file of `name: value` lines.
fn field(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    text.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        (found.trim() == name).then(|| value.trim().to_owned())
    })
}
