//! `conclave backup`: a node's state as a snapshot file.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::output::{NewDirectory, NewFile};
use super::{Failure, Report, Status, client, summary};
use crate::clock;
use crate::config::{Backup, HostPort, Origin};
use crate::storage::{DataDirectory, SnapshotFile, Whole};

/// The node builds a snapshot before it answers.
const BUILD: Duration = Duration::from_secs(90);
/// Time between two lines about how far it is.
const PROGRESS: Duration = Duration::from_secs(2);

pub(super) async fn run(options: &Backup, say: fn(&str)) -> Result<Report, Failure> {
    let to_stdout = options.out == Path::new("-");
    let mut new = match to_stdout {
        true => NewFile::temporary()?,
        false => NewFile::at(&options.out)?,
    };
    match options.source() {
        Origin::Node(node) => {
            let path = format!("/api/cluster/snapshot?level={}", options.level);
            download(node, &path, &mut new, say).await?;
        }
        Origin::Directory(directory) => save(directory, &new).await?,
    }
    let shown = options.out.display();
    let file = SnapshotFile::open(new.path()).map_err(|e| Failure::reading(new.path(), &e))?;
    let figures = file.figures().map_err(|error| {
        let text = format!("what came is no whole snapshot and is not kept: {error}");
        Failure::new(Status::Data, text)
    })?;
    let digest = digest(&mut new.file).map_err(|error| Failure::reading(new.path(), &error))?;
    let bytes = file.bytes;
    if to_stdout {
        copy_out(&mut new.file).map_err(|error| Failure::writing(&options.out, &error))?;
    }
    new.publish()?;
    let name = if to_stdout {
        "the backup".to_owned()
    } else {
        format!("`{shown}`")
    };
    let summary = summary(&figures);
    Ok(Report {
        is_aside: to_stdout,
        ..Report::new(format!(
            "saved {name}: {bytes} bytes\n  {summary}\n  sha256 {digest}"
        ))
    })
}

async fn download(
    node: &HostPort,
    path: &str,
    new: &mut NewFile,
    say: fn(&str),
) -> Result<(), Failure> {
    let unavailable = |reason: String| {
        let text = format!("no backup from {node}: {reason}");
        Failure::new(Status::Unavailable, text)
    };
    let mut answer = client::get(node, path, BUILD).await.map_err(unavailable)?;
    if answer.status != 200 {
        return Err(unavailable(answer.refusal().await));
    }
    let (mut bytes, mut said) = (0, clock::now());
    let wanted = answer
        .length
        .map_or_else(String::new, |length| format!(" of {length}"));
    while let Some(piece) = answer.next().await.map_err(|error| {
        unavailable(format!(
            "the connection ended after {bytes}{wanted} bytes: {error}"
        ))
    })? {
        new.file
            .write_all(&piece)
            .map_err(|error| Failure::writing(new.path(), &error))?;
        bytes += piece.len() as u64;
        if clock::since(said) > PROGRESS {
            said = clock::now();
            say(&format!("{bytes}{wanted} bytes"));
        }
    }
    match answer.length {
        Some(length) if length != bytes => {
            Err(unavailable(format!("{bytes} bytes came, and not {length}")))
        }
        _ => Ok(()),
    }
}

/// Saves what a stopped node has.
async fn save(directory: &Path, new: &NewFile) -> Result<(), Failure> {
    let data = DataDirectory::open_stopped(directory)?;
    data.identity(None)?;
    let mut name = new.path().as_os_str().to_owned();
    name.push(".log");
    let scratch = NewDirectory::at(Path::new(&name))?;
    let whole = Whole::of_directory(&data, &scratch.scratch()).await;
    let (whole, _) = whole.map_err(|error| Failure::reading(directory, &error))?;
    let written = whole.write(&new.file);
    written.map_err(|error| Failure::writing(new.path(), &error))
}

fn digest(file: &mut File) -> io::Result<String> {
    let mut buffer = vec![0; 1 << 20];
    let mut hasher = Sha256::new();
    file.seek(SeekFrom::Start(0))?;
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            let bytes = hasher.finalize();
            return Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect());
        }
        hasher.update(&buffer[..read]);
    }
}

fn copy_out(file: &mut File) -> io::Result<()> {
    let mut out = io::stdout().lock();
    file.seek(SeekFrom::Start(0))?;
    io::copy(file, &mut out)?;
    out.flush()
}
