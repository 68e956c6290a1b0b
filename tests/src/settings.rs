//! The environment variables of the tests: the only place that reads them. The crate's own page says
//! what each is for.

use std::env;
use std::path::PathBuf;
use std::str::FromStr;

use crate::random::fresh_seed;

pub const SEED: &str = "CONCLAVE_TEST_SEED";
const FULL: &str = "CONCLAVE_TEST_FULL";
pub const READS: &str = "CONCLAVE_TEST_READS";
pub const REQUESTS: &str = "CONCLAVE_TEST_REQUESTS";
pub const CAMPAIGN_SECONDS: &str = "CONCLAVE_TEST_CAMPAIGN_SECONDS";
pub const PAUSES: &str = "CONCLAVE_TEST_PAUSES";
pub const SNAPSHOT_KILLS: &str = "CONCLAVE_TEST_SNAPSHOT_KILLS";
pub const CHAOS_SECONDS: &str = "CONCLAVE_TEST_CHAOS_SECONDS";
pub(crate) const BINARY: &str = "CONCLAVE_BIN";
const EARLIER_BINARY: &str = "CONCLAVE_EARLIER_BIN";

/// Returns the seed that is asked for, else a new one, and says which: it repeats a failed run.
///
/// # Panics
///
/// The variable is set and is no number.
#[must_use]
#[expect(clippy::print_stdout, reason = "what repeats a failed run")]
pub fn seed() -> u64 {
    let seed = set(SEED).unwrap_or_else(fresh_seed);
    println!("{SEED}={seed}");
    seed
}

/// Returns the number in a variable, else the usual one.
///
/// # Panics
///
/// The variable is set and is no number of this kind.
#[must_use]
pub fn number<T: FromStr>(variable: &str, usual: T) -> T {
    set(variable).unwrap_or(usual)
}

/// Returns `usual`, or `full` when the larger numbers are asked for. A test names both where it asks.
#[must_use]
pub fn rounds(usual: usize, full: usize) -> usize {
    match env::var(FULL) {
        Ok(text) if !matches!(text.as_str(), "" | "0") => full,
        _ => usual,
    }
}

/// Returns the program of a name that is on PATH.
pub(crate) fn on_path(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    let mut files = env::split_paths(&path).map(|folder| folder.join(program));
    files.find(|file| file.is_file())
}

/// Returns the binary to test, when one is named.
pub(crate) fn binary() -> Option<PathBuf> {
    env::var_os(BINARY).map(PathBuf::from)
}

/// Returns the server of an earlier commit, when one is named.
///
/// # Panics
///
/// The variable is set and names no file.
#[must_use]
pub fn earlier_binary() -> Option<PathBuf> {
    let named = PathBuf::from(env::var_os(EARLIER_BINARY)?);
    let file = named.canonicalize().ok().filter(|file| file.is_file());
    Some(file.unwrap_or_else(|| panic!("{EARLIER_BINARY}=`{}` is no file", named.display())))
}

fn set<T: FromStr>(variable: &str) -> Option<T> {
    let text = env::var(variable).ok()?;
    let number = text.parse().ok();
    Some(number.unwrap_or_else(|| panic!("{variable}=`{text}` is no number")))
}
