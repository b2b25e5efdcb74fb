//! `service-registry status`, `maintenance` and `update`: requests to running wrappers, over their status sockets.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write, stdout};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use service_registry::control::{self, LONGEST_REPLY, Request, default_socket, socket_folders};

use crate::exit::Failure;

/// The wrapper to ask.
#[derive(Args, Debug)]
pub(crate) struct Wrapper {
    /// The service id of the wrapper
    pub(crate) id: Option<String>,
    /// Without an id: the wrapper's --status-socket
    #[arg(long, value_name = "PATH", env = "SERVICE_REGISTRY_STATUS_SOCKET")]
    pub(crate) socket: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct Status {
    #[command(flatten)]
    pub(crate) wrapper: Wrapper,
    /// Form of the list of all wrappers
    #[arg(short, long, value_name = "FORM", default_value = "table")]
    pub(crate) output: Output,
}

/// The form of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// A table for people
    Table,
    /// A JSON array
    Json,
}

#[derive(Args, Debug)]
pub(crate) struct Maintenance {
    /// on: out of the registry; off: back into it
    pub(crate) switch: Switch,
    #[command(flatten)]
    pub(crate) wrapper: Wrapper,
    /// Why, for those who look at the state of the wrapper: at most 200 characters
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub(crate) reason: String,
}

#[derive(Args, Debug)]
pub(crate) struct Update {
    #[command(flatten)]
    pub(crate) wrapper: Wrapper,
    /// All tags, separated by ','; an empty value removes them
    #[arg(short, long, value_name = "TAG,...")]
    pub(crate) tags: Option<String>,
    /// The whole metadata, separated by ','; an empty value removes it
    #[arg(short, long, value_name = "KEY=VALUE,...")]
    pub(crate) metadata: Option<String>,
}

/// The state of maintenance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Switch {
    /// The service is kept out of the registry
    On,
    /// The service is in the registry
    Off,
}

/// The wrapper itself takes at most half of it.
const REPLY_LIMIT: Duration = Duration::from_secs(10);
/// For the list of all wrappers. They are asked at the same time.
const STATUS_LIMIT: Duration = Duration::from_secs(2);

/// Prints the state of one wrapper, or of all of this machine.
pub(crate) fn status(options: &Status) -> Result<(), Failure> {
    if options.wrapper.socket.is_some() || options.wrapper.id.is_some() {
        return tell(&options.wrapper, &Request::Status);
    }
    let asked: Vec<_> = sockets().into_iter().map(|socket| thread::spawn(move || state(&socket))).collect();
    let all: Vec<Value> = asked.into_iter().filter_map(|asked| asked.join().ok()?).collect();
    let text = match options.output {
        Output::Json => format!("{:#}\n", Value::Array(all)),
        Output::Table if all.is_empty() => {
            "no wrapper answers on this machine (root sees those of all users)\n".to_owned()
        }
        Output::Table => table(&all),
    };
    Ok(stdout().write_all(text.as_bytes()).context("writing to stdout")?)
}

pub(crate) fn maintenance(options: &Maintenance) -> Result<(), Failure> {
    let reason = control::reason(&options.reason).map_err(|error| Failure::usage(anyhow!("--reason: {error}")))?;
    let request = match options.switch {
        Switch::On => Request::MaintenanceOn(reason),
        Switch::Off => Request::MaintenanceOff,
    };
    tell(&options.wrapper, &request)
}

pub(crate) fn update(options: &Update) -> Result<(), Failure> {
    let request = control::Update { tags: options.tags.clone(), metadata: options.metadata.clone() };
    if request == control::Update::default() {
        return Err(Failure::usage(anyhow!("nothing to change: give --tags, --metadata, or both")));
    }
    tell(&options.wrapper, &Request::Update(request))
}

/// Sends a request to the wrapper that the options name, and prints the reply.
fn tell(wrapper: &Wrapper, request: &Request) -> Result<(), Failure> {
    let socket = match (&wrapper.id, &wrapper.socket) {
        (Some(id), _) => find(id)?,
        (None, Some(socket)) => socket.clone(),
        (None, None) => return Err(Failure::usage(anyhow!("which wrapper? Give its service id, or its --socket"))),
    };
    let reply = ask(&socket, request, REPLY_LIMIT)?;
    writeln!(stdout(), "{reply:#}").context("writing to stdout")?;
    match reply["error"].as_str() {
        Some(error) => Err(anyhow!("{error}").into()),
        None => Ok(()),
    }
}

/// Returns the state of the wrapper behind a socket; nothing if none listens there.
fn state(socket: &Path) -> Option<Value> {
    UnixStream::connect(socket).ok()?;
    let silent = || {
        let id = socket.file_stem().unwrap_or_default().to_string_lossy();
        json!({"id": id, "reason": "no reply; is the wrapper stopped?", "socket": socket})
    };
    Some(ask(socket, &Request::Status, STATUS_LIMIT).unwrap_or_else(|_| silent()))
}

fn ask(path: &Path, request: &Request, limit: Duration) -> Result<Value> {
    let named = || format!("socket {}; does the wrapper run, and listen there?", path.display());
    let mut socket = UnixStream::connect(path).with_context(named)?;
    socket.set_read_timeout(Some(limit)).with_context(named)?;
    writeln!(socket, "{request}").with_context(named)?;
    let mut line = String::new();
    let read = BufReader::new(socket.take(LONGEST_REPLY)).read_line(&mut line);
    if read.as_ref().is_err_and(|error| error.kind() == ErrorKind::WouldBlock) {
        let place = path.display();
        return Err(anyhow!("no reply within {limit:?} from socket {place}; is the wrapper stopped (ps, SIGCONT)?"));
    }
    read.with_context(named)?;
    serde_json::from_str(&line).with_context(named)
}

/// Returns the socket of the wrapper with this id.
fn find(id: &str) -> Result<PathBuf> {
    let name = format!("{id}.sock");
    let mut found = sockets();
    found.retain(|socket| socket.file_name().is_some_and(|file| file == name.as_str()));
    found.insert(0, default_socket(id)); // another user may have a wrapper with this id
    // A wrapper that was killed has left its socket.
    let answers = |socket: &&PathBuf| UnixStream::connect(socket).is_ok();
    let looked = || {
        let folders: Vec<String> = socket_folders().iter().map(|folder| folder.display().to_string()).collect();
        format!("no wrapper with the id {id} has a socket in {}; name one with --socket", folders.join(", "))
    };
    found.iter().find(answers).cloned().with_context(looked)
}

fn sockets() -> Vec<PathBuf> {
    let files = socket_folders().into_iter().filter_map(|folder| std::fs::read_dir(folder).ok()).flatten();
    let mut sockets: Vec<PathBuf> = files.filter_map(|file| Some(file.ok()?.path())).collect();
    sockets.retain(|path| path.extension().is_some_and(|extension| extension == "sock"));
    sockets.sort();
    sockets
}

fn table(all: &[Value]) -> String {
    // A socket of another user may reply with anything; control characters would reach the terminal.
    let text = |value: &Value| match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.chars().filter(|c| !c.is_control()).collect(),
        other => other.to_string(),
    };
    let row = |status: &Value| {
        let failing = if status["failures"].as_u64() > Some(0) { &status["last_error"] } else { &Value::Null };
        let state = match (&status["registered"], &status["reason"], failing) {
            (Value::Bool(true), _, Value::Null) => "registered".to_owned(),
            (Value::Bool(true), _, error) => format!("registered, but requests fail: {}", text(error)),
            (_, Value::Null, Value::Null) => "not registered".to_owned(),
            (_, Value::Null, error) => format!("not registered: {}", text(error)),
            (_, reason, _) => text(reason),
        };
        [&status["id"], &status["child_pid"], &status["registry"]].map(text).into_iter().chain([state]).collect()
    };
    let mut rows: Vec<Vec<String>> = vec![["ID", "PID", "REGISTRY", "STATE"].map(str::to_owned).to_vec()];
    rows.extend(all.iter().map(row));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths = [0, 1, 2].map(width);
    let line = |row: &Vec<String>| {
        let cells: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        format!("{}  {}\n", cells.join("  "), row[3])
    };
    rows.iter().map(line).collect()
}
