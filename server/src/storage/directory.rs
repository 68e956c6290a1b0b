//! The data directory: whose it is, which format it has, and that only one process uses it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::moving::MOVING_FILE;
use crate::formation::{DirectoryId, Founder, Founding, Pledge, Seeking};
use crate::raft::{ClusterId, Member, NodeId};

/// Format of the directory, which is that of the records in it. Another one is refused before
/// anything in it is touched.
const FORMAT: u32 = super::codec::FORMAT as u32;
pub(super) const IDENTITY_FILE: &str = "node.json";
const LOCK_FILE: &str = "LOCK";
/// What an empty directory remembers while it looks for its cluster; [`IDENTITY_FILE`] ends it.
const SEEKING_FILE: &str = "formation.json";
const OWN_ENTRIES: [&str; 10] = [
    IDENTITY_FILE,
    "node.json.tmp",
    SEEKING_FILE,
    "formation.json.tmp",
    MOVING_FILE,
    "moving.json.tmp",
    LOCK_FILE,
    "raft",
    "snapshots",
    "history",
];
/// What begins the names of history that was broken, and of all that an earlier identity left.
const SET_ASIDE: [&str; 2] = ["history.broken-", "left-"];

/// How a node came to its cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Formation {
    /// It made the cluster and is its first member.
    Formed,
    /// A leader added it.
    Joined,
    /// It was removed since: its id is no member's any more.
    Removed,
}

/// Who this data directory is. Losing the directory is losing the identity (invariant 10).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub cluster: ClusterId,
    pub id: NodeId,
    pub name: String,
    pub formation: Formation,
    /// What the directory was called before it had a cluster, where others know it by that.
    pub directory: Option<DirectoryId>,
    /// With whom the cluster was formed, where that was by several.
    pub founding: Option<Founding>,
    /// It was invited, and has not yet seen a committed membership with itself in it.
    pub unconfirmed: bool,
}

/// The identity file as it is on disk.
#[derive(Debug, Serialize, Deserialize)]
struct IdentityFile {
    format: u32,
    cluster_id: String,
    node_id: NodeId,
    name: String,
    formation: Formation,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    directory_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    founding: Option<FoundingEntry>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    unconfirmed: bool,
    /// See [`IdentityFile::sum`]; older directories have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    checksum: Option<u32>,
}

impl IdentityFile {
    /// Returns the CRC-32 of the other fields as compact JSON: no damage may make another id.
    fn sum(&mut self) -> Result<u32, String> {
        let given = self.checksum.take();
        let fields = serde_json::to_vec(self).map_err(|error| error.to_string())?;
        self.checksum = given;
        Ok(crc32fast::hash(&fields))
    }
}

/// [`Founding`] with ids that a person can read.
#[derive(Debug, Serialize, Deserialize)]
struct FoundingEntry {
    attempt: u64,
    founders: Vec<FounderEntry>,
}

#[derive(Debug, Serialize, Deserialize)]
struct FounderEntry {
    node_id: NodeId,
    directory_id: String,
    member: Member,
}

impl FoundingEntry {
    fn of(founding: &Founding) -> Self {
        let entry = |founder: &Founder| FounderEntry {
            node_id: founder.id,
            directory_id: founder.directory.to_string(),
            member: founder.member.clone(),
        };
        Self {
            attempt: founding.attempt,
            founders: founding.founders.iter().map(entry).collect(),
        }
    }

    fn read(self, cluster: ClusterId) -> Result<Founding, String> {
        let founder = |entry: FounderEntry| {
            Ok(Founder {
                id: entry.node_id,
                directory: entry.directory_id.parse()?,
                member: entry.member,
            })
        };
        Ok(Founding {
            cluster,
            attempt: self.attempt,
            founders: self
                .founders
                .into_iter()
                .map(founder)
                .collect::<Result<_, String>>()?,
        })
    }
}

/// [`Seeking`] as it is on disk.
#[derive(Debug, Serialize, Deserialize)]
struct SeekingFile {
    format: u32,
    directory_id: String,
    pledged_to: String,
    attempt: u64,
    name: String,
    raft: String,
}

/// Why a directory cannot be used. Each text names the directory.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    #[error("cannot use data directory `{}`: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("data directory `{}` is in use by another process", .0.display())]
    Locked(PathBuf),
    #[error(
        "`{}` is not a Conclave data directory: it holds `{entry}`; name an empty or a new one",
        path.display()
    )]
    Foreign { path: PathBuf, entry: String },
    #[error(
        "data directory `{}` holds a log but no {IDENTITY_FILE}: its identity is lost, so it \
         must not be used; start with an empty directory to join as a new member",
        .0.display()
    )]
    IdentityLost(PathBuf),
    #[error(
        "data directory `{}` belongs to node `{name}`, which was removed from cluster {cluster}: it \
         must not be used again; to come back as a new member, empty it or name another one, and \
         start with -join",
        path.display()
    )]
    Removed {
        path: PathBuf,
        name: String,
        cluster: ClusterId,
    },
    #[error("{IDENTITY_FILE} in `{}` is damaged: {reason}", path.display())]
    IdentityDamaged { path: PathBuf, reason: String },
    #[error("{SEEKING_FILE} in `{}` is damaged: {reason}", path.display())]
    SeekingDamaged { path: PathBuf, reason: String },
    #[error(
        "data directory `{}` is of another version: it has format {found}, and this one reads {FORMAT}",
        path.display()
    )]
    OtherFormat { path: PathBuf, found: u32 },
    #[error(
        "data directory `{}` belongs to node `{found}`, not `{asked}`; \
         start it with -id {found} or name another directory",
        path.display()
    )]
    OtherName {
        path: PathBuf,
        found: String,
        asked: String,
    },
}

/// A directory that this process holds the lock of.
#[derive(Debug)]
pub struct DataDirectory {
    path: PathBuf,
    /// Unlocked by the kernel when the file is closed, also after a SIGKILL. `None` for a directory
    /// without the file, which is only looked at.
    _lock: Option<File>,
}

impl DataDirectory {
    /// Creates the directory where it is missing, and locks it.
    ///
    /// # Errors
    ///
    /// It cannot be created, is no directory, holds files of somebody else, or is locked.
    pub fn open(path: &Path) -> Result<Self, DirectoryError> {
        let io_error = |source| DirectoryError::Io {
            path: path.to_owned(),
            source,
        };
        make_durably(path).map_err(io_error)?;
        only_own_entries(path)?;
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path.join(LOCK_FILE))
            .map_err(io_error)?;
        Self::locked(path, Some(lock))
    }

    /// Locks a directory without changing anything in it, to read what a stopped node left. Whoever
    /// made it has also made its lock file: where there is none, nobody runs on it.
    ///
    /// # Errors
    ///
    /// It is not there, cannot be read, or is locked.
    pub fn open_stopped(path: &Path) -> Result<Self, DirectoryError> {
        let io_error = |source| DirectoryError::Io {
            path: path.to_owned(),
            source,
        };
        fs::read_dir(path).map_err(io_error)?;
        let lock = match File::open(path.join(LOCK_FILE)) {
            Ok(lock) => Some(lock),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(io_error(error)),
        };
        Self::locked(path, lock)
    }

    /// Looks at a directory that a node may be running on. Nothing may be read of it but its identity.
    ///
    /// # Errors
    ///
    /// It cannot be read, or holds files of somebody else.
    pub fn look_at(path: &Path) -> Result<Self, DirectoryError> {
        only_own_entries(path)?;
        Self::locked(path, None)
    }

    fn locked(path: &Path, lock: Option<File>) -> Result<Self, DirectoryError> {
        if let Some(lock) = &lock {
            flock(lock, FlockOperation::NonBlockingLockExclusive).map_err(|error| match error {
                rustix::io::Errno::WOULDBLOCK => DirectoryError::Locked(path.to_owned()),
                other => DirectoryError::Io {
                    path: path.to_owned(),
                    source: other.into(),
                },
            })?;
        }
        Ok(Self {
            path: path.to_owned(),
            _lock: lock,
        })
    }

    /// Returns where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads who the directory belongs to; `None` when it belongs to nobody yet.
    ///
    /// # Errors
    ///
    /// The identity is damaged, of another format or has another name than `name`.
    pub fn identity(&self, name: Option<&str>) -> Result<Option<Identity>, DirectoryError> {
        let path = self.path.clone();
        let text = match fs::read_to_string(path.join(IDENTITY_FILE)) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                let reason = error.to_string();
                return Err(DirectoryError::IdentityDamaged { path, reason });
            }
            Err(source) => return Err(DirectoryError::Io { path, source }),
        };
        let damaged = |reason| DirectoryError::IdentityDamaged {
            path: path.clone(),
            reason,
        };
        let mut file: IdentityFile =
            serde_json::from_str(&text).map_err(|error| damaged(error.to_string()))?;
        if file.format != FORMAT {
            return Err(DirectoryError::OtherFormat {
                path,
                found: file.format,
            });
        }
        if let Some(given) = file.checksum
            && given != file.sum().map_err(&damaged)?
        {
            return Err(damaged("its checksum does not match".to_owned()));
        }
        if let Some(asked) = name.filter(|asked| *asked != file.name) {
            let asked = asked.to_owned();
            return Err(DirectoryError::OtherName {
                path,
                found: file.name,
                asked,
            });
        }
        let cluster = file.cluster_id.parse().map_err(&damaged)?;
        let directory = file.directory_id.map(|text| text.parse());
        let founding = file.founding.map(|entry| entry.read(cluster));
        Ok(Some(Identity {
            cluster,
            id: file.node_id,
            name: file.name,
            formation: file.formation,
            directory: directory.transpose().map_err(&damaged)?,
            founding: founding.transpose().map_err(&damaged)?,
            unconfirmed: file.unconfirmed,
        }))
    }

    /// Notes durably that the node is no member of its cluster any more.
    ///
    /// # Errors
    ///
    /// The identity cannot be read or written.
    pub fn mark_removed(&self) -> io::Result<()> {
        self.mark(|identity| identity.formation = Formation::Removed)
    }

    /// Notes durably that the node has seen itself in a committed membership.
    ///
    /// # Errors
    ///
    /// The identity cannot be read or written.
    pub fn mark_confirmed(&self) -> io::Result<()> {
        self.mark(|identity| identity.unconfirmed = false)
    }

    fn mark(&self, change: impl FnOnce(&mut Identity)) -> io::Result<()> {
        let Some(before) = self.identity(None).map_err(io::Error::other)? else {
            return Ok(());
        };
        let mut identity = before.clone();
        change(&mut identity);
        match identity == before {
            true => Ok(()),
            false => self.write_identity(&identity),
        }
    }

    /// Writes the identity durably, before Raft starts for the first time.
    ///
    /// # Errors
    ///
    /// The disk fails; then the node must not start.
    pub fn write_identity(&self, identity: &Identity) -> io::Result<()> {
        let mut file = IdentityFile {
            format: FORMAT,
            cluster_id: identity.cluster.to_string(),
            node_id: identity.id,
            name: identity.name.clone(),
            formation: identity.formation,
            directory_id: identity.directory.map(|id| id.to_string()),
            founding: identity.founding.as_ref().map(FoundingEntry::of),
            unconfirmed: identity.unconfirmed,
            checksum: None,
        };
        file.checksum = Some(file.sum().map_err(io::Error::other)?);
        write_durably(&self.path, IDENTITY_FILE, &file)?;
        // It means nothing any more; a crash before this leaves it, and it is not read.
        match fs::remove_file(self.path.join(SEEKING_FILE)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Reads what the directory remembers of its search for a cluster.
    ///
    /// # Errors
    ///
    /// It is damaged or of another format.
    pub fn seeking(&self) -> Result<Option<Seeking>, DirectoryError> {
        let path = self.path.clone();
        let text = match fs::read_to_string(path.join(SEEKING_FILE)) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(DirectoryError::Io { path, source }),
        };
        let damaged = |reason| DirectoryError::SeekingDamaged {
            path: path.clone(),
            reason,
        };
        let file: SeekingFile =
            serde_json::from_str(&text).map_err(|error| damaged(error.to_string()))?;
        if file.format != FORMAT {
            let found = file.format;
            return Err(DirectoryError::OtherFormat { path, found });
        }
        Ok(Some(Seeking {
            directory: file.directory_id.parse().map_err(&damaged)?,
            pledge: Pledge {
                leader: file.pledged_to.parse().map_err(&damaged)?,
                attempt: file.attempt,
                name: file.name,
                raft: file.raft,
            },
        }))
    }
}

/// Replaces what a directory remembers, durably.
///
/// # Errors
///
/// The disk fails; then nobody must be told.
pub fn write_seeking(directory: &Path, seeking: &Seeking) -> io::Result<()> {
    let file = SeekingFile {
        format: FORMAT,
        directory_id: seeking.directory.to_string(),
        pledged_to: seeking.pledge.leader.to_string(),
        attempt: seeking.pledge.attempt,
        name: seeking.pledge.name.clone(),
        raft: seeking.pledge.raft.clone(),
    };
    write_durably(directory, SEEKING_FILE, &file)
}

pub(super) fn rename_if_there(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

pub(super) fn write_durably(
    directory: &Path,
    name: &str,
    content: &impl Serialize,
) -> io::Result<()> {
    let temporary = directory.join(format!("{name}.tmp"));
    let mut out = File::create(&temporary)?;
    out.write_all(&serde_json::to_vec_pretty(content).map_err(io::Error::other)?)?;
    out.sync_all()?;
    fs::rename(&temporary, directory.join(name))?;
    File::open(directory)?.sync_all()
}

/// Makes a directory and those above it; a power cut does not take them away again.
fn make_durably(path: &Path) -> io::Result<()> {
    let missing = path
        .ancestors()
        .take_while(|it| !it.as_os_str().is_empty() && !it.exists());
    let missing: Vec<_> = missing.collect();
    fs::create_dir_all(path)?;
    for made in missing {
        let parent = made.parent().filter(|it| !it.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new(".")))?.sync_all()?;
    }
    Ok(())
}

/// Refuses a directory that holds files of somebody else.
fn only_own_entries(path: &Path) -> Result<(), DirectoryError> {
    let io_error = |source| DirectoryError::Io {
        path: path.to_owned(),
        source,
    };
    for entry in fs::read_dir(path).map_err(io_error)? {
        let name = entry.map_err(io_error)?.file_name();
        let text = name.to_string_lossy();
        let is_set_aside = SET_ASIDE.iter().any(|start| text.starts_with(start));
        if !is_set_aside && !OWN_ENTRIES.iter().any(|own| name == *own) {
            let entry = name.to_string_lossy().into_owned();
            return Err(DirectoryError::Foreign {
                path: path.to_owned(),
                entry,
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Identity {
        Identity {
            cluster: ClusterId([7; 16]),
            id: 12,
            name: "node0".to_owned(),
            formation: Formation::Formed,
            directory: Some(DirectoryId([9; 16])),
            founding: Some(Founding {
                cluster: ClusterId([7; 16]),
                attempt: u64::MAX,
                founders: vec![Founder {
                    id: 12,
                    directory: DirectoryId([9; 16]),
                    member: Member::default(),
                }],
            }),
            unconfirmed: true,
        }
    }

    #[test]
    fn a_pledge_reads_back_until_there_is_an_identity() {
        let directory = tempfile::tempdir().unwrap();
        let data = DataDirectory::open(directory.path()).unwrap();
        assert_eq!(data.seeking().unwrap(), None);
        let mut seeking = Seeking::begin(&Member::default());
        seeking.pledge.leader = DirectoryId([3; 16]);
        write_seeking(data.path(), &seeking).unwrap();
        assert_eq!(data.seeking().unwrap(), Some(seeking));
        data.write_identity(&identity()).unwrap();
        assert_eq!(data.seeking().unwrap(), None);
        fs::write(directory.path().join(SEEKING_FILE), "{").unwrap();
        let error = data.seeking().unwrap_err();
        assert!(error.to_string().contains(SEEKING_FILE), "{error}");
    }

    #[test]
    fn an_identity_reads_back_and_another_name_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let data = DataDirectory::open(directory.path()).unwrap();
        assert_eq!(data.identity(Some("node0")).unwrap(), None);
        data.write_identity(&identity()).unwrap();
        assert_eq!(data.identity(None).unwrap(), Some(identity()));
        let error = data.identity(Some("node1")).unwrap_err();
        assert!(matches!(error, DirectoryError::OtherName { .. }), "{error}");
        data.mark_removed().unwrap();
        let removed = data.identity(None).unwrap().unwrap();
        assert_eq!((removed.id, removed.formation), (12, Formation::Removed));
        assert!(removed.unconfirmed);
        data.mark_confirmed().unwrap();
        let confirmed = Identity {
            unconfirmed: false,
            ..removed
        };
        assert_eq!(data.identity(None).unwrap(), Some(confirmed));
        let text = fs::read_to_string(directory.path().join(IDENTITY_FILE)).unwrap();
        assert!(!text.contains("unconfirmed"), "{text}");
    }

    #[test]
    fn one_flipped_bit_makes_no_other_identity() {
        let directory = tempfile::tempdir().unwrap();
        let data = DataDirectory::open(directory.path()).unwrap();
        data.write_identity(&identity()).unwrap();
        let path = directory.path().join(IDENTITY_FILE);
        let whole = fs::read(&path).unwrap();
        for bit in 0..8 * whole.len() {
            let mut damaged = whole.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            // A file that is replaced in place is written to the disk at once, by some file systems.
            fs::remove_file(&path).unwrap();
            fs::write(&path, &damaged).unwrap();
            match data.identity(Some("node0")) {
                Ok(read) => assert_eq!(read, Some(identity()), "bit {bit}"),
                Err(DirectoryError::OtherFormat { found, .. }) => assert_ne!(found, FORMAT),
                Err(error) => {
                    let is_named = matches!(error, DirectoryError::IdentityDamaged { .. });
                    assert!(is_named, "bit {bit}: {error}");
                }
            }
        }
    }

    #[test]
    fn an_identity_without_a_checksum_is_taken() {
        let directory = tempfile::tempdir().unwrap();
        let data = DataDirectory::open(directory.path()).unwrap();
        data.write_identity(&identity()).unwrap();
        let path = directory.path().join(IDENTITY_FILE);
        let text = fs::read_to_string(&path).unwrap();
        let mut fields: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert!(fields.as_object_mut().unwrap().remove("checksum").is_some());
        fs::write(&path, fields.to_string()).unwrap();
        assert_eq!(data.identity(None).unwrap(), Some(identity()));
    }

    #[test]
    fn a_second_opener_is_refused_until_the_first_is_gone() {
        let directory = tempfile::tempdir().unwrap();
        let first = DataDirectory::open(directory.path()).unwrap();
        let error = DataDirectory::open(directory.path()).unwrap_err();
        assert!(matches!(error, DirectoryError::Locked(_)), "{error}");
        drop(first);
        DataDirectory::open(directory.path()).unwrap();
    }

    #[test]
    fn history_and_what_was_set_aside_of_it_belong_here() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["history", "history.broken-12", "left-1"] {
            fs::create_dir(directory.path().join(name)).unwrap();
        }
        DataDirectory::open(directory.path()).unwrap();
    }

    #[test]
    fn foreign_files_and_damaged_identities_are_refused() {
        let foreign = tempfile::tempdir().unwrap();
        fs::write(foreign.path().join("thesis.doc"), "x").unwrap();
        let error = DataDirectory::open(foreign.path()).unwrap_err();
        assert!(error.to_string().contains("thesis.doc"), "{error}");

        let damaged = tempfile::tempdir().unwrap();
        fs::write(damaged.path().join(IDENTITY_FILE), "{").unwrap();
        let error = DataDirectory::open(damaged.path())
            .unwrap()
            .identity(None)
            .unwrap_err();
        assert!(
            matches!(error, DirectoryError::IdentityDamaged { .. }),
            "{error}"
        );

        for other in [FORMAT - 1, FORMAT + 1] {
            let folder = tempfile::tempdir().unwrap();
            let data = DataDirectory::open(folder.path()).unwrap();
            data.write_identity(&identity()).unwrap();
            let path = folder.path().join(IDENTITY_FILE);
            let text = fs::read_to_string(&path).unwrap().replace(
                &format!("\"format\": {FORMAT}"),
                &format!("\"format\": {other}"),
            );
            fs::write(&path, text).unwrap();
            let error = data.identity(None).unwrap_err();
            assert!(
                matches!(error, DirectoryError::OtherFormat { found, .. } if found == other),
                "{error}"
            );
        }
    }
}
