//! The fuzzer on what reads the bytes of a disk, of peers and of clients: the programs of `tests/fuzz`.

use std::{fs, path::Path, thread};

use anyhow::{Context, Result, bail};

use crate::{
    process::{path_with, run, which},
    tools,
    workspace::Workspace,
};

/// The programs, each with its folder in `tests/fuzz/seeds`.
const TARGETS: [&str; 4] = ["log_entry", "snapshot", "peer_frame", "http"];
/// Time for each of them when none is said.
pub(crate) const SECONDS: u64 = 60;
/// Longest time that one input may take, seconds.
const INPUT_SECONDS: u64 = 10;

/// Runs the targets named in `wanted`, or all, for so many seconds each. One that fails does not stop
/// the next one.
///
/// # Errors
///
/// When there is no such target or no compiler of C++, the fuzzer cannot be had, or a target fails.
pub(crate) fn run_targets(workspace: &Workspace, wanted: &[String], seconds: u64) -> Result<()> {
    if let Some(unknown) = wanted.iter().find(|name| !TARGETS.contains(&name.as_str())) {
        bail!("no target `{unknown}`; there are {}", TARGETS.join(", "));
    }
    if which("c++").is_none() {
        bail!(
            "the fuzzer is written in C++, and there is no `c++` on PATH; Debian's package is g++"
        );
    }
    let tools = tools::ensure_cargo_fuzz(workspace)?;
    let mut failed = Vec::new();
    for target in TARGETS {
        if !wanted.is_empty() && wanted.iter().all(|name| name != target) {
            continue;
        }
        println!("\n==> {target}: {seconds} s");
        if let Err(error) = fuzz(workspace, &tools, target, seconds) {
            println!("    {error:#}");
            failed.push(target);
        }
    }
    if !failed.is_empty() {
        let failed = failed.join(", ");
        bail!("failed: {failed}; the inputs are in tests/fuzz/artifacts");
    }
    println!("\nnothing was found");
    Ok(())
}

/// Runs one target. No sanitizer: these need an unstable compiler, and unsafe code is forbidden here.
fn fuzz(workspace: &Workspace, tools: &Path, target: &str, seconds: u64) -> Result<()> {
    let project = workspace.root().join("tests/fuzz");
    let folder = workspace.target().join("fuzz");
    // What the fuzzer finds on its way stays there, for the next run.
    let corpus = folder.join("corpus").join(target);
    fs::create_dir_all(&corpus).context("a folder for the corpus")?;
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let mut cargo = workspace.cargo(&["fuzz", "run", "--dev", "--sanitizer", "none", "--fuzz-dir"]);
    cargo.arg(&project).arg("--target-dir").arg(&folder);
    cargo.args(["--jobs", &cores.to_string(), target]);
    cargo.arg(corpus).arg(project.join("seeds").join(target));
    cargo.arg("--").args([
        format!("-max_total_time={seconds}"),
        format!("-timeout={INPUT_SECONDS}"),
    ]);
    cargo.env("PATH", path_with(&[tools.to_owned()])?);
    run(cargo)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_is_a_program_with_seeds() {
        let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
        let manifest = fs::read_to_string(project.join("Cargo.toml")).unwrap();
        for target in TARGETS {
            assert!(
                manifest.contains(&format!("name = \"{target}\"")),
                "{target}"
            );
            assert!(
                project
                    .join("targets")
                    .join(format!("{target}.rs"))
                    .is_file()
            );
            assert!(project.join("seeds").join(target).is_dir(), "{target}");
        }
        assert_eq!(manifest.matches("[[bin]]").count(), TARGETS.len());
    }
}
