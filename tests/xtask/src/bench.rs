//! The benchmark beside etcd, and the report of it.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{
    debian, machine,
    process::{run, run_reading, which},
    workspace::Workspace,
};

/// A measurement of `conclave-bench`: its heading, and its arguments beside those of all.
struct Part {
    heading: &'static str,
    arguments: &'static [&'static str],
    is_beside_etcd: bool,
}

const PARTS: [Part; 3] = [
    Part {
        heading: "Puts and gets beside etcd",
        arguments: &["--goals"],
        is_beside_etcd: true,
    },
    Part {
        heading: "Change streams",
        arguments: &["--watch", "--value", "64"],
        is_beside_etcd: false,
    },
    Part {
        heading: "Watchers that never read",
        arguments: &["--stalled", "200"],
        is_beside_etcd: false,
    },
];

/// How long each row is measured, and how often beside etcd.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Length {
    /// Seconds.
    pub(crate) seconds: u64,
    pub(crate) repeat: u64,
}

impl Default for Length {
    fn default() -> Self {
        Self {
            seconds: 10,
            repeat: 3,
        }
    }
}

/// Builds server and bench in release, measures everything and writes it to `report`.
///
/// # Errors
///
/// When something cannot be built or had, a measurement fails, or the report cannot be written.
pub(crate) fn measure(workspace: &Workspace, length: Length, report: Option<&Path>) -> Result<()> {
    for arguments in [
        ["--package", "conclave-server", "--bin", "conclave"],
        ["--package", "conclave-tests", "--bin", "conclave-bench"],
    ] {
        let mut build = workspace.cargo(&["build", "--locked", "--release"]);
        build.args(arguments);
        run(build)?;
    }
    let etcd = etcd(workspace)?;
    let mut text = format!(
        "# Benchmarks\n\nWritten by `cargo xtask bench --report FILE`. Three nodes, three members of \
         etcd and the load share one machine; only one system works at a time. Everybody syncs its \
         log. Medians of {} rounds, in brackets the lowest and the highest ratio of a round.\n\n{}\n",
        length.repeat,
        machine::describe(workspace)
    );
    for part in &PARTS {
        println!("\n==> {}", part.heading);
        let mut bench = bench(workspace);
        bench.args(["--seconds", &length.seconds.to_string()]);
        bench.args(part.arguments);
        if part.is_beside_etcd {
            bench.args(["--repeat", &length.repeat.to_string()]);
            bench.arg("--etcd").arg(&etcd);
        }
        write!(text, "\n## {}\n\n", part.heading).context("a heading")?;
        run_reading(bench, |line| {
            text.push_str(line);
            // Lines outside of tables stand for themselves.
            text.push_str(if line.is_empty() || line.starts_with('|') {
                "\n"
            } else {
                "  \n"
            });
        })?;
    }
    if let Some(report) = report {
        fs::write(report, text).with_context(|| report.display().to_string())?;
    }
    Ok(())
}

fn bench(workspace: &Workspace) -> Command {
    let release = workspace.target().join("release");
    let mut bench = workspace.command(release.join("conclave-bench"));
    bench.env("CONCLAVE_BIN", release.join("conclave"));
    bench
}

fn etcd(workspace: &Workspace) -> Result<PathBuf> {
    if let Some(path) = which("etcd") {
        return Ok(path);
    }
    debian::install(workspace, "etcd-server").context("no etcd on PATH")?;
    match which("etcd") {
        Some(path) => Ok(path),
        None => bail!("Debian's etcd-server is installed but etcd is not on PATH"),
    }
}
