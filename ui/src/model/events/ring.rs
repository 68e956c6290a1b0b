//! The newest changes that this tab has heard, in the order of the cluster.

use std::{collections::VecDeque, rc::Rc};

use super::{filter::Filter, row::Row};
use crate::model::news::News;

/// Rows kept. A row is a few hundred bytes, so all of them are a few MiB.
pub const KEPT: usize = 5_000;

/// The kept rows, oldest first.
#[derive(Debug, Default)]
pub struct Ring {
    rows: VecDeque<Rc<Row>>,
    next: u64,
    /// Rows that were heard and are no longer kept.
    pub dropped: u64,
}

impl Ring {
    /// Takes a piece of news that was heard at `heard_ms`, when the cluster's clock stood at `now_ms`.
    pub fn push(&mut self, news: &News, now_ms: u64, heard_ms: f64) {
        let row = self.row(news, now_ms, heard_ms);
        self.rows.push_back(Rc::new(row));
        self.shrink();
    }

    fn row(&mut self, news: &News, now_ms: u64, heard_ms: f64) -> Row {
        let happened = match news {
            News::Key(_, change) => change.wall_time_ms,
            News::Lock(change) => change.wall_time_ms.unwrap_or(0),
            News::Member(change) => change.wall_time_ms,
            News::Leader(_) | News::Gap { .. } => 0,
        };
        self.next += 1;
        Row {
            id: self.next,
            news: news.clone(),
            time_ms: if happened == 0 { now_ms } else { happened },
            heard_ms,
        }
    }

    fn shrink(&mut self) {
        while self.rows.len() > KEPT {
            self.rows.pop_front();
            self.dropped += 1;
        }
    }

    /// Puts changes that were read later into their place: those after revision `after`, up to
    /// revision `until`. What the ring has of that span already is left out, so that no change is
    /// there twice.
    pub fn fill(&mut self, after: u64, until: u64, told: &[News], now_ms: u64, heard_ms: f64) {
        let in_span = |row: &Row| {
            let revision = row.news.revision();
            revision.is_some_and(|revision| after < revision && revision <= until)
        };
        let is_later = |row: &Rc<Row>| row.news.revision().is_some_and(|revision| revision > until);
        let place = self.rows.iter().position(is_later);
        let mut rest = self.rows.split_off(place.unwrap_or(self.rows.len()));
        self.rows.retain(|row| !in_span(row));
        for news in told {
            let row = self.row(news, now_ms, heard_ms);
            self.rows.push_back(Rc::new(row));
        }
        self.rows.append(&mut rest);
        self.shrink();
    }

    /// Returns the rows of a filter that are newer than `after` and not newer than `until`.
    #[must_use]
    pub fn select(&self, filter: &Filter, after: u64, until: u64) -> Vec<Rc<Row>> {
        let rows = self.rows.iter();
        let wanted = rows.filter(|row| row.id > after && row.id <= until && filter.matches(row));
        wanted.cloned().collect()
    }

    /// Returns how many rows of a filter are newer than `after`.
    #[must_use]
    pub fn count(&self, filter: &Filter, after: u64) -> usize {
        let rows = self.rows.iter();
        rows.filter(|row| row.id > after && filter.matches(row))
            .count()
    }

    /// Returns the newest rows, newest first.
    pub fn last(&self, count: usize) -> impl Iterator<Item = &Row> {
        self.rows.iter().rev().take(count).map(Rc::as_ref)
    }

    /// Returns a kept row.
    #[must_use]
    pub fn get(&self, id: u64) -> Option<Rc<Row>> {
        self.rows.iter().rfind(|row| row.id == id).cloned()
    }

    /// Returns the number of the newest row.
    #[must_use]
    pub const fn newest(&self) -> u64 {
        self.next
    }

    /// Returns how many rows are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Returns whether nothing was heard yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Returns how many rows of a filter were heard after this moment of the tab's clock.
    #[must_use]
    pub fn heard_since(&self, filter: &Filter, moment_ms: f64) -> usize {
        let newest = self.rows.iter().rev();
        let recent = newest.take_while(|row| row.heard_ms > moment_ms);
        recent.filter(|row| filter.matches(row)).count()
    }

    /// Writes all kept rows as NDJSON.
    #[must_use]
    pub fn export(&self) -> String {
        self.rows.iter().map(|row| row.json()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{super::row::tests::put, *};

    fn ring(count: u64) -> Ring {
        let mut ring = Ring::default();
        for id in 1..=count {
            ring.push(&put(id, "k", "n").news, 0, 0.0);
        }
        ring
    }

    fn revisions(ring: &Ring) -> Vec<u64> {
        let rows = ring.select(&Filter::default(), 0, u64::MAX);
        rows.iter().filter_map(|row| row.news.revision()).collect()
    }

    #[test]
    fn the_oldest_rows_go_and_are_counted() {
        let ring = ring(7_000);
        assert_eq!(ring.len(), KEPT);
        assert_eq!(ring.dropped, 2_000);
        assert_eq!(revisions(&ring)[0], 2_101);
        assert_eq!(ring.export().lines().count(), KEPT);
    }

    #[test]
    fn what_is_read_later_comes_into_its_place_once() {
        let mut ring = Ring::default();
        for id in [1, 2, 5, 9, 10] {
            ring.push(&put(id, "k", "n").news, 0, 0.0);
        }
        let told: Vec<News> = (3..=9).map(|id| put(id, "k", "n").news).collect();
        ring.fill(102, 109, &told, 0, 0.0);
        assert_eq!(revisions(&ring), (101..=110).collect::<Vec<_>>());
    }

    #[test]
    fn a_selection_is_what_the_filter_wants_between_two_rows() {
        let mut ring = ring(10);
        ring.push(&put(11, "other", "n").news, 0, 0.0);
        let filter = Filter::parse(Some("k".into()), None, None);
        let ids: Vec<u64> = ring
            .select(&filter, 8, 11)
            .iter()
            .map(|row| row.id)
            .collect();
        assert_eq!(ids, [9, 10]);
        assert_eq!(ring.get(11).unwrap().name(), Some("other"));
    }
}
