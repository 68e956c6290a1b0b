//! Every public limit, in one place. Bytes unless the name says otherwise.

/// Longest key.
pub const KEY_BYTES: usize = 1_024;
/// Largest value of one key.
pub const VALUE_BYTES: usize = 1 << 20;
/// Largest request body.
pub const BODY_BYTES: usize = 8 << 20;
/// Keys in one `POST /key` body, operations in one transaction.
pub const OPS_PER_REQUEST: usize = 128;
/// Keys that one recursive delete removes.
pub const RECURSIVE_DELETE_KEYS: usize = 10_000;
/// Entries of one listing page.
pub const PAGE_ENTRIES: usize = 1_000;
/// Entries of a listing page when the client names no `limit`.
pub const PAGE_ENTRIES_DEFAULT: usize = 100;
/// Highest count shown for a folder of a listing.
pub const FOLDER_COUNT: u64 = 10_000;
/// Longest client label (`Conclave-Client`).
pub const CLIENT_LABEL_BYTES: usize = 64;
/// Longest request id (`Idempotency-Key`).
pub const REQUEST_ID_BYTES: usize = 64;
/// Longest content type that is stored with a value.
pub const CONTENT_TYPE_BYTES: usize = 255;
/// Longest node name (`-id`).
pub const NODE_NAME_BYTES: usize = 128;
/// Longest wait that a read may ask for (`?wait=`), milliseconds.
pub const READ_WAIT_MS: u64 = 30_000;
/// Voters in a cluster; further members stay learners.
pub const VOTERS: usize = 7;
/// Longest lock name.
pub const LOCK_NAME_BYTES: usize = 256;
/// Longest owner that a lock's claim names.
pub const LOCK_OWNER_BYTES: usize = 256;
/// Claims that wait for one lock.
pub const LOCK_WAITERS: usize = 1_000;
/// Shortest and longest TTL of a lock's claim, milliseconds.
pub const LOCK_TTL_MS: std::ops::RangeInclusive<u64> = 500..=60 * 60 * 1_000;
/// Longest time that one request waits for a lock, milliseconds.
pub const LOCK_WAIT_MS: u64 = 60 * 60 * 1_000;
/// Shortest and longest TTL of a key, milliseconds.
pub const KEY_TTL_MS: std::ops::RangeInclusive<u64> = 1_000..=365 * 24 * 60 * 60 * 1_000;
/// Claims that one command renews.
pub const CLAIMS_PER_RENEWAL: usize = 1_000;
/// Keys and claims that one command ends because their time is over.
pub const EXPIRIES_PER_TICK: usize = 1_000;
