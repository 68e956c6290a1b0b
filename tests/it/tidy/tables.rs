//! Who may use what.

/// Modules of `server/src`, and which of the others each may name with `crate::`. A file may have a
/// line of its own; the longest name that fits a file counts.
pub(super) const MODULES: &[(&str, &[&str])] = &[
    // Defects for the tests of the tests. It is no part of the node, so that every module may name it.
    ("mutants", &[]),
    ("state", &[]),
    ("clock", &[]),
    ("encoding", &[]),
    // Recording only, so that everybody may.
    ("metrics", &["clock"]),
    // The runtime below the three that the simulation runs as well.
    ("runtime", &[]),
    ("raft", &["state", "runtime"]),
    // The rules, without any way to ask or to write.
    ("formation", &["raft"]),
    ("discovery", &[]),
    ("events", &["state", "runtime"]),
    (
        "history",
        &["events", "state", "clock", "runtime", "encoding"],
    ),
    (
        "storage",
        &[
            "raft",
            "state",
            "clock",
            "runtime",
            "metrics",
            "events",
            "formation",
            "encoding",
        ],
    ),
    // It carries requests between the services of two nodes, so it knows their types.
    (
        "network",
        &[
            "raft",
            "state",
            "storage",
            "node",
            "clock",
            "formation",
            "encoding",
        ],
    ),
    // It declares the traits that `network` fulfils.
    (
        "node",
        &["raft", "state", "clock", "runtime", "metrics", "events"],
    ),
    ("node/past", &["state", "runtime", "history"]),
    ("node/backup", &["clock", "runtime", "storage"]),
    // The only file of `node` that holds the Raft handle and the published state.
    (
        "node/consensus",
        &[
            "raft", "state", "clock", "runtime", "metrics", "events", "storage",
        ],
    ),
    (
        "http",
        &["node", "events", "state", "clock", "metrics", "telemetry"],
    ),
    ("config", &["raft"]),
    ("telemetry", &["config"]),
    ("tools", &["config", "storage", "raft", "clock"]),
    ("testing", &[]),
    ("fuzzing", &["http", "network", "storage"]),
    ("app", EVERYTHING),
    ("process", EVERYTHING),
    ("main", &["process"]),
    ("lib", EVERYTHING),
];

pub(super) const EVERYTHING: &[&str] = &[
    "state",
    "clock",
    "encoding",
    "runtime",
    "metrics",
    "raft",
    "formation",
    "discovery",
    "events",
    "history",
    "storage",
    "network",
    "node",
    "http",
    "config",
    "telemetry",
    "tools",
    "app",
];

/// Foreign crates that have owners: the modules, or files of them, that may name them.
pub(super) const OWNED_CRATES: &[(&str, &[&str])] = &[
    ("axum", &["http"]),
    ("tower", &["http"]),
    ("tower_http", &["http"]),
    // `app` asks other nodes over HTTP before there is any service; `tools` ask nodes.
    ("hyper", &["http", "app/client", "tools/client"]),
    ("hyper_util", &["http", "app/client", "tools/client"]),
    ("mdns_sd", &["discovery"]),
    (
        "openraft",
        &["raft", "storage", "network", "node/consensus"],
    ),
    ("openraft_rt", &["runtime", "clock"]),
    ("openraft_rt_tokio", &["runtime"]),
    ("openraft_rt_sim", &["runtime", "clock"]),
    ("raft_log", &["storage"]),
    ("prometheus_client", &["metrics"]),
    ("sled", &["history"]),
    ("jiff", &["http"]),
    ("clap", &["config"]),
    ("toml", &["config"]),
    ("tracing_subscriber", &["telemetry"]),
    ("anyhow", &["app", "process"]),
    ("reqwest", &[]),
];

/// Names that a module must never use: what would make its results differ between nodes.
pub(super) const FORBIDDEN: &[(&str, &[&str])] = &[(
    "state",
    &[
        "tokio",
        "tracing",
        "rand",
        "SystemTime",
        "Instant",
        "HashMap",
        "HashSet",
    ],
)];
