//! Builds the dashboard into `ui/dist`, compressed, and holds it to its size.
//!
//! A stamp in `ui/dist` says from which content it was built: the second build is a comparison.

use std::{
    collections::BTreeMap,
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context, Result, bail};

use crate::{
    process::{path_with, run, which},
    program,
    tools::{self, Tools},
    workspace::Workspace,
};

/// Largest program, as sent, and largest file of it that comes later: bytes of brotli.
const WASM_BUDGET: u64 = 300_000;
/// Largest first load of everything together, as sent.
const TOTAL_BUDGET: u64 = 380_000;

const INDEX: &str = "ui/index.html";
/// What the dashboard is made of and by.
const SOURCES: [&str; 7] = [
    "ui",
    "shared",
    "assets",
    "tests/xtask",
    "Trunk.toml",
    "Cargo.toml",
    "Cargo.lock",
];

/// Builds the dashboard unless it is built from this very content.
///
/// # Errors
///
/// When the tools cannot be had or the build fails.
pub(crate) fn build(workspace: &Workspace) -> Result<()> {
    let tools = tools::ensure(workspace)?;
    let dist = workspace.root().join("ui/dist");
    let stamp = stamp(workspace, &tools)?;
    if fs::read_to_string(dist.join(".stamp")).is_ok_and(|old| old == stamp) {
        println!("==> the dashboard is up to date");
        return Ok(());
    }
    println!("==> building the dashboard");
    let begin = Instant::now();
    trunk(workspace, &tools)?;
    program::add(workspace, &tools, &dist)?;
    if which("node").is_some() {
        let mut node = workspace.command("node");
        node.arg("tests/xtask/compress.mjs").arg(&dist);
        run(node)?;
    } else {
        println!("    without node the dashboard is served uncompressed");
    }
    // Last, so that a build that was cut short is done again.
    fs::write(dist.join(".stamp"), stamp).context("ui/dist/.stamp")?;
    println!("    built in {:.1} s", begin.elapsed().as_secs_f64());
    Ok(())
}

/// Prints the size of each file of the dashboard and checks the budget. A program that the page does
/// not name is no part of the first load.
///
/// # Errors
///
/// When a file is missing its compressed copy or the sizes exceed the budget.
pub(crate) fn check_size(workspace: &Workspace) -> Result<()> {
    let dist = workspace.root().join("ui/dist");
    let files = files_below(&dist, Path::new(""))?;
    let page = fs::read_to_string(dist.join("index.html")).context("ui/dist/index.html")?;
    let (mut wasm, mut total, mut later) = (0, 0, Vec::new());
    for (name, path) in &files {
        // Licences are not part of a page load, copies are counted with their originals.
        if matches!(extension(path), "br" | "gz" | "txt") {
            continue;
        }
        let raw = fs::metadata(path).with_context(|| name.clone())?.len();
        let sent = files.get(&format!("{name}.br")).map_or(Ok(raw), |copy| {
            fs::metadata(copy)
                .map(|copy| copy.len())
                .with_context(|| name.clone())
        })?;
        let is_program = extension(path) == "wasm";
        let is_later = is_program && !page.contains(name.as_str());
        let when = if is_later { " (later)" } else { "" };
        println!("    {raw:>8} {sent:>8} br  {name}{when}");
        if is_later {
            later.push(sent);
            continue;
        }
        total += sent;
        if is_program {
            wasm += sent;
        }
    }
    println!(
        "    program {wasm} of {WASM_BUDGET}, first load {total} of {TOTAL_BUDGET}, later {} bytes",
        later.iter().sum::<u64>()
    );
    let is_over = later.iter().chain([&wasm]).any(|sent| *sent > WASM_BUDGET);
    if wasm == 0 || is_over || total > TOTAL_BUDGET {
        bail!("the dashboard is missing or over its size");
    }
    Ok(())
}

/// Builds the pages without a program: Trunk looks for one beside the page, so the page that names
/// none stands elsewhere.
fn trunk(workspace: &Workspace, tools: &Tools) -> Result<()> {
    let page = fs::read_to_string(workspace.root().join(INDEX)).context(INDEX)?;
    let bare = workspace.root().join("assets/.index-without-program.html");
    fs::write(&bare, without_program(&page)?).context("writing a page without program")?;
    let mut trunk = workspace.command("trunk");
    trunk
        .args(["build", "--release", "--locked=true"])
        .arg(&bare)
        .env("PATH", path_with(&tools.path)?);
    // Some CI systems set NO_COLOR=1, which Trunk 0.21 takes for a malformed flag.
    trunk.env_remove("NO_COLOR");
    let built = run(trunk);
    fs::remove_file(&bare).context("removing the page without program")?;
    built
}

/// Returns the page without the element that has Trunk build the program.
fn without_program(page: &str) -> Result<String> {
    let cut = page.split_once("<link data-trunk rel=\"rust\"");
    let (before, after) = cut.context("the page names no program")?;
    let (_, after) = after.split_once("/>").context("the page's program")?;
    Ok(format!("{before}{after}"))
}

/// Digests everything that the dashboard is made of. It need only differ when that differs.
fn stamp(workspace: &Workspace, tools: &Tools) -> Result<String> {
    let mut hasher = DefaultHasher::new();
    tools.versions.hash(&mut hasher);
    for source in SOURCES {
        for (name, path) in files_below(workspace.root(), Path::new(source))? {
            name.hash(&mut hasher);
            fs::read(&path)
                .with_context(|| name.clone())?
                .hash(&mut hasher);
        }
    }
    Ok(format!("{:016x}\n", hasher.finish()))
}

/// Returns the files at or below a path by their names relative to `root`, in order. Hidden files,
/// build products and pictures of the result are no content.
fn files_below(root: &Path, path: &Path) -> Result<BTreeMap<String, PathBuf>> {
    let full = root.join(path);
    let mut files = BTreeMap::new();
    if full.is_file() {
        files.insert(path.to_string_lossy().into_owned(), full);
        return Ok(files);
    }
    for entry in fs::read_dir(&full).with_context(|| full.display().to_string())? {
        let name = entry
            .with_context(|| full.display().to_string())?
            .file_name();
        let is_product = name == "dist" || name == "target" || name == "screenshots";
        if !is_product && !name.to_string_lossy().starts_with('.') {
            files.extend(files_below(root, &path.join(name))?);
        }
    }
    Ok(files)
}

fn extension(path: &Path) -> &str {
    path.extension()
        .and_then(|extension| extension.to_str())
        .unwrap_or_default()
}
