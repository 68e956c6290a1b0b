//! A strict reader of the text format of `OpenMetrics` 1.0: it panics at whatever a scraper could
//! stumble over.

use std::collections::{BTreeMap, BTreeSet};

/// A page of metrics. A sample is named as the page names it, with its labels in alphabetical order:
/// `a_total{b="1",c="2"}`.
#[derive(Debug, Clone)]
pub struct Page {
    samples: BTreeMap<String, f64>,
    families: BTreeSet<String>,
}

/// What `# HELP`, `# TYPE` and `# UNIT` say.
#[derive(Debug, Default)]
struct Family {
    name: String,
    kind: Option<String>,
    unit: Option<String>,
    help: Option<String>,
    has_samples: bool,
}

impl Page {
    /// Reads a page.
    ///
    /// # Panics
    ///
    /// The page breaks a rule: the text names the line.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let body = text.strip_suffix("# EOF\n").expect("`# EOF` ends the page");
        let mut page = Self {
            samples: BTreeMap::new(),
            families: BTreeSet::new(),
        };
        let mut family = Family::default();
        for line in body.lines() {
            if let Some(rest) = line.strip_prefix("# ") {
                page.describe(&mut family, line, rest);
            } else {
                family.has_samples = true;
                page.take_sample(&family, line);
            }
        }
        page.check_histograms();
        page
    }

    fn describe(&mut self, family: &mut Family, line: &str, rest: &str) {
        let mut words = rest.splitn(3, ' ');
        let mut word = || words.next().unwrap_or_else(|| panic!("`{line}`"));
        let (keyword, name, text) = (word(), word(), word().to_owned());
        if family.name != name {
            family.assert_complete();
            assert!(is_name(name), "`{name}` is no name: {line}");
            assert!(
                self.families.insert(name.to_owned()),
                "a second time: {line}"
            );
            *family = Family {
                name: name.to_owned(),
                ..Family::default()
            };
        }
        assert!(!family.has_samples, "after its samples: {line}");
        let place = match keyword {
            "HELP" => &mut family.help,
            "TYPE" => &mut family.kind,
            "UNIT" => &mut family.unit,
            _ => panic!("`{keyword}` in {line}"),
        };
        assert!(place.replace(text).is_none(), "a second time: {line}");
    }

    fn take_sample(&mut self, family: &Family, line: &str) {
        let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("`{line}`"));
        let (name, labels) = match series.split_once('{') {
            None => (series, Vec::new()),
            Some((name, rest)) => {
                let inside = rest.strip_suffix('}');
                (name, labels(inside.unwrap_or_else(|| panic!("`{line}`"))))
            }
        };
        let suffix = name.strip_prefix(&family.name);
        let suffix = suffix.unwrap_or_else(|| panic!("not of `{}`: {line}", family.name));
        let allowed: &[&str] = match family.kind.as_deref() {
            Some("counter") => &["_total"],
            Some("gauge") => &[""],
            Some("histogram") => &["_bucket", "_count", "_sum"],
            Some("info") => &["_info"],
            kind => panic!("type {kind:?}: {line}"),
        };
        assert!(allowed.contains(&suffix), "`{suffix}` of a sample: {line}");
        let value: f64 = value
            .parse()
            .unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(value.is_finite() && value >= 0.0, "{line}");
        let labels: Vec<_> = labels
            .into_iter()
            .map(|(k, v)| format!("{k}=\"{v}\""))
            .collect();
        let key = match labels.is_empty() {
            true => name.to_owned(),
            false => format!("{name}{{{}}}", labels.join(",")),
        };
        assert!(
            self.samples.insert(key, value).is_none(),
            "a second time: {line}"
        );
    }

    /// Buckets do not fall, and the last one is the count.
    fn check_histograms(&self) {
        let mut buckets: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
        for (key, value) in &self.samples {
            let Some((name, rest)) = key.split_once("_bucket{") else {
                continue;
            };
            let all = labels(rest.trim_end_matches('}'));
            let bound = all.iter().find(|(label, _)| label == "le");
            let bound = bound.unwrap_or_else(|| panic!("no `le`: {key}")).1.clone();
            let bound = match bound.as_str() {
                "+Inf" => f64::INFINITY,
                bound => bound.parse().expect("a bound"),
            };
            let others = all.iter().filter(|(label, _)| label != "le");
            let others: Vec<_> = others.map(|(k, v)| format!("{k}=\"{v}\"")).collect();
            let count = match others.is_empty() {
                true => format!("{name}_count"),
                false => format!("{name}_count{{{}}}", others.join(",")),
            };
            buckets.entry(count).or_default().push((bound, *value));
        }
        for (count, mut buckets) in buckets {
            buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
            let rises = buckets.is_sorted_by(|a, b| a.1 <= b.1);
            assert!(rises, "{count}: {buckets:?}");
            let last = buckets.last().copied();
            let all = self.samples.get(&count).copied();
            assert_eq!(last, all.map(|all| (f64::INFINITY, all)), "{count}");
        }
    }

    /// Returns a sample; 0 when it is not there, as counters that were never used.
    #[must_use]
    pub fn value(&self, sample: &str) -> f64 {
        self.samples.get(sample).copied().unwrap_or(0.0)
    }

    /// Returns the names of all samples.
    pub fn samples(&self) -> impl Iterator<Item = &str> {
        self.samples.keys().map(String::as_str)
    }

    /// Returns the names of all families, those without samples too.
    pub fn families(&self) -> impl Iterator<Item = &str> {
        self.families.iter().map(String::as_str)
    }

    /// Returns what grew since an earlier page and begins with `prefix`, with by how much.
    #[must_use]
    pub fn grown(&self, earlier: &Self, prefix: &str) -> BTreeMap<String, f64> {
        let grown = self.samples.iter().map(|(name, value)| {
            let before = earlier.value(name);
            (name.clone(), value - before)
        });
        grown
            .filter(|(name, by)| name.starts_with(prefix) && *by != 0.0)
            .collect()
    }
}

impl Family {
    fn assert_complete(&self) {
        if self.name.is_empty() {
            return;
        }
        assert!(self.help.is_some(), "`{}` has no help", self.name);
        assert!(self.kind.is_some(), "`{}` has no type", self.name);
        let wanted = ["seconds", "bytes"];
        for unit in wanted {
            let is_named = self.name.ends_with(&format!("_{unit}"));
            let is_said = self.unit.as_deref() == Some(unit);
            assert_eq!(is_named, is_said, "unit of `{}`", self.name);
        }
        if let Some(unit) = &self.unit {
            assert!(self.name.ends_with(&format!("_{unit}")), "{self:?}");
        }
        assert!(!self.name.ends_with("_total"), "{self:?}");
    }
}

fn is_name(name: &str) -> bool {
    let first = name.bytes().next();
    first.is_some_and(|b| b.is_ascii_lowercase())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

/// Returns the labels in alphabetical order; the values keep their escapes.
fn labels(text: &str) -> Vec<(String, String)> {
    let mut labels = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (name, after) = rest
            .split_once("=\"")
            .unwrap_or_else(|| panic!("labels `{text}`"));
        assert!(is_name(name), "label `{name}` of `{text}`");
        let mut escaped = false;
        let end = after.find(|c| {
            let ends = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        });
        let end = end.unwrap_or_else(|| panic!("labels `{text}`"));
        labels.push((name.to_owned(), after[..end].to_owned()));
        rest = &after[end + 1..];
        if let Some(next) = rest.strip_prefix(',') {
            assert!(!next.is_empty(), "labels `{text}`");
            rest = next;
        } else {
            assert!(rest.is_empty(), "labels `{text}`");
        }
    }
    labels.sort();
    assert!(
        labels.windows(2).all(|two| two[0].0 != two[1].0),
        "`{text}`"
    );
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "# HELP a_seconds Help.\n# TYPE a_seconds histogram\n# UNIT a_seconds seconds\n\
        a_seconds_sum{x=\"1\"} 2.5\na_seconds_count{x=\"1\"} 2\n\
        a_seconds_bucket{le=\"0.1\",x=\"1\"} 1\na_seconds_bucket{le=\"+Inf\",x=\"1\"} 2\n\
        # HELP b Help.\n# TYPE b counter\nb_total{z=\"a\\\"}, b\",y=\"2\"} 7\n# EOF\n";

    #[test]
    fn a_good_page_is_read() {
        let page = Page::parse(GOOD);
        assert_eq!(page.value(r#"b_total{y="2",z="a\"}, b"}"#), 7.0);
        assert_eq!(page.value("a_seconds_sum{x=\"1\"}"), 2.5);
        assert_eq!(page.families().collect::<Vec<_>>(), ["a_seconds", "b"]);
        let earlier = Page::parse(&GOOD.replace(" 7\n", " 5\n"));
        let grown: Vec<_> = page.grown(&earlier, "b_").into_values().collect();
        assert_eq!(grown, [2.0]);
    }

    #[test]
    fn a_page_that_breaks_a_rule_is_refused() {
        for (good, bad) in [
            ("# EOF\n", ""),
            ("# UNIT a_seconds seconds\n", ""),
            ("# HELP a_seconds Help.\n", ""),
            ("# TYPE b counter\n", ""),
            ("b_total{", "b{"),
            (" 2.5", " x"),
            ("le=\"+Inf\",x=\"1\"} 2", "le=\"+Inf\",x=\"1\"} 3"),
            (
                "le=\"0.1\",x=\"1\"} 1",
                "le=\"0.1\",x=\"1\"} 1\na_seconds_bucket{le=\"0.2\",x=\"1\"} 0",
            ),
            (
                "# EOF",
                "# HELP a_seconds Again.\n# TYPE a_seconds gauge\n# EOF",
            ),
            (",y=\"2\"", ",z=\"2\""),
            ("# EOF", "b_total{z=\"a\\\"}, b\",y=\"2\"} 8\n# EOF"),
        ] {
            let text = GOOD.replacen(good, bad, 1);
            assert_ne!(text, GOOD);
            let read = std::panic::catch_unwind(|| Page::parse(&text));
            assert!(read.is_err(), "{text}");
        }
    }
}
