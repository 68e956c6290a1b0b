//! One node: a process of the real binary with its own directory, ports and output files.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::cluster::process::Process;
use crate::cluster::{Ports, binary, usage};
use crate::faults::bridge::Host;
use crate::faults::links::ProcessId;
use crate::faults::loop_disk::LoopDisk;
use crate::http::{Client, Failure, Request, Response};
use crate::wait::wait_for;

/// Longest time from the start of a process until it is ready, an election included.
pub const READY_WITHIN: Duration = Duration::from_secs(30);
/// Longest time a clean stop may take.
pub const STOP_WITHIN: Duration = Duration::from_secs(20);
/// Longest wait for `/api/status`, which never waits for anybody itself.
const STATUS_WITHIN: Duration = Duration::from_secs(2);

/// A node of a test: present in the test while its process is down.
#[derive(Debug)]
pub struct Node {
    name: String,
    ports: Ports,
    /// Holds everything of this node: `data`, `cwd`, `stdout`, `stderr`.
    root: PathBuf,
    args: Vec<String>,
    env: Vec<(String, String)>,
    /// What it runs, when that is not the binary under test.
    binary: Option<PathBuf>,
    child: Process,
    /// Holds `data` instead. Unmounted after the process is killed.
    disk: Option<LoopDisk>,
    /// What the links know the process by.
    process: ProcessId,
    /// The host that the process runs on, when that is not this one.
    host: Option<Host>,
}

impl Node {
    /// Prepares a node below `root`; nothing is started.
    ///
    /// # Panics
    ///
    /// Its folder cannot be made.
    #[must_use]
    pub fn new(name: &str, root: &Path, ports: Ports) -> Self {
        let root = root.join(name);
        let cwd = root.join("cwd");
        if let Err(error) = fs::create_dir_all(&cwd) {
            panic!("create {}: {error}", cwd.display());
        }
        let mut node = Self {
            name: name.to_owned(),
            ports,
            child: Process::new(name, &root),
            root,
            args: Vec::new(),
            env: Vec::new(),
            binary: None,
            disk: None,
            process: ProcessId::default(),
            host: None,
        };
        node.args = node.usual_args();
        node
    }

    /// Puts the node behind its cluster's links: they know its process by `process`.
    pub(crate) fn behind_links(mut self, process: ProcessId) -> Self {
        self.process = process;
        self
    }

    /// Returns `-id … -haddr … -raddr …`, and `-rlisten …` behind a proxy.
    #[must_use]
    pub fn usual_args(&self) -> Vec<String> {
        let addresses = [self.http_address(), self.raft_address()];
        let [http, raft] = addresses;
        let mut args: Vec<_> = ["-id", &self.name, "-haddr", &http, "-raddr", &raft]
            .map(str::to_owned)
            .into();
        if self.ports.listen != self.ports.raft {
            args.push("-rlisten".to_owned());
            args.push(format!("localhost:{}", self.ports.listen));
        }
        args
    }

    /// Takes what a node that could not have its ports was given: flags, variables, binary and disk.
    pub(crate) fn take_over(&mut self, old: &mut Self) {
        let usual = old.usual_args().len();
        self.args.extend(old.args.iter().skip(usual).cloned());
        self.env.clone_from(&old.env);
        self.binary.clone_from(&old.binary);
        self.disk = old.disk.take();
    }

    /// Gives the node a disk of its own, below its folder; its data is there from the next start on.
    ///
    /// # Panics
    ///
    /// This machine cannot do it; see [`crate::faults::loop_disk::missing`].
    pub(crate) fn attach_disk(&mut self, mib: u64) {
        self.disk = Some(LoopDisk::create(&self.root, mib));
    }

    /// Returns the disk of its own, when it has one.
    #[must_use]
    pub const fn disk(&self) -> Option<&LoopDisk> {
        self.disk.as_ref()
    }

    /// Adds flags, here and at every later start.
    pub fn add_args<S: Into<String>>(&mut self, args: impl IntoIterator<Item = S>) {
        self.args.extend(args.into_iter().map(Into::into));
    }

    /// Replaces all flags, the usual ones too; the data directory stays the last argument.
    pub fn set_args<S: Into<String>>(&mut self, args: impl IntoIterator<Item = S>) {
        self.args = args.into_iter().map(Into::into).collect();
    }

    /// Replaces the variables that the process gets; of the test's own it gets none that matters.
    pub fn set_env(&mut self, env: &[(&str, &str)]) {
        self.env = env
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
    }

    /// Replaces the binary, from the next start on; `None` is the one under test.
    pub fn set_binary(&mut self, binary: Option<&Path>) {
        self.binary = binary.map(Path::to_owned);
    }

    /// Returns the name that `-id` gives.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the ports.
    #[must_use]
    pub const fn ports(&self) -> Ports {
        self.ports
    }

    /// Puts the process on another host, with the usual flags for there.
    pub fn live_on(&mut self, host: &Host) {
        self.host = Some(host.clone());
        self.args = self.usual_args();
    }

    fn address(&self, port: u16) -> String {
        let host = self.host.as_ref().map(Host::address);
        host.map_or_else(|| format!("localhost:{port}"), |ip| format!("{ip}:{port}"))
    }

    /// Returns `host:port` of the API.
    #[must_use]
    pub fn http_address(&self) -> String {
        self.address(self.ports.http)
    }

    /// Returns `host:port` of the peer protocol.
    #[must_use]
    pub fn raft_address(&self) -> String {
        self.address(self.ports.raft)
    }

    /// Returns the data directory.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        let disk = self.disk.as_ref().map(LoopDisk::folder);
        disk.unwrap_or(&self.root).join("data")
    }

    /// Returns the folder that the process runs in.
    #[must_use]
    pub fn working_dir(&self) -> PathBuf {
        self.root.join("cwd")
    }

    /// Starts the process and does not wait for it.
    ///
    /// # Panics
    ///
    /// It runs already, or cannot be started.
    pub fn spawn(&mut self) {
        let mut command = binary::command(self.binary.as_deref(), self.host.as_ref());
        command
            .args(&self.args)
            .arg(self.data_dir())
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .current_dir(self.working_dir());
        self.child.spawn(&mut command);
        self.process.set(self.process_id());
    }

    /// Starts the process and waits until it is ready.
    ///
    /// # Panics
    ///
    /// It ends or is not ready in time.
    pub async fn start(&mut self) {
        self.spawn();
        self.wait_ready().await;
    }

    /// Waits for 200 from `/readyz`.
    ///
    /// # Panics
    ///
    /// The process ends or is not ready in time.
    pub async fn wait_ready(&mut self) {
        if let Err(status) = self.ready_or_exit().await {
            panic!(
                "{} ended with {status} instead of being ready:\n{}",
                self.name,
                self.log_tail()
            );
        }
    }

    /// Waits for 200 from `/readyz`, or for the end of the process.
    pub(crate) async fn ready_or_exit(&mut self) -> Result<(), ExitStatus> {
        let what = format!("{} is ready", self.name);
        let ready = wait_for(&what, READY_WITHIN, async || {
            if let Some(status) = self.exited() {
                return Ok(Err(status));
            }
            match self.try_get("/readyz?verbose").await {
                Ok(response) if response.status == 200 => Ok(Ok(())),
                Ok(response) => Err(format!("{response:?}")),
                Err(failure) => Err(failure.to_string()),
            }
        });
        ready.await
    }

    /// Returns the exit status of a process that has ended by itself.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        let status = self.child.exited()?;
        self.process.set(0);
        Some(status)
    }

    /// Waits until the process ends by itself.
    ///
    /// # Panics
    ///
    /// It still runs after `bound`.
    pub async fn wait_exit(&mut self, bound: Duration) -> ExitStatus {
        let what = format!("{} exits", self.name);
        wait_for(&what, bound, async || {
            self.exited().ok_or_else(|| self.log_tail())
        })
        .await
    }

    /// Kills the process as `kill -9` does; does nothing when it is down.
    ///
    /// # Panics
    ///
    /// The kernel refuses.
    pub fn kill(&mut self) {
        self.process.set(0);
        self.child.kill();
    }

    /// Asks the process to stop (`SIGTERM`) and waits for its end.
    ///
    /// # Panics
    ///
    /// It is down, or still runs after [`STOP_WITHIN`].
    pub async fn stop(&mut self) -> ExitStatus {
        self.terminate();
        self.wait_exit(STOP_WITHIN).await
    }

    /// Sends `SIGTERM` and does not wait.
    ///
    /// # Panics
    ///
    /// The process is down.
    pub fn terminate(&self) {
        self.child.signal(Signal::TERM);
    }

    /// Freezes the process (`SIGSTOP`).
    ///
    /// # Panics
    ///
    /// The process is down.
    pub fn pause(&self) {
        self.child.signal(Signal::STOP);
    }

    /// Lets a frozen process go on.
    ///
    /// # Panics
    ///
    /// The process is down.
    pub fn resume(&self) {
        self.child.signal(Signal::CONT);
    }

    /// Returns whether the process was started and has not been stopped by the test.
    #[must_use]
    pub const fn is_started(&self) -> bool {
        self.child.is_started()
    }

    /// Returns a client with a connection of its own.
    #[must_use]
    pub fn client(&self) -> Client {
        Client::new(self.http_address())
    }

    /// Sends a request over a new connection.
    ///
    /// # Panics
    ///
    /// There is no answer.
    pub async fn send(&self, request: &Request) -> Response {
        match self.client().send(request).await {
            Ok(response) => response,
            Err(failure) => panic!("{request} at {}: {failure}", self.name),
        }
    }

    /// Sends a `GET`; see [`Self::send`].
    pub async fn get(&self, target: &str) -> Response {
        self.send(&Request::get(target)).await
    }

    /// Sends a `PUT`; see [`Self::send`].
    pub async fn put(&self, target: &str, body: &str) -> Response {
        self.send(&Request::put(target, body)).await
    }

    /// Sends a `POST`; see [`Self::send`].
    pub async fn post(&self, target: &str, body: &str) -> Response {
        self.send(&Request::post(target, body)).await
    }

    /// Sends a `DELETE`; see [`Self::send`].
    pub async fn delete(&self, target: &str) -> Response {
        self.send(&Request::delete(target)).await
    }

    /// Sends a `GET` that may fail, and waits only briefly.
    ///
    /// # Errors
    ///
    /// There is no answer.
    pub async fn try_get(&self, target: &str) -> Result<Response, Failure> {
        let mut client = self.client().with_timeout(STATUS_WITHIN);
        client.send(&Request::get(target)).await
    }

    /// Returns `/api/status`.
    ///
    /// # Errors
    ///
    /// What came instead.
    pub async fn try_status(&self) -> Result<Value, String> {
        match self.try_get("/api/status").await {
            Ok(response) if response.status == 200 => Ok(response.json()),
            Ok(response) => Err(format!("{}: {response:?}", self.name)),
            Err(failure) => Err(format!("{}: {failure}", self.name)),
        }
    }

    /// Returns `/api/status`.
    ///
    /// # Panics
    ///
    /// The node does not answer.
    pub async fn status(&self) -> Value {
        self.try_status()
            .await
            .unwrap_or_else(|seen| panic!("status of {seen}"))
    }

    /// Returns a number of `/api/status`.
    ///
    /// # Panics
    ///
    /// The node does not answer, or there is no such number.
    pub async fn status_number(&self, field: &str) -> u64 {
        let status = self.status().await;
        status[field]
            .as_u64()
            .unwrap_or_else(|| panic!("no number `{field}` in {status}"))
    }

    /// Returns the process' resident memory.
    ///
    /// # Panics
    ///
    /// The process is down.
    #[must_use]
    pub fn resident_bytes(&self) -> u64 {
        let bytes = usage::resident_bytes(self.process_id());
        bytes.unwrap_or_else(|| panic!("no VmRSS of {}", self.name))
    }

    /// Returns the number of the process.
    ///
    /// # Panics
    ///
    /// The process is down.
    #[must_use]
    pub fn process_id(&self) -> u32 {
        self.child.pid().as_raw_nonzero().get().unsigned_abs()
    }

    /// Returns the scheduler's letter for the state of each thread.
    ///
    /// # Panics
    ///
    /// The process is down.
    pub(crate) fn thread_states(&self) -> Vec<char> {
        let folder = format!("/proc/{}/task", self.child.pid().as_raw_nonzero());
        let tasks = fs::read_dir(&folder).expect("the threads of a process");
        // A thread that has ended meanwhile has no state.
        let states = tasks.flatten().filter_map(|task| {
            let text = fs::read_to_string(task.path().join("stat")).ok()?;
            // The name before it may hold anything.
            text.rsplit_once(") ")?.1.chars().next()
        });
        states.collect()
    }

    /// Returns what the process wrote to stderr, all starts together.
    #[must_use]
    pub fn stderr(&self) -> String {
        self.child.stderr()
    }

    /// Returns the end of both outputs.
    #[must_use]
    pub fn log_tail(&self) -> String {
        self.child.log_tail()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}
