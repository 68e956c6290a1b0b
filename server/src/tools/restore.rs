//! `conclave restore`: a one-node cluster with an identity of its own out of a snapshot file.

use std::io;
use std::path::Path;

use super::output::NewDirectory;
use super::{Failure, Report, Status, how_to_start, new_member, summary};
use crate::config::Restore;
use crate::storage::{SnapshotFile, Whole};

pub(super) async fn run(options: &Restore, say: fn(&str)) -> Result<Report, Failure> {
    let from_stdin = options.r#in == Path::new("-");
    // What cannot be read must not have made anything.
    if !from_stdin {
        open(&options.r#in)?;
    }
    let new = NewDirectory::at(&options.out)?;
    let file = if from_stdin {
        let spool = new.scratch().join("stdin");
        let mut out =
            std::fs::File::create_new(&spool).map_err(|e| Failure::writing(&spool, &e))?;
        io::copy(&mut io::stdin().lock(), &mut out).map_err(|e| Failure::writing(&spool, &e))?;
        open(&spool)?
    } else {
        open(&options.r#in)?
    };
    say(&format!("reading {} bytes", file.bytes));
    let whole = Whole::of_snapshot(&file).map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
            let name = options.r#in.display();
            // The file itself is named already.
            let error = error.to_string();
            let reason = error
                .rsplit_once("`: ")
                .map_or(&*error, |(_, reason)| reason);
            let text = format!("`{name}` is no backup, or is damaged or cut off: {reason}");
            Failure::new(Status::Data, text)
        }
        _ => Failure::reading(&options.r#in, &error),
    })?;
    let figures = whole.figures();
    let member = new_member(&options.node, None);
    let identity = whole
        .found(&new.path(), &member, 0)
        .await
        .map_err(|error| Failure::writing(&options.out, &error))?;
    new.publish()?;
    Ok(Report::new(format!(
        "restored `{}`: {}\nnew cluster {} of node `{}` (id {}) in `{}`\n{}",
        options.r#in.display(),
        summary(&figures),
        identity.cluster,
        identity.name,
        identity.id,
        options.out.display(),
        how_to_start(&member, &options.out)
    )))
}

fn open(path: &Path) -> Result<SnapshotFile, Failure> {
    SnapshotFile::open(path).map_err(|error| Failure::reading(path, &error))
}
