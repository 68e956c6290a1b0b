//! How an empty directory comes to its cluster: `-join`, `-cluster`, `-discover`, or consens' own
//! environment.

use super::HostPort;
use super::cli::{ConfigError, address};

/// The port of a consens node that is given none.
const CONSENS_PORT: &str = "3000";

/// How an empty directory comes to its cluster without `-join`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Forming {
    /// It makes one of its own.
    Alone,
    /// With the nodes at these HTTP addresses; this one's may be missing.
    List(Vec<HostPort>),
    /// With as many nodes of its environment as are expected, wherever they are found.
    Discover { expect: u64 },
}

/// The variables of the seeds that are not named after a flag.
#[derive(Debug, Clone, Default)]
pub struct SeedEnvironment {
    /// `PORT`
    pub port: Option<String>,
    /// `CLUSTER`, the URLs of the others.
    pub cluster: Option<String>,
    /// `JOIN`
    pub join: Option<String>,
}

impl SeedEnvironment {
    /// Returns the HTTP port that it asks for.
    pub(super) fn port(&self) -> Option<String> {
        let given = self.port.clone().filter(|port| !port.is_empty());
        let usual = self.others().next().map(|_| CONSENS_PORT.to_owned());
        given.or(usual)
    }

    fn others(&self) -> impl Iterator<Item = &str> {
        let list = self.cluster.as_deref().unwrap_or_default().split(',');
        list.map(str::trim).filter(|url| !url.is_empty())
    }

    fn joins(&self) -> Result<bool, ConfigError> {
        match self.join.as_deref() {
            Some("true") => Ok(true),
            None | Some("" | "false") => Ok(false),
            Some(other) => Err(ConfigError::Join(other.to_owned())),
        }
    }
}

/// What the flags ask for.
pub(super) struct Asked<'a> {
    pub(super) join: &'a [String],
    pub(super) cluster: &'a [String],
    /// With `-discover`.
    pub(super) expect: Option<u64>,
}

/// Returns whom to join, and else how to form. Flags win over the seeds' environment.
pub(super) fn resolve(
    asked: &Asked<'_>,
    seeds: &SeedEnvironment,
    own: [&HostPort; 2],
) -> Result<(Vec<HostPort>, Forming), ConfigError> {
    let to_join = addresses("-join", asked.join.iter().map(String::as_str))?;
    if let Some(target) = to_join.iter().find(|target| own.contains(target)) {
        return Err(ConfigError::JoinSelf(target.clone()));
    }
    let list = addresses("-cluster", asked.cluster.iter().map(String::as_str))?;
    match (to_join.is_empty(), list.is_empty(), asked.expect) {
        (false, false, _) => Err(ConfigError::Both("-join", "-cluster")),
        (false, true, Some(_)) => Err(ConfigError::Both("-join", "-discover")),
        (true, false, Some(_)) => Err(ConfigError::Both("-cluster", "-discover")),
        (false, true, None) => Ok((to_join, Forming::Alone)),
        (true, false, None) => Ok((Vec::new(), Forming::List(list))),
        (true, true, Some(expect)) => Ok((Vec::new(), Forming::Discover { expect })),
        (true, true, None) => of_consens(seeds, own),
    }
}

fn of_consens(
    seeds: &SeedEnvironment,
    own: [&HostPort; 2],
) -> Result<(Vec<HostPort>, Forming), ConfigError> {
    let mut others = addresses("CLUSTER", seeds.others())?;
    if seeds.joins()? {
        others.retain(|other| !own.contains(&other));
        others.truncate(1);
        if others.is_empty() {
            return Err(ConfigError::JoinNobody);
        }
        return Ok((others, Forming::Alone));
    }
    Ok(match others.is_empty() {
        true => (Vec::new(), Forming::Alone),
        false => (Vec::new(), Forming::List(others)),
    })
}

fn addresses<'a>(
    flag: &'static str,
    texts: impl Iterator<Item = &'a str>,
) -> Result<Vec<HostPort>, ConfigError> {
    let texts = texts.map(str::trim).filter(|text| !text.is_empty());
    texts.map(|text| address(flag, text)).collect()
}
