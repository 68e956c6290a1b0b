//! What a tool makes: beside its place and under another name until it is whole and synced.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::{Failure, Status};

/// A folder beside a data directory that is being made. Dropped, it is gone; what a killed process
/// leaves has `.unfinished-` in its name and may be deleted.
#[derive(Debug)]
pub(super) struct NewDirectory {
    folder: PathBuf,
    out: PathBuf,
}

impl NewDirectory {
    /// Checks that `out` is free, and makes the folder.
    pub(super) fn at(out: &Path) -> Result<Self, Failure> {
        let cannot = |reason: String| cannot_make(out, &reason);
        match fs::read_dir(out) {
            Ok(mut entries) => {
                if let Some(entry) = entries.next() {
                    let entry = entry.map_err(|error| cannot(error.to_string()))?;
                    let name = entry.file_name().to_string_lossy().into_owned();
                    return Err(cannot(format!(
                        "it is not empty: it holds `{name}`; name an empty or a new directory"
                    )));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(cannot(error.to_string())),
        }
        let folder = unfinished(out).ok_or_else(|| cannot("it has no name".to_owned()))?;
        let parent = parent(out);
        let made = fs::create_dir_all(parent)
            .and_then(|()| fs::create_dir(&folder))
            .and_then(|()| fs::create_dir(folder.join("scratch")));
        made.map_err(|error| cannot(error.to_string()))?;
        Ok(Self {
            folder,
            out: out.to_owned(),
        })
    }

    /// Returns where to make the directory.
    pub(super) fn path(&self) -> PathBuf {
        self.folder.join("new")
    }

    /// Returns an empty directory for what is needed meanwhile.
    pub(super) fn scratch(&self) -> PathBuf {
        self.folder.join("scratch")
    }

    /// Gives the directory its name.
    pub(super) fn publish(self) -> Result<(), Failure> {
        let published = File::open(self.path())
            .and_then(|folder| folder.sync_all())
            .and_then(|()| fs::rename(self.path(), &self.out))
            .and_then(|()| File::open(parent(&self.out))?.sync_all());
        published.map_err(|error| cannot_make(&self.out, &error.to_string()))
    }
}

impl Drop for NewDirectory {
    fn drop(&mut self) {
        // Its name says that it may be deleted.
        drop(fs::remove_dir_all(&self.folder));
    }
}

/// A file that is being made. Dropped unfinished, it is gone.
#[derive(Debug)]
pub(super) struct NewFile {
    path: PathBuf,
    /// Where it belongs; `None` for one that is gone at the end.
    out: Option<PathBuf>,
    pub(super) file: File,
}

impl NewFile {
    /// Begins a file that will be `out`, which must not be there.
    pub(super) fn at(out: &Path) -> Result<Self, Failure> {
        let cannot = |reason: String| cannot_make(out, &reason);
        if out.symlink_metadata().is_ok() {
            return Err(cannot("it is there already; name a new file".to_owned()));
        }
        let path = unfinished(out).ok_or_else(|| cannot("it has no name".to_owned()))?;
        let file = create(&path).map_err(|error| cannot(error.to_string()))?;
        Ok(Self {
            path,
            out: Some(out.to_owned()),
            file,
        })
    }

    /// Begins a file that is gone at the end.
    pub(super) fn temporary() -> Result<Self, Failure> {
        let path = std::env::temp_dir().join(format!("conclave-{}", std::process::id()));
        let file = create(&path).map_err(|error| Failure::writing(&path, &error))?;
        Ok(Self {
            path,
            out: None,
            file,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Gives a synced file its name.
    pub(super) fn publish(self) -> Result<(), Failure> {
        let Some(out) = &self.out else {
            return Ok(());
        };
        if out.symlink_metadata().is_ok() {
            return Err(cannot_make(out, "it is there by now"));
        }
        let published = self
            .file
            .sync_all()
            .and_then(|()| fs::rename(&self.path, out))
            .and_then(|()| File::open(parent(out))?.sync_all());
        published.map_err(|error| Failure::writing(out, &error))
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        // It is not there any more once it was published.
        drop(fs::remove_file(&self.path));
    }
}

fn cannot_make(out: &Path, reason: &str) -> Failure {
    let text = format!("cannot make `{}`: {reason}", out.display());
    Failure::new(Status::CannotCreate, text)
}

fn create(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.create_new(true).read(true).write(true);
    options.open(path)
}

fn unfinished(out: &Path) -> Option<PathBuf> {
    let mut name = out.file_name()?.to_owned();
    name.push(format!(".unfinished-{}", std::process::id()));
    Some(parent(out).join(name))
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}
