//! What the report keeps from one run to the next: the figures of each check and the table of mutants,
//! as lines at its end.
//!
//! The report is made from the record and from nothing else. Its last line is a checksum of all that is
//! before it, so that a report that somebody has changed is an error and never half read.

use std::{collections::BTreeMap, fmt::Write as _, fs, io::ErrorKind, path::Path, time::Duration};

use anyhow::{Context, Result, bail};

use super::Verdict;

/// What stands before the record in the report.
const START: &str = "\n## Record\n\nThe figures of all runs, from which the rest is made. The command \
                     reads them again and keeps what it\ndoes not measure; it refuses a file that \
                     was changed by hand.\n\n```text\n";
const END: &str = "```\n\n";
const SUM: (&str, &str) = ("<!-- checksum ", " -->");

/// What a check has said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Measured {
    pub(super) verdict: Verdict,
    pub(super) took: Duration,
    /// Its figures, or why there are none.
    pub(super) lines: Vec<String>,
    pub(super) seeds: Vec<String>,
    pub(super) origin: Origin,
}

/// What was measured: each is one line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Origin {
    /// What has run.
    pub(super) command: String,
    pub(super) date: String,
    pub(super) commit: String,
    /// The build of the server.
    pub(super) server: String,
    pub(super) machine: String,
}

/// All that was measured so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Record {
    /// By the checks' names.
    pub(super) checks: BTreeMap<String, Measured>,
    /// Lines of the report of the mutants, without its heading.
    pub(super) mutants: Vec<String>,
}

impl Record {
    /// Reads the record of a report; one that is not there is empty.
    ///
    /// # Errors
    ///
    /// The file cannot be read, was not written by [`Self::write`], or was changed since.
    pub(super) fn read(file: &Path) -> Result<Self> {
        let text = match fs::read_to_string(file) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            read => read.with_context(|| file.display().to_string())?,
        };
        Self::parse(&text).with_context(|| {
            format!(
                "{} cannot be gone on with: move it away, or name another one with --report",
                file.display()
            )
        })
    }

    /// Writes a report: its text, and this record behind it. The file is the old or the new one, never a
    /// part.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub(super) fn write(&self, text: &str, file: &Path) -> Result<()> {
        let mut part = file.as_os_str().to_owned();
        part.push(".part");
        fs::write(&part, self.print(text)?)
            .and_then(|()| fs::rename(&part, file))
            .with_context(|| file.display().to_string())
    }

    fn parse(text: &str) -> Result<Self> {
        let Some((above, sum)) = text.rsplit_once(SUM.0) else {
            bail!("it has no checksum, so that this command has not written it");
        };
        if sum.trim_end().strip_suffix(SUM.1) != Some(&checksum(above)) {
            bail!("its checksum is another one: it was changed after it was written");
        }
        let lines = above.rsplit_once(START).map(|(_, lines)| lines);
        let lines = lines.and_then(|lines| lines.strip_suffix(END));
        let mut record = Self::default();
        let mut check: Option<(String, Measured)> = None;
        for line in lines.context("it has no record")?.lines() {
            let (field, value) = line.split_once(' ').unwrap_or((line, ""));
            match field {
                "check" => {
                    record.checks.extend(check.take());
                    check = Some((value.to_owned(), Measured::nothing()));
                }
                "mutants" => record.mutants.push(value.to_owned()),
                _ => {
                    let measured = check.as_mut().map(|(_, measured)| measured);
                    let measured = measured.context("a figure of no check");
                    measured
                        .and_then(|measured| measured.set(field, value))
                        .with_context(|| format!("its record has the line `{line}`"))?;
                }
            }
        }
        record.checks.extend(check);
        Ok(record)
    }

    fn print(&self, text: &str) -> Result<String> {
        let mut all = format!("{text}{START}");
        let mut line = |field: &str, value: &str| match value {
            "" => writeln!(all, "{field}"),
            _ => writeln!(all, "{field} {value}"),
        };
        for (name, measured) in &self.checks {
            line("check", name)?;
            for (field, value) in measured.fields() {
                line(field, &value)?;
            }
        }
        for row in &self.mutants {
            line("mutants", row)?;
        }
        all.push_str(END);
        let sum = checksum(&all);
        writeln!(all, "{}{sum}{}", SUM.0, SUM.1)?;
        Ok(all)
    }
}

impl Measured {
    /// What is read before the first field.
    fn nothing() -> Self {
        Self {
            verdict: Verdict::Missing,
            took: Duration::ZERO,
            lines: Vec::new(),
            seeds: Vec::new(),
            origin: Origin::default(),
        }
    }

    fn fields(&self) -> Vec<(&'static str, String)> {
        let origin = &self.origin;
        let mut fields = vec![
            ("verdict", self.verdict.shown().to_owned()),
            ("seconds", self.took.as_secs().to_string()),
            ("command", origin.command.clone()),
            ("date", origin.date.clone()),
            ("commit", origin.commit.clone()),
            ("server", origin.server.clone()),
            ("machine", origin.machine.clone()),
        ];
        let seeds = self.seeds.iter().map(|seed| ("seed", seed.clone()));
        let lines = self.lines.iter().map(|line| ("line", line.clone()));
        fields.extend(seeds.chain(lines));
        fields
    }

    fn set(&mut self, field: &str, value: &str) -> Result<()> {
        let text = value.to_owned();
        match field {
            "verdict" => {
                let mut known = Verdict::OF_CHECKS.into_iter();
                let named = known.find(|verdict| verdict.shown() == value);
                self.verdict = named.context("an unknown verdict")?;
            }
            "seconds" => self.took = Duration::from_secs(value.parse()?),
            "command" => self.origin.command = text,
            "date" => self.origin.date = text,
            "commit" => self.origin.commit = text,
            "server" => self.origin.server = text,
            "machine" => self.origin.machine = text,
            "seed" => self.seeds.push(text),
            "line" => self.lines.push(text),
            _ => bail!("an unknown field"),
        }
        Ok(())
    }
}

/// Returns the 64-bit FNV-1a hash of a text, in hexadecimal digits.
fn checksum(text: &str) -> String {
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        let chaos = Measured {
            verdict: Verdict::Met,
            took: Duration::from_secs(3_601),
            lines: vec![
                "chaos: 5 kills".to_owned(),
                String::new(),
                "| a | b |".to_owned(),
            ],
            seeds: vec!["9".to_owned(), "10".to_owned()],
            origin: Origin {
                command: "`chaos::x`".to_owned(),
                date: "2026-02-03 04:05 UTC".to_owned(),
                commit: "0123456789ab".to_owned(),
                server: "debug 012345".to_owned(),
                machine: "two cores".to_owned(),
            },
        };
        let late = Measured {
            verdict: Verdict::Late,
            lines: vec!["```".to_owned()],
            ..chaos.clone()
        };
        let checks = [("chaos", chaos), ("cuts of one", late)];
        Record {
            checks: checks.map(|(name, one)| (name.to_owned(), one)).into(),
            mutants: vec![
                "| M1 | `x` |".to_owned(),
                String::new(),
                "1 of 1".to_owned(),
            ],
        }
    }

    #[test]
    fn a_report_reads_back_what_was_measured() {
        for record in [record(), Record::default()] {
            let text = record.print("# What was measured\n").unwrap();
            assert!(
                text.starts_with("# What was measured\n\n## Record\n"),
                "{text}"
            );
            assert_eq!(Record::parse(&text).unwrap(), record);
            assert_eq!(Record::parse(&format!("{text}\n")).unwrap(), record);
        }
    }

    #[test]
    fn a_report_that_was_changed_is_refused() {
        let text = record().print("# What was measured\n\n5 kills\n").unwrap();
        for (old, new, why) in [
            ("\n5 kills", "\n6 kills", "was changed"),
            ("chaos: 5 kills", "chaos: 6 kills", "was changed"),
            ("verdict met\n", "", "was changed"),
            (" -->", "", "was changed"),
            ("<!-- checksum", "", "has not written it"),
        ] {
            let error = Record::parse(&text.replacen(old, new, 1)).unwrap_err();
            assert!(error.to_string().contains(why), "{old}: {error}");
        }
        let half = &text[..text.len() / 2];
        assert!(Record::parse(half).is_err());
        assert!(Record::parse("").is_err());
        assert!(Record::parse("# What was measured\n").is_err());
    }

    #[test]
    fn a_record_of_another_form_is_refused_with_its_line() {
        for line in [
            "verdict met",
            "check a\nverdict fine",
            "check a\ncolour red",
        ] {
            let above = format!("{START}{line}\n{END}");
            let sum = checksum(&above);
            let error = Record::parse(&format!("{above}{}{sum}{}\n", SUM.0, SUM.1)).unwrap_err();
            let last = line.lines().last().unwrap();
            assert!(format!("{error:#}").contains(last), "{error:#}");
        }
    }

    #[test]
    fn a_file_is_written_whole_and_one_that_is_missing_is_empty() {
        let name = format!("xtask-record-{}", std::process::id());
        let file = std::env::temp_dir().join(name);
        assert_eq!(Record::read(&file).unwrap(), Record::default());
        record().write("# a\n", &file).unwrap();
        record().write("# b\n", &file).unwrap();
        let read = Record::read(&file);
        fs::write(&file, "by hand").unwrap();
        let error = Record::read(&file).unwrap_err();
        fs::remove_file(&file).unwrap();
        assert_eq!(read.unwrap(), record());
        assert!(format!("{error:#}").contains(&file.display().to_string()));
    }
}
