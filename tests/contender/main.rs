//! `conclave-contender`: one contender for a lock as a process, for the tests that stop it.
//!
//! It says what it does, a line each, and ends when its standard input does.

use std::io::{Read as _, Write as _, stdin, stdout};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use conclave_tests::load::lock_contenders::{Contender, Contest, Entry, Lapse};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let Some((contest, number)) = Contest::of_args(&args) else {
        return ExitCode::FAILURE;
    };
    let stopped = Arc::new(AtomicBool::new(false));
    let stop = Arc::clone(&stopped);
    std::thread::spawn(move || {
        let mut nothing = [0; 64];
        while matches!(stdin().read(&mut nothing), Ok(1..)) {}
        stop.store(true, Ordering::Relaxed);
    });
    let tell = |entry: Entry| {
        let mut stdout = stdout().lock();
        let told = writeln!(stdout, "{}", entry.line()).and_then(|()| stdout.flush());
        if told.is_err() {
            // Nobody listens any more.
            stopped.store(true, Ordering::Relaxed);
        }
    };
    let contender = Contender::new(&contest, number, Lapse::FromOutside);
    contender
        .run(|| stopped.load(Ordering::Relaxed), tell)
        .await;
    ExitCode::SUCCESS
}
