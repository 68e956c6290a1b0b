//! Looking at the disk while a node runs, and saying what it has room for.

use std::time::Duration;

use anyhow::Context;
use conclave_shared::cluster::DiskState;

use crate::config::Config;
use crate::runtime;
use crate::storage::{DiskSpace, LogStore};

/// Time between two looks, and where little is left.
const LOOK: Duration = Duration::from_millis(100);
const LOOK_NEAR: Duration = Duration::from_millis(10);
const MIB: u64 = 1 << 20;

/// Returns the disk that a node writes to.
///
/// # Errors
///
/// It cannot be asked for its free space.
pub(super) fn of(config: &Config) -> anyhow::Result<DiskSpace> {
    let Some(directory) = &config.data_dir else {
        return Ok(DiskSpace::default());
    };
    DiskSpace::of(directory, config.disk_reserve)
        .with_context(|| format!("cannot ask for the free space of `{}`", directory.display()))
}

/// Looks until it is dropped. Where little is left it takes what the log needs next before others do.
pub(super) async fn watch(disk: DiskSpace, log: LogStore) {
    let mut said = DiskState::Ok;
    loop {
        let state = disk.look();
        if state != said {
            say(&disk, state);
            said = state;
        }
        let pause = match disk.is_near() {
            true => {
                secure(&log).await;
                LOOK_NEAR
            }
            false => LOOK,
        };
        runtime::sleep(pause).await;
    }
}

async fn secure(log: &LogStore) {
    let log = log.clone();
    let secured = runtime::blocking(move || log.secure()).await;
    if let Err(error) = secured.and_then(|secured| secured) {
        tracing::debug!(%error, "no room is set aside for the log: {error}");
    }
}

fn say(disk: &DiskSpace, state: DiskState) {
    let Some(status) = disk.status() else {
        return;
    };
    let (free, reserve) = (status.free_bytes / MIB, status.reserve_bytes / MIB);
    match state {
        DiskState::Ok => tracing::info!("the disk has room again: {free} MiB are free"),
        DiskState::Low => tracing::warn!(
            "the disk is nearly full: of the {reserve} MiB that this node leaves free there are \
             {free}. It takes no changes as a leader until there is space again; reads go on"
        ),
        DiskState::Full => tracing::error!(
            "the disk is full: of the {reserve} MiB that this node leaves free there are {free}. \
             It takes no changes from its leader either until there is space again"
        ),
    }
}
