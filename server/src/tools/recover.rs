//! `conclave recover`: a one-node cluster with an identity of its own out of what one dead member has.

use std::path::Path;

use super::output::NewDirectory;
use super::{Failure, Report, Status, how_to_start, new_member, summary};
use crate::config::Recover;
use crate::storage::{DataDirectory, Figures, Identity, LogEnd, Whole};

pub(super) async fn run(options: &Recover, say: fn(&str)) -> Result<Report, Failure> {
    let dead = DataDirectory::open_stopped(&options.data_dir)?;
    let identity = dead.identity(None)?.ok_or_else(|| {
        let path = options.data_dir.display();
        let text = format!("`{path}` is the directory of no node: it has no node.json");
        Failure::new(Status::Data, text)
    })?;
    let out = match &options.out {
        Some(out) if !options.dry_run => Some(out),
        _ => None,
    };
    if let Some(out) = out {
        refuse_inside(out, &options.data_dir)?;
    }
    let temporary = std::env::temp_dir().join("conclave-recover");
    let new = NewDirectory::at(out.unwrap_or(&temporary))?;
    say(&format!("reading `{}`", options.data_dir.display()));
    let (whole, end) = Whole::of_directory(&dead, &new.scratch())
        .await
        .map_err(|error| Failure::reading(&options.data_dir, &error))?;
    let figures = whole.figures();
    let found = describe(&identity, &figures, end);
    let Some(out) = out else {
        return Ok(Report::new(format!("{found}\nnothing was made: --dry-run")));
    };
    let before = figures.members.get(&identity.id).map(|(member, _)| member);
    let mut asked = options.node.clone();
    asked.id.get_or_insert_with(|| identity.name.clone());
    let member = new_member(&asked, before);
    let made = whole
        .found(&new.path(), &member, end.voted)
        .await
        .map_err(|error| Failure::writing(out, &error))?;
    new.publish()?;
    Ok(Report::new(format!(
        "{found}\nnew cluster {} of node `{}` (id {}) in `{}`; `{}` is as it was\n{}\n\
         members of the old cluster are refused: start them with empty directories too",
        made.cluster,
        made.name,
        made.id,
        out.display(),
        options.data_dir.display(),
        how_to_start(&member, out)
    )))
}

/// The new directory must not change the old one.
fn refuse_inside(out: &Path, dead: &Path) -> Result<(), Failure> {
    let absolute = |path: &Path| {
        // The part of it that is there, with all links followed.
        let path = std::path::absolute(path).unwrap_or_else(|_unknown| path.to_owned());
        let there = path.ancestors().find_map(|part| part.canonicalize().ok());
        there.unwrap_or(path)
    };
    match absolute(out).starts_with(absolute(dead)) {
        true => Err(Failure::new(
            Status::Usage,
            format!(
                "--out `{}` is inside of --data-dir, which is not changed",
                out.display()
            ),
        )),
        false => Ok(()),
    }
}

fn describe(identity: &Identity, figures: &Figures, end: LogEnd) -> String {
    let (name, id, cluster) = (&identity.name, identity.id, identity.cluster);
    let last = figures.last;
    let from = match end.snapshot {
        0 => "no snapshot".to_owned(),
        index => format!("snapshot up to entry {index}"),
    };
    let known = end.committed.max(end.snapshot).min(last.index);
    let above = last.index - known;
    let suffix = match above {
        0 => "every entry of it is known to be committed".to_owned(),
        _ => format!(
            "entries {}..={} ({above}) are taken along, but only up to {known} this node knows that \
             they are committed:\n  some of them may never have been acknowledged, or be others \
             elsewhere",
            known + 1,
            last.index
        ),
    };
    format!(
        "read node `{name}` (id {id}) of cluster {cluster}: {}\n  {from}, log up to entry {} of term \
         {}, votes up to term {}\n  {suffix}\n  what the others acknowledged after entry {} without \
         this node is not here",
        summary(figures),
        last.index,
        last.term,
        end.voted,
        last.index
    )
}
