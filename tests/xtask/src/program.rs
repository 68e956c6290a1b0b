//! Builds the dashboard's program in pieces: one that the page loads, and the screens that come later.
//!
//! Trunk makes the rest of the pages but cannot do this. The linker keeps its relocations, from which
//! `wasm-split-cli` knows what each piece needs and moves what only the later screens reach into a
//! file of their own (`ui/src/pages/later.rs`). Every file's name carries a digest of its content,
//! because servers let browsers keep such files for ever.

use std::{
    fs,
    hash::{DefaultHasher, Hasher},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use crate::{
    process::{path_with, run},
    tools::{Tools, WASM},
    workspace::Workspace,
};

const PACKAGE: &str = "conclave-ui";
/// Profile of the program; its products are in a folder of this name.
const PROFILE: &str = "wasm-release";
/// What the linked program and its pieces are called until they have a digest.
const MAIN: &str = "main";
/// How the splitter calls the file of a split point, before the point's name.
const SPLIT: &str = "split_";
/// The splitter's loader, and how wasm-bindgen's script imports it.
const LOADER: &str = "__wasm_split.js";
const LOADER_IMPORT: &str = "import * as import1 from \"./__wasm_split.js\"\n";
/// How the loader imports that script.
const SCRIPT_IMPORT: &str = "import { initSync } from \"./main.js\";\n";
/// What rustc and wasm-bindgen use of WebAssembly. All browsers have it since 2023.
const FEATURES: [&str; 6] = [
    "--enable-bulk-memory",
    "--enable-nontrapping-float-to-int",
    "--enable-sign-ext",
    "--enable-mutable-globals",
    "--enable-reference-types",
    "--enable-multivalue",
];

/// Builds the program, puts its files into `dist` and lets the page there start it.
///
/// # Errors
///
/// When a tool fails or writes something else than this version of it did.
pub(crate) fn add(workspace: &Workspace, tools: &Tools, dist: &Path) -> Result<()> {
    let work = workspace.target().join("dashboard");
    if work.exists() {
        fs::remove_dir_all(&work).context("clearing the last program")?;
    }
    let pieces = work.join("pieces");
    fs::create_dir_all(&pieces).context("a folder for the program")?;
    link(workspace)?;
    split(workspace, tools, &pieces)?;
    bind(workspace, tools, &pieces)?;

    let mut script = script(&pieces)?;
    for name in split_points(&pieces)? {
        let plain = format!("{SPLIT}{name}.wasm");
        let code = optimised(workspace, tools, &pieces.join(&plain))?;
        let file = format!("{name}-{}.wasm", digest(&code));
        fs::write(dist.join(&file), code).with_context(|| file.clone())?;
        script = replaced(&script, &format!("\"./{plain}\""), &format!("\"./{file}\""))?;
    }
    let code = optimised(workspace, tools, &pieces.join("bound/main_bg.wasm"))?;
    let program = format!("{PACKAGE}-{}_bg.wasm", digest(&code));
    fs::write(dist.join(&program), code).with_context(|| program.clone())?;
    let starter = format!("{PACKAGE}-{}.js", digest(script.as_bytes()));
    fs::write(dist.join(&starter), script).with_context(|| starter.clone())?;
    start_from_page(&dist.join("index.html"), &starter, &program)
}

/// Compiles and links, with the relocations that splitting needs.
fn link(workspace: &Workspace) -> Result<()> {
    let mut cargo = workspace.cargo(&["rustc", "--locked", "--package", PACKAGE]);
    cargo
        .args(["--bin", PACKAGE, "--features", "split"])
        .args(["--profile", PROFILE, "--target", WASM])
        // Of this program only: what it is built from stays as it is.
        .args(["--", "-Clink-arg=--emit-relocs"]);
    run(cargo)
}

fn split(workspace: &Workspace, tools: &Tools, pieces: &Path) -> Result<()> {
    let linked = workspace
        .target()
        .join(WASM)
        .join(PROFILE)
        .join(format!("{PACKAGE}.wasm"));
    let mut splitter = workspace.command("wasm-split-cli");
    splitter
        .env("PATH", path_with(&tools.path)?)
        .arg(linked)
        .arg(pieces)
        .args(["--target", "web", "--out-name", MAIN]);
    run(splitter)
}

/// Makes the script between the program and the browser. The other pieces reach the browser through
/// the program, so that they need none.
fn bind(workspace: &Workspace, tools: &Tools, pieces: &Path) -> Result<()> {
    let mut bindgen = workspace.command("wasm-bindgen");
    bindgen
        .env("PATH", path_with(&tools.path)?)
        .args(["--target", "web", "--no-typescript", "--out-name", MAIN])
        // What the pieces share has these names.
        .args(["--keep-lld-exports", "--no-demangle"])
        .arg("--out-dir")
        .arg(pieces.join("bound"))
        .arg(pieces.join(format!("{MAIN}.wasm")));
    run(bindgen)
}

/// Returns the script of the program with the loader in it. They import each other, so that neither
/// could have a digest of the other in its name.
fn script(pieces: &Path) -> Result<String> {
    let read = |name: &str| {
        fs::read_to_string(pieces.join(name)).with_context(|| format!("reading {name}"))
    };
    let script = replaced(&read("bound/main.js")?, LOADER_IMPORT, "")?;
    let loader = replaced(&read(LOADER)?, SCRIPT_IMPORT, "")?;
    let mut imports = String::from("const import1 = {");
    for name in split_points(pieces)? {
        imports.push_str(&format!(" __wasm_split_load_{name},"));
    }
    imports.push_str(" };\n");
    let loader = loader.replace("export const ", "const ");
    Ok(script + &loader + &imports)
}

/// Returns the names of the pieces beside the program, in order.
fn split_points(pieces: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(pieces).context("reading the pieces")? {
        let name = entry.context("reading the pieces")?.file_name();
        let name = name.to_string_lossy();
        if let Some(name) = name
            .strip_prefix(SPLIT)
            .and_then(|name| name.strip_suffix(".wasm"))
        {
            names.push(name.to_owned());
        } else if name.ends_with(".wasm") && name != format!("{MAIN}.wasm") {
            // What several split points share would be one, and is loaded by another name.
            bail!("the program has a piece {name} that nothing here expects");
        }
    }
    names.sort();
    Ok(names)
}

/// Returns a piece as small as it gets.
fn optimised(workspace: &Workspace, tools: &Tools, piece: &Path) -> Result<Vec<u8>> {
    let read = |path: &PathBuf| fs::read(path).with_context(|| path.display().to_string());
    if !tools.wasm_opt {
        return read(&piece.to_path_buf());
    }
    let small = piece.with_extension("small");
    let mut optimiser = workspace.command("wasm-opt");
    optimiser
        .env("PATH", path_with(&tools.path)?)
        .arg("-Oz")
        .args(FEATURES)
        .arg(piece)
        .arg("-o")
        .arg(&small);
    run(optimiser)?;
    read(&small)
}

/// Lets the page load the program at once and start it.
fn start_from_page(page: &Path, starter: &str, program: &str) -> Result<()> {
    let text = fs::read_to_string(page).context("reading the page")?;
    let start = format!(
        "<link rel=\"modulepreload\" href=\"/ui/{starter}\" crossorigin=\"anonymous\" />
    <link rel=\"preload\" href=\"/ui/{program}\" crossorigin=\"anonymous\" as=\"fetch\" type=\"application/wasm\" />
    <script type=\"module\">
      import init from \"/ui/{starter}\";
      await init({{ module_or_path: \"/ui/{program}\" }});
    </script>
  </head>"
    );
    fs::write(page, replaced(&text, "</head>", &start)?).context("writing the page")
}

/// Replaces what stands in a text exactly once: anything else means that a tool writes other files
/// than those that this module was made for.
fn replaced(text: &str, from: &str, to: &str) -> Result<String> {
    if text.matches(from).count() != 1 {
        bail!("expected once in what a tool wrote: {from}");
    }
    Ok(text.replace(from, to))
}

/// Returns sixteen hexadecimal digits that tell contents apart.
fn digest(bytes: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    format!("{:016x}", hasher.finish())
}
