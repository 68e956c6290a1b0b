//! Leaving an identity for another one, and going back: `POST /cluster/join`.
//!
//! A mark is durable from before the first file moves until the new identity is. While it is there the
//! move may be cut off anywhere, and going back is always right: nothing of the new identity was used.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::directory::{DataDirectory, IDENTITY_FILE, rename_if_there, write_durably};

pub(super) const MOVING_FILE: &str = "moving.json";
/// All that an identity has. The identity itself comes last in either direction.
const OWN: [&str; 4] = ["history", "snapshots", "raft", IDENTITY_FILE];

#[derive(Debug, Serialize, Deserialize)]
struct Mark {
    /// Name of the folder that has the old identity's files.
    left: PathBuf,
}

/// Storage must be closed.
impl DataDirectory {
    /// Moves everything of this identity into a folder of its own, `left-N`, and returns that.
    ///
    /// # Errors
    ///
    /// The disk fails.
    pub fn set_aside(&self) -> io::Result<PathBuf> {
        let names = (1_u32..).map(|number| PathBuf::from(format!("left-{number}")));
        let mut free = names.skip_while(|name| self.path().join(name).exists());
        let left = free.next().ok_or(io::ErrorKind::AlreadyExists)?;
        let folder = self.path().join(&left);
        fs::create_dir(&folder)?;
        write_durably(self.path(), MOVING_FILE, &Mark { left })?;
        for name in OWN {
            rename_if_there(&self.path().join(name), &folder.join(name))?;
        }
        File::open(&folder)?.sync_all()?;
        File::open(self.path())?.sync_all()?;
        Ok(folder)
    }

    /// Notes that the new identity counts from now on. It must be durable.
    ///
    /// # Errors
    ///
    /// The disk fails; then it must not be used.
    pub fn end_move(&self) -> io::Result<()> {
        match fs::remove_file(self.path().join(MOVING_FILE)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
            Ok(()) => File::open(self.path())?.sync_all(),
        }
    }

    /// Goes back to the identity in a folder; what the new one has is removed.
    ///
    /// # Errors
    ///
    /// The disk fails. Again, it goes on where it was.
    pub fn bring_back(&self, folder: &Path) -> io::Result<()> {
        let name = folder.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let left = PathBuf::from(name);
        write_durably(self.path(), MOVING_FILE, &Mark { left })?;
        for name in OWN {
            let (here, there) = (self.path().join(name), folder.join(name));
            // Else it never left, or is back already.
            if there.exists() {
                remove(&here)?;
                fs::rename(&there, &here)?;
            }
        }
        File::open(self.path())?.sync_all()?;
        fs::remove_dir_all(folder)?;
        self.end_move()
    }

    /// Goes back where a move was cut off. Returns whether one was.
    ///
    /// # Errors
    ///
    /// The disk fails, or the mark is damaged.
    pub fn undo_move(&self) -> io::Result<bool> {
        let mark = match fs::read(self.path().join(MOVING_FILE)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            read => read?,
        };
        let Mark { left } = serde_json::from_slice(&mark)?;
        let folder = self.path().join(left);
        match folder.exists() {
            true => self.bring_back(&folder)?,
            false => self.end_move()?,
        }
        Ok(true)
    }
}

fn remove(path: &Path) -> io::Result<()> {
    let removed = match path.is_dir() {
        true => fs::remove_dir_all(path),
        false => fs::remove_file(path),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(folder: &Path) -> Vec<Option<String>> {
        let file = |name: &str| match name {
            IDENTITY_FILE => folder.join(name),
            _ => folder.join(name).join("f"),
        };
        OWN.iter()
            .map(|name| fs::read_to_string(file(name)).ok())
            .collect()
    }

    fn fill(folder: &Path, whose: &str) {
        for name in OWN {
            match name {
                IDENTITY_FILE => fs::write(folder.join(name), whose).unwrap(),
                _ => {
                    fs::create_dir(folder.join(name)).unwrap();
                    fs::write(folder.join(name).join("f"), whose).unwrap();
                }
            }
        }
    }

    #[test]
    fn a_move_that_is_cut_off_anywhere_goes_back() {
        let old = vec![Some("old".to_owned()); 4];
        // So many of the four have moved, and so many came back before another end.
        for moved in 0..=OWN.len() {
            for back in 0..=moved {
                for has_new in [false, true] {
                    let folder = tempfile::tempdir().unwrap();
                    let data = DataDirectory::open(folder.path()).unwrap();
                    fill(folder.path(), "old");
                    let left = data.set_aside().unwrap();
                    for name in &OWN[moved..] {
                        fs::rename(left.join(name), folder.path().join(name)).unwrap();
                    }
                    if has_new && moved == OWN.len() {
                        fill(folder.path(), "new");
                    }
                    for name in &OWN[..back] {
                        remove(&folder.path().join(name)).unwrap();
                        fs::rename(left.join(name), folder.path().join(name)).unwrap();
                    }
                    drop(data);
                    let data = DataDirectory::open(folder.path()).unwrap();
                    assert!(data.undo_move().unwrap());
                    assert_eq!(own(folder.path()), old, "{moved} {back} {has_new}");
                    assert!(!left.exists() && !data.undo_move().unwrap());
                }
            }
        }
    }

    #[test]
    fn an_ended_move_stays() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataDirectory::open(folder.path()).unwrap();
        fill(folder.path(), "old");
        let left = data.set_aside().unwrap();
        fill(folder.path(), "new");
        data.end_move().unwrap();
        assert!(!data.undo_move().unwrap());
        assert_eq!(own(folder.path()), vec![Some("new".to_owned()); 4]);
        assert_eq!(own(&left), vec![Some("old".to_owned()); 4]);
        // A join that is not finished goes back after all.
        data.bring_back(&left).unwrap();
        assert_eq!(own(folder.path()), vec![Some("old".to_owned()); 4]);
    }
}
