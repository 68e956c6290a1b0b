//! What the fuzzer calls: bytes from a disk, from a peer and from a client, whoever made them.
//!
//! A panic is a finding, and so is something that is accepted and then read differently once it was
//! written again. The programs are in `tests/fuzz`, and `cargo xtask fuzz` runs them. Only tests and the
//! feature `fuzzing` compile this: never for a node.

pub use crate::http::fuzzing::http;
pub use crate::network::fuzzing::peer_frame;
pub use crate::storage::fuzzing::{log_entry, snapshot};

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::*;
    use crate::testing::Random;
    use crate::{network, storage};

    type Target = fn(&[u8]);

    const TARGETS: [(&str, Target); 4] = [
        ("log_entry", log_entry),
        ("snapshot", snapshot),
        ("peer_frame", peer_frame),
        ("http", http),
    ];
    /// Inputs of each target beside its seeds.
    const INPUTS: usize = 2_000;
    /// Longest input that is random from its beginning, bytes.
    const RANDOM_BYTES: usize = 200;
    /// Most seeds of all targets together, bytes.
    const SEED_BYTES: usize = 50_000;

    fn folder(target: &str) -> PathBuf {
        let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/seeds");
        seeds.join(target)
    }

    fn seeds(target: &str) -> Vec<Vec<u8>> {
        let entries = fs::read_dir(folder(target)).unwrap();
        let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths.iter().map(|path| fs::read(path).unwrap()).collect()
    }

    /// An input that is shown when it makes its target panic.
    struct Shown<'a>(&'a str, &'a [u8]);

    impl Drop for Shown<'_> {
        fn drop(&mut self) {
            if std::thread::panicking() {
                let Self(target, input) = self;
                println!("{target} of {} bytes: {input:02x?}", input.len());
            }
        }
    }

    fn run(name: &str, target: Target, input: &[u8]) {
        let _shown = Shown(name, input);
        target(input);
    }

    impl Random {
        /// Changes an input in one place.
        fn mutate(&mut self, input: &mut Vec<u8>, other: &[u8]) {
            if input.is_empty() {
                input.extend_from_slice(other);
                return;
            }
            let at = self.below(input.len());
            let to = at + self.below(input.len() - at + 1);
            match self.below(7) {
                0 => input[at] ^= 1 << self.below(8),
                1 => input[at] = [0, 1, 0x7f, 0x80, 0xff][self.below(5)],
                2 => input.truncate(at),
                3 => drop(input.drain(at..to)),
                4 => drop(input.splice(at..at, self.bytes(16))),
                5 => input.extend_from_within(at..to),
                _ => {
                    let from = self.below(other.len() + 1);
                    input.truncate(at);
                    input.extend_from_slice(&other[from..]);
                }
            }
        }
    }

    /// Replay with `CONCLAVE_FUZZ_SEED`, as a failure has printed it.
    #[test]
    fn no_target_panics_on_its_seeds_and_on_what_is_made_of_them() {
        let mut random = Random::from_environment("CONCLAVE_FUZZ_SEED");
        for (name, target) in TARGETS {
            let seeds = seeds(name);
            for seed in &seeds {
                run(name, target, seed);
            }
            for _ in 0..INPUTS {
                let mut input = match random.below(4) {
                    0 => random.bytes(RANDOM_BYTES),
                    _ => seeds[random.below(seeds.len())].clone(),
                };
                for _ in 0..1 + random.below(4) {
                    let other = &seeds[random.below(seeds.len())];
                    random.mutate(&mut input, other);
                }
                run(name, target, &input);
            }
        }
    }

    /// After a change of a format `CONCLAVE_WRITE_SEEDS=1` writes them again; those of `http` are text.
    #[test]
    fn the_seeds_are_what_this_version_writes() {
        #[expect(clippy::disallowed_methods, reason = "asked for by a person")]
        let writes = std::env::var("CONCLAVE_WRITE_SEEDS").is_ok();
        let made = [
            ("log_entry", storage::fuzzing::tests::log_seeds()),
            ("snapshot", storage::fuzzing::tests::snapshot_seeds()),
            ("peer_frame", network::fuzzing::tests::seeds()),
        ];
        for (target, seeds) in made {
            let folder = folder(target);
            if writes {
                drop(fs::remove_dir_all(&folder));
                fs::create_dir_all(&folder).unwrap();
            }
            for (name, bytes) in &seeds {
                let path = folder.join(name);
                if writes {
                    fs::write(&path, bytes).unwrap();
                }
                let is_same = fs::read(&path).is_ok_and(|found| found == *bytes);
                assert!(is_same, "{} is not what is written now", path.display());
            }
            let found = fs::read_dir(&folder).unwrap().count();
            assert_eq!(found, seeds.len(), "files in {}", folder.display());
        }
        let all = TARGETS.iter().flat_map(|(name, _)| seeds(name));
        let bytes: usize = all.map(|seed| seed.len()).sum();
        assert!(bytes <= SEED_BYTES, "{bytes} bytes of seeds");
    }
}
