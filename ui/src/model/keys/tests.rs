//! The tree against a node: whatever is read, changed and heard in whatever order, in the end the rows
//! are those of a tree that reads everything at once.

use std::collections::{BTreeMap, VecDeque};

use super::{
    Change, KeyLine, Page,
    row::{Kind, Row},
    tree::{Tree, Wanted},
};
use conclave_shared::listing::Folder;

/// Keys of a node with their revisions and sizes.
#[derive(Default, Clone)]
struct Node {
    keys: BTreeMap<String, (u64, u64)>,
    revision: u64,
}

const PAGE: usize = 3;
const CAP: u64 = 4;

impl Node {
    fn put(&mut self, key: &str, bytes: u64) -> Change {
        self.revision += 1;
        let before = self.keys.insert(key.to_owned(), (self.revision, bytes));
        Change {
            key: key.to_owned(),
            revision: self.revision,
            bytes: Some(bytes),
            is_new: before.is_none(),
        }
    }

    fn delete(&mut self, key: &str) -> Option<Change> {
        self.keys.remove(key)?;
        self.revision += 1;
        Some(Change {
            key: key.to_owned(),
            revision: self.revision,
            bytes: None,
            is_new: false,
        })
    }

    fn count(&self, prefix: &str) -> u64 {
        self.keys
            .keys()
            .filter(|key| key.starts_with(prefix))
            .count() as u64
    }

    /// A page as the server makes it.
    fn page(&self, prefix: &str, delimiter: &str, start: &str) -> Page {
        let mut page = Page {
            revision: self.revision,
            count: Some(self.count(prefix)),
            ..Page::default()
        };
        for (key, (revision, bytes)) in &self.keys {
            if !key.starts_with(prefix) {
                continue;
            }
            let end = key[prefix.len()..]
                .find(delimiter)
                .filter(|_| !delimiter.is_empty());
            let end = end.map(|at| prefix.len() + at + delimiter.len());
            let name = end.map_or(key.as_str(), |end| &key[..end]);
            let is_shown = match end {
                // A start within a folder shows that folder.
                Some(_) => name >= start || start.starts_with(name) || key.as_str() >= start,
                None => name >= start,
            };
            if !is_shown || page.folders.iter().any(|folder| folder.prefix == name) {
                continue;
            }
            if page.keys.len() + page.folders.len() == PAGE {
                page.next = Some("cursor".to_owned());
                return page;
            }
            if end.is_some() {
                let count = self.count(name);
                page.folders.push(Folder {
                    prefix: name.to_owned(),
                    count: count.min(CAP),
                    capped: count > CAP,
                });
            } else {
                page.keys.push(KeyLine {
                    key: key.clone(),
                    mod_revision: *revision,
                    value_bytes: *bytes,
                });
            }
        }
        page
    }
}

/// Reads everything that is wanted at once.
fn read_all(tree: &mut Tree, node: &Node) {
    loop {
        let wanted = tree.wanted();
        for one in &wanted {
            let page = node.page(&one.level, tree.delimiter(), &one.start);
            tree.put_page(&one.level, one.number, page);
        }
        while let Some(folder) = tree.doubt() {
            tree.put_count(&folder, node.count(&folder), node.revision);
        }
        if wanted.is_empty() {
            return;
        }
    }
}

fn tree_of(node: &Node, delimiter: &str, open: &[&str]) -> Tree {
    let open: Vec<String> = open.iter().map(|&folder| folder.to_owned()).collect();
    let mut tree = Tree::new("", delimiter, &open, 0);
    read_all(&mut tree, node);
    tree
}

fn node(keys: &[&str]) -> Node {
    let mut node = Node::default();
    for key in keys {
        node.put(key, 1);
    }
    node
}

fn written(tree: &Tree) -> Vec<String> {
    let write = |row: Row| {
        let indent = "  ".repeat(row.depth);
        let label = format!("{}{}", row.label.0, row.label.1);
        match row.kind {
            Kind::Key { .. } => format!("{indent}{label}"),
            Kind::Folder {
                count, is_capped, ..
            } => {
                let more = if is_capped { "+" } else { "" };
                format!("{indent}{label} {count}{more}")
            }
            Kind::More { .. } => format!("{indent}..."),
        }
    };
    tree.rows(0..tree.len()).into_iter().map(write).collect()
}

#[test]
fn open_folders_show_their_keys_below_them() {
    let node = node(&["a", "b/1", "b/c/2", "b/c/3", "d//x", "e/"]);
    let tree = tree_of(&node, "/", &["b/", "b/c/", "d/", "d//", "e/"]);
    assert_eq!(
        written(&tree),
        [
            "a", "b/ 3", "  1", "  c/ 2", "    2", "    3", "d/ 1", "  / 1", "    x", "e/ 1", "  "
        ]
    );
    for (at, row) in tree.rows(0..tree.len()).iter().enumerate() {
        assert_eq!((row.at, tree.place(&row.id())), (at, Some(at)), "{row:?}");
        assert_eq!(tree.rows(at..at + 1).first(), Some(row));
    }
    let two = &tree.rows(4..5)[0];
    assert_eq!(tree.parent(two).as_deref(), Some("fb/c/"));
    assert_eq!((two.place, two.of), (1, Some(2)));
}

#[test]
fn a_flat_list_has_whole_names_and_no_folders() {
    let tree = tree_of(&node(&["a/1", "a/2", "b"]), "", &[]);
    assert_eq!(written(&tree), ["a/1", "a/2", "b"]);
}

#[test]
fn a_list_that_is_not_whole_says_how_much_there_is() {
    let node = node(&["k0", "k1", "k2", "k3", "k4", "k5", "k6"]);
    let mut tree = Tree::new("k", "/", &[], 0);
    let wanted = tree.wanted();
    assert!(
        wanted[0].is_first && tree.wanted().is_empty(),
        "each page once"
    );
    tree.put_page("k", wanted[0].number, node.page("k", "/", ""));
    assert_eq!(written(&tree), ["k0", "k1", "k2", "..."]);
    assert_eq!((tree.len(), tree.size()), (4, 7));
    let more = tree.rows(3..4)[0].clone();
    let Kind::More { loaded, of, .. } = more.kind else {
        panic!("{more:?}")
    };
    assert_eq!((loaded, of, more.of), (3, Some(7), Some(7)));
    assert_eq!(tree.place("mk"), Some(3));
}

#[test]
fn a_list_of_nothing_has_no_rows() {
    let tree = tree_of(&Node::default(), "/", &["a/"]);
    assert!(tree.is_empty());
    assert_eq!((tree.size(), tree.rows(0..1)), (0, Vec::new()));
    for id in ["m", "ma/", "ka", "fa/", ""] {
        assert_eq!(tree.place(id), None, "{id}");
    }
}

#[test]
fn a_page_that_fails_is_wanted_again_when_asked_to() {
    let mut tree = Tree::new("", "/", &[], 0);
    let number = tree.wanted()[0].number;
    tree.fail("", number, "No answer.".to_owned());
    assert_eq!(tree.wanted(), []);
    assert_eq!(tree.top().and_then(|top| top.failure()), Some("No answer."));
    tree.retry();
    assert_eq!(tree.wanted().len(), 1);
}

#[test]
fn revealing_opens_what_is_above_and_nothing_else() {
    let node = node(&["a/b/c", "a/x/y", "z/1"]);
    let mut tree = tree_of(&node, "/", &[]);
    tree.reveal("a/b/c");
    read_all(&mut tree, &node);
    assert_eq!(
        written(&tree),
        ["a/ 2", "  b/ 1", "    c", "  x/ 1", "z/ 1"]
    );
    assert!(tree.place("ka/b/c").is_some());
    tree.toggle("a/");
    tree.toggle("a/");
    read_all(&mut tree, &node);
    assert_eq!(written(&tree).len(), 5, "what was open below comes back");
}

#[test]
fn a_change_shows_on_the_row_that_is_there() {
    let mut node = node(&["a/1", "b/1"]);
    let mut tree = tree_of(&node, "/", &["a/"]);
    let changes = [node.put("a/2", 1), node.put("b/2", 1)];
    assert_eq!(tree.apply(&changes), ["b/", "a/2"]);
    assert_eq!(written(&tree), ["a/ 2", "  1", "  2", "b/ 2"]);
    let gone: Vec<Change> = ["b/1", "b/2"]
        .iter()
        .filter_map(|key| node.delete(key))
        .collect();
    tree.apply(&gone);
    assert_eq!(written(&tree), ["a/ 2", "  1", "  2"]);
}

#[test]
fn an_answer_to_an_older_question_is_not_taken() {
    let mut node = node(&["a", "b"]);
    let mut tree = Tree::new("", "/", &[], 0);
    let old = tree.wanted().remove(0);
    let old_page = node.page("", "/", "");
    tree.refresh();
    let change = node.delete("a");
    tree.apply(&change.into_iter().collect::<Vec<_>>());
    let new = tree.wanted().remove(0);
    tree.put_page("", old.number, old_page);
    assert_eq!(written(&tree), ["..."]);
    tree.put_page("", new.number, node.page("", "/", ""));
    assert_eq!(written(&tree), ["b"]);
}

/// A small generator of numbers (`SplitMix64`), so that a seed is all that a failure needs.
struct Chance(u64);

impl Chance {
    fn below(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((z ^ (z >> 31)) % most as u64).unwrap()
    }

    fn key(&mut self) -> String {
        let depth = 1 + self.below(3);
        let segments: Vec<String> = (0..depth)
            .map(|_| ["", "a", "b", "ü", "🗝"][self.below(5)].to_owned())
            .collect();
        format!("{}{}", segments.join("/"), self.below(4))
    }
}

/// What goes on between a tree and its node.
struct Story {
    chance: Chance,
    node: Node,
    tree: Tree,
    /// Changes that the tree has not heard yet.
    news: VecDeque<Change>,
    asked: Vec<Wanted>,
    answers: Vec<(Wanted, Page)>,
    counts: Vec<(String, u64, u64)>,
}

impl Story {
    fn step(&mut self) {
        match self.chance.below(12) {
            0..=3 => {
                let key = self.chance.key();
                let change = self.node.put(&key, self.chance.below(9) as u64);
                self.news.push_back(change);
            }
            4..=5 => {
                let keys: Vec<String> = self.node.keys.keys().cloned().collect();
                let many = if self.chance.below(8) == 0 { 20 } else { 1 };
                for _ in 0..many.min(keys.len()) {
                    let key = &keys[self.chance.below(keys.len())];
                    self.news.extend(self.node.delete(key));
                }
            }
            6 => self.hear(),
            7 => {
                // The node applies a change before it tells of it: a page is never older than the news.
                let wanted = self.tree.wanted();
                self.asked.extend(wanted);
            }
            8 if !self.asked.is_empty() => {
                let at = self.chance.below(self.asked.len());
                let one = self.asked.remove(at);
                let page = self.node.page(&one.level, "/", &one.start);
                self.answers.push((one, page));
            }
            9 if !self.answers.is_empty() => {
                let at = self.chance.below(self.answers.len());
                let (one, page) = self.answers.remove(at);
                self.tree.put_page(&one.level, one.number, page);
            }
            10 => {
                let folders = ["a/", "b/", "a/b/", "/", "ü/", "🗝/a/"];
                self.tree.toggle(folders[self.chance.below(folders.len())]);
            }
            11 => match self.chance.below(4) {
                0 => self.tree.refresh(),
                1 => {
                    let doubt = self.tree.doubt();
                    self.counts.extend(doubt.map(|folder| {
                        let count = self.node.count(&folder);
                        (folder, count, self.node.revision)
                    }));
                }
                _ => {
                    if let Some((folder, count, revision)) = self.counts.pop() {
                        self.tree.put_count(&folder, count, revision);
                    }
                }
            },
            _ => {}
        }
    }

    fn hear(&mut self) {
        let some = 1 + self.chance.below(self.news.len() + 1);
        let heard: Vec<Change> = self.news.drain(..some.min(self.news.len())).collect();
        self.tree.apply(&heard);
    }
}

#[test]
fn in_the_end_the_rows_are_those_of_a_new_tree() {
    for seed in 0..400 {
        let mut story = Story {
            chance: Chance(seed),
            node: Node::default(),
            tree: Tree::new("", "/", &[], 0),
            news: VecDeque::new(),
            asked: Vec::new(),
            answers: Vec::new(),
            counts: Vec::new(),
        };
        for _ in 0..300 {
            story.step();
        }
        let Story {
            node,
            mut tree,
            news,
            asked,
            answers,
            ..
        } = story;
        for (one, page) in answers {
            tree.put_page(&one.level, one.number, page);
        }
        for one in asked {
            let page = node.page(&one.level, "/", &one.start);
            tree.put_page(&one.level, one.number, page);
        }
        tree.apply(&Vec::from(news));
        read_all(&mut tree, &node);
        let mut fresh = Tree::new("", "/", &tree.open_folders(), 0);
        read_all(&mut fresh, &node);
        // A count that is exact is as right as one that is capped.
        let rows = |tree: &Tree| -> Vec<Row> {
            let mut rows = tree.rows(0..tree.len());
            for row in &mut rows {
                if let Kind::Folder {
                    count, is_capped, ..
                } = &mut row.kind
                {
                    *is_capped |= *count > CAP;
                    *count = (*count).min(CAP);
                }
            }
            rows
        };
        assert_eq!(rows(&tree), rows(&fresh), "seed {seed}");
        assert_eq!(
            tree.top().unwrap().count(),
            Some(node.count("")),
            "seed {seed}"
        );
    }
}
