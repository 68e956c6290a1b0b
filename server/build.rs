//! Embeds the built dashboard, `ui/dist`, as a table of bytes for `http::dashboard`.
//!
//! Without a built dashboard the table is empty: the server must compile with nothing but cargo.
//! Nothing is compressed here; the dashboard's build leaves `.br` and `.gz` copies beside its files.

#![expect(
    clippy::disallowed_methods,
    reason = "cargo speaks to build scripts by environment"
)]

use std::{
    collections::BTreeMap,
    env,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha2::{Digest, Sha256};

fn main() -> Result<()> {
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").context("not under cargo")?);
    let out = PathBuf::from(env::var_os("OUT_DIR").context("not under cargo")?);
    let dist = manifest.join("../ui/dist");
    watch(&dist);
    let files = files_below(&dist, "")?;
    let code = table(&files)?;
    fs::write(out.join("dashboard_files.rs"), code).context("writing the table of files")
}

/// Runs this script again when the dashboard changes, and only then.
///
/// Cargo runs a script on every build while a watched path is missing, so an absent folder is made,
/// empty and old. Where that cannot be done the build still works.
fn watch(dist: &Path) {
    if fs::create_dir(dist).is_ok()
        && let Ok(folder) = fs::File::open(dist)
    {
        let old = SystemTime::UNIX_EPOCH + Duration::from_secs(86_400);
        drop(folder.set_modified(old));
    }
    println!("cargo::rerun-if-changed={}", dist.display());
    println!("cargo::rerun-if-changed=build.rs");
}

/// Returns the served files below a folder by their names. Hidden files are the build's own.
fn files_below(folder: &Path, prefix: &str) -> Result<BTreeMap<String, PathBuf>> {
    let mut files = BTreeMap::new();
    let Ok(entries) = fs::read_dir(folder) else {
        return Ok(files);
    };
    for entry in entries {
        let entry = entry.context("reading ui/dist")?;
        let file_name = entry.file_name().to_string_lossy().into_owned();
        let name = format!("{prefix}{file_name}");
        if file_name.starts_with('.') {
            continue;
        }
        if entry.file_type().context("reading ui/dist")?.is_dir() {
            files.extend(files_below(&entry.path(), &format!("{name}/"))?);
        } else {
            files.insert(
                name,
                entry.path().canonicalize().context("reading ui/dist")?,
            );
        }
    }
    Ok(files)
}

/// Writes the Rust expressions that `http::dashboard` includes.
fn table(files: &BTreeMap<String, PathBuf>) -> Result<String> {
    let mut rows = String::new();
    let mut build = Sha256::new();
    let mut scripts = String::new();
    for (name, path) in files {
        if name.ends_with(".br") || name.ends_with(".gz") {
            continue;
        }
        let bytes = fs::read(path).with_context(|| name.clone())?;
        let digest = Sha256::digest(&bytes);
        build.update(name.as_bytes());
        build.update(digest);
        if name == "index.html" {
            scripts = inline_scripts(&String::from_utf8_lossy(&bytes));
        }
        writeln!(
            rows,
            "    File {{ name: {name:?}, tag: {:?}, identity: include_bytes!({path:?}), brotli: {}, gzip: {} }},",
            hex(&digest[..8]),
            copy(files, &format!("{name}.br")),
            copy(files, &format!("{name}.gz")),
        )?;
    }
    let id = if rows.is_empty() {
        "none".to_owned()
    } else {
        hex(&build.finalize()[..6])
    };
    Ok(format!(
        "Embedded {{ build: {id:?}, script_hashes: {scripts:?}, files: &[\n{rows}] }}\n"
    ))
}

fn copy(files: &BTreeMap<String, PathBuf>, name: &str) -> String {
    files.get(name).map_or_else(
        || "None".to_owned(),
        |path| format!("Some(include_bytes!({path:?}))"),
    )
}

/// Returns the source expressions that let a page's inline scripts run and no others.
fn inline_scripts(page: &str) -> String {
    let mut hashes = String::new();
    for part in page.split("<script").skip(1) {
        let Some((tag, rest)) = part.split_once('>') else {
            continue;
        };
        let Some((script, _)) = rest.split_once("</script>") else {
            continue;
        };
        if !tag.contains("src=") {
            hashes.push_str(" 'sha256-");
            hashes.push_str(&STANDARD.encode(Sha256::digest(script.as_bytes())));
            hashes.push('\'');
        }
    }
    hashes
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
