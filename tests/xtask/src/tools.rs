//! The tools that build the dashboard, and the one that fuzzes, installed once per user into a cache
//! outside `target/`.
//!
//! Trunk would fetch what it misses from elsewhere, so it finds everything on its PATH. Each tool has
//! a folder named for its version: a new version never disturbs an older checkout.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{self, Command},
};

use anyhow::{Context, Result, bail};

use crate::{
    process::{output_of, run, which},
    workspace::Workspace,
};

const CARGO_FUZZ: &str = "0.13.2";
const TRUNK: &str = "0.21.14";
const BINARYEN: &str = "132.0.0";
/// Reads what this version or an older one of `wasm_split_helpers` marks in a program.
const WASM_SPLIT: &str = "0.2.4";
/// The target that browsers run.
pub(crate) const WASM: &str = "wasm32-unknown-unknown";

/// The tools of this checkout.
#[derive(Debug)]
pub(crate) struct Tools {
    /// Folders to put before PATH.
    pub(crate) path: Vec<PathBuf>,
    /// Whether `wasm-opt` is among them.
    pub(crate) wasm_opt: bool,
    /// Names and versions: what is built changes with them.
    pub(crate) versions: String,
}

/// Installs what is missing and returns where everything is.
///
/// # Errors
///
/// When the wasm target, Trunk, wasm-bindgen or wasm-split cannot be had. A missing `wasm-opt` is only said.
pub(crate) fn ensure(workspace: &Workspace) -> Result<Tools> {
    wasm_target(workspace).context(
        "the dashboard cannot be built here; `cargo run` starts a node without a dashboard",
    )?;
    let cache = cache()?;
    let bindgen = workspace.locked_version("wasm-bindgen")?;
    let trunk_root = cache.join(format!("trunk-{TRUNK}"));
    let bindgen_root = cache.join(format!("wasm-bindgen-{bindgen}"));
    let split_root = cache.join(format!("wasm-split-{WASM_SPLIT}"));
    let binaryen_root = cache.join(format!("binaryen-{BINARYEN}"));

    // One target directory for all, away from the repository's: they share many of their crates.
    let scratch = cache.join(format!("build-{}", process::id()));
    let installed = install_crate(
        workspace,
        &Crate {
            name: "trunk",
            binary: "trunk",
            version: TRUNK,
            flags: &["--locked", "--no-default-features"],
        },
        (&trunk_root, &scratch),
    )
    .and_then(|()| {
        // Its lock file may name releases that are gone; it builds with any newer ones.
        let package = Crate {
            name: "wasm-bindgen-cli",
            binary: "wasm-bindgen",
            version: &bindgen,
            flags: &[],
        };
        install_crate(workspace, &package, (&bindgen_root, &scratch))
    })
    .and_then(|()| {
        let package = Crate {
            name: "wasm_split_cli_support",
            binary: "wasm-split-cli",
            version: WASM_SPLIT,
            flags: &["--locked", "--features", "build-binary"],
        };
        install_crate(workspace, &package, (&split_root, &scratch))
    });
    if scratch.exists() {
        fs::remove_dir_all(&scratch).context("removing the tools' build directory")?;
    }
    installed?;
    let wasm_opt = install_binaryen(workspace, &binaryen_root);
    Ok(Tools {
        path: vec![
            trunk_root.join("bin"),
            bindgen_root.join("bin"),
            split_root.join("bin"),
            binaryen_root.join("node_modules/.bin"),
        ],
        wasm_opt,
        versions: format!(
            "trunk {TRUNK} bindgen {bindgen} split {WASM_SPLIT} binaryen {BINARYEN} {wasm_opt}"
        ),
    })
}

/// Installs cargo-fuzz when it is missing and returns the folder of its program.
///
/// # Errors
///
/// When it cannot be had.
pub(crate) fn ensure_cargo_fuzz(workspace: &Workspace) -> Result<PathBuf> {
    let cache = cache()?;
    let root = cache.join(format!("cargo-fuzz-{CARGO_FUZZ}"));
    let scratch = cache.join(format!("build-{}", process::id()));
    let package = Crate {
        name: "cargo-fuzz",
        binary: "cargo-fuzz",
        version: CARGO_FUZZ,
        flags: &["--locked"],
    };
    let installed = install_crate(workspace, &package, (&root, &scratch));
    if scratch.exists() {
        fs::remove_dir_all(&scratch).context("removing the tool's build directory")?;
    }
    installed?;
    Ok(root.join("bin"))
}

/// A package of crates.io and how it wants to be installed.
struct Crate<'a> {
    name: &'a str,
    binary: &'a str,
    version: &'a str,
    flags: &'a [&'a str],
}

fn install_crate(
    workspace: &Workspace,
    package: &Crate<'_>,
    (root, scratch): (&Path, &Path),
) -> Result<()> {
    let Crate {
        name,
        binary,
        version,
        flags,
    } = package;
    if root.join("bin").join(binary).is_file() {
        return Ok(());
    }
    println!(
        "==> installing {name} {version} into {} (once, about two minutes)",
        root.display()
    );
    let mut command = workspace.cargo(&["install", name, "--version", version, "--debug"]);
    command.args(*flags).arg("--root").arg(root);
    // A debug build without debug information is the quickest to make; they run for seconds only.
    command
        .env("CARGO_TARGET_DIR", scratch)
        .env("CARGO_PROFILE_DEV_DEBUG", "false")
        .env("CARGO_INCREMENTAL", "0");
    run(command).with_context(|| format!("cannot install {name} {version}"))
}

/// Installs `wasm-opt` from npm: distributions have versions that cannot read what rustc writes.
fn install_binaryen(workspace: &Workspace, root: &Path) -> bool {
    if root.join("node_modules/.bin/wasm-opt").exists() {
        return true;
    }
    println!(
        "==> installing wasm-opt (binaryen {BINARYEN}) into {} (once)",
        root.display()
    );
    let mut npm = workspace.command("npm");
    npm.args([
        "install",
        "--no-audit",
        "--no-fund",
        "--loglevel=error",
        "--prefix",
    ])
    .arg(root)
    .arg(format!("binaryen@{BINARYEN}"));
    let done = fs::create_dir_all(root)
        .context("tool folder")
        .and_then(|()| run(npm));
    if let Err(error) = &done {
        println!("    without wasm-opt the dashboard is larger: {error:#}");
    }
    done.is_ok()
}

fn wasm_target(workspace: &Workspace) -> Result<()> {
    let mut rustc = workspace.command("rustc");
    rustc.args(["--print", "target-libdir", "--target", WASM]);
    if output_of(rustc).is_some_and(|folder| Path::new(&folder).is_dir()) {
        return Ok(());
    }
    if which("rustup").is_none() {
        bail!("this Rust has no {WASM} target, and there is no rustup to add it");
    }
    println!("==> adding the Rust target {WASM} (once)");
    let mut rustup: Command = workspace.command("rustup");
    rustup.args(["target", "add", WASM]);
    run(rustup)
}

/// Returns the folder of this user's tools.
fn cache() -> Result<PathBuf> {
    let base = env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute());
    let base = base.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cache")));
    Ok(base
        .context("neither XDG_CACHE_HOME nor HOME is set")?
        .join("conclave/tools"))
}
