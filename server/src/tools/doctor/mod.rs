//! `conclave doctor`: what would keep a node with this configuration from running well here.

mod directory;
mod disk;
mod members;
mod multicast;
mod network;

use serde::Serialize;

use super::Report;
use crate::config::Config;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) enum Verdict {
    #[serde(rename = "ok")]
    Ok,
    #[serde(rename = "warn")]
    Warn,
    #[serde(rename = "FAIL")]
    Fail,
}

impl Verdict {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "FAIL",
        }
    }
}

/// What one check found: the figure and, where something is wrong, what to do.
#[derive(Debug, Serialize)]
pub(super) struct Finding {
    verdict: Verdict,
    what: String,
    detail: String,
}

impl Finding {
    fn new(verdict: Verdict, what: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            verdict,
            what: what.into(),
            detail: detail.into(),
        }
    }

    fn ok(what: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(Verdict::Ok, what, detail)
    }

    fn warn(what: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(Verdict::Warn, what, detail)
    }

    fn fail(what: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(Verdict::Fail, what, detail)
    }
}

/// How findings are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Lines,
    Json,
}

/// Everything that was found, in the order in which it was looked for.
#[derive(Debug, Serialize)]
pub(super) struct Findings {
    node: String,
    checks: Vec<Finding>,
    warnings: usize,
    failures: usize,
}

impl Findings {
    fn of(node: &str, checks: Vec<Finding>) -> Self {
        let count = |verdict| checks.iter().filter(|one| one.verdict == verdict).count();
        Self {
            node: node.to_owned(),
            warnings: count(Verdict::Warn),
            failures: count(Verdict::Fail),
            checks,
        }
    }

    pub(super) fn report(&self, form: Form) -> Report {
        let text = match form {
            Form::Json => serde_json::to_string_pretty(self).unwrap_or_default(),
            Form::Lines => self.lines(),
        };
        Report {
            has_findings: self.failures > 0,
            ..Report::new(text)
        }
    }

    fn lines(&self) -> String {
        let mut text = String::new();
        for Finding {
            verdict,
            what,
            detail,
        } in &self.checks
        {
            text.push_str(&format!("{:<4}  {what}: {detail}\n", verdict.as_str()));
        }
        let (warnings, failures) = (self.warnings, self.failures);
        text.push_str(&match (failures, warnings) {
            (0, 0) => "nothing is wrong".to_owned(),
            (0, _) => format!("warnings: {warnings}"),
            _ => format!("failures: {failures}, warnings: {warnings}"),
        });
        text
    }
}

/// Looks at everything. Nothing is changed.
pub(super) async fn examine(config: &Config) -> Findings {
    let (place, mut checks) = directory::examine(config);
    checks.extend(disk::examine(&place));
    checks.extend(network::names(config).await);
    let running = members::running_here(config).await;
    checks.extend(network::ports(config, running.as_ref(), &place).await);
    checks.extend(members::examine(config, running.as_ref(), &place).await);
    checks.extend(multicast::examine(config).await);
    Findings::of(&config.name, checks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_counted_and_shown_in_both_forms() {
        let found = |checks| Findings::of("n", checks);
        let good = found(vec![Finding::ok("a", "1"), Finding::warn("b", "2")]);
        assert_eq!(
            good.report(Form::Lines).text,
            "ok    a: 1\nwarn  b: 2\nwarnings: 1"
        );
        assert!(!good.report(Form::Lines).has_findings);
        let bad = found(vec![Finding::fail("c", "3: do this")]);
        assert!(bad.report(Form::Lines).has_findings);
        let json: serde_json::Value = serde_json::from_str(&bad.report(Form::Json).text).unwrap();
        assert_eq!(json["checks"][0]["verdict"], "FAIL");
        assert_eq!(json["failures"], 1);
    }
}
