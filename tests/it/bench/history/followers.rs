//! Clients that follow the feed of an account at one node: by long polls, or by a stream.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

use super::caller::{Caller, With};
use super::line::Line;
use super::log::{Call, Entry, Outcome};
use super::world::World;

/// Seconds of a long poll.
const WAIT: u64 = 4;
/// Without a comment or an event for so long, a stream is given up. The registry sends a comment every 15 seconds.
const SILENCE: Duration = Duration::from_secs(25);

pub fn follow(world: &World, node: usize, account: usize) {
    let mut caller = Caller::new(world, node);
    let mut marker = world.accounts[account].marker.clone();
    while !world.is_over() {
        let call = Call::Events { marker: marker.clone(), is_repeated: false };
        let with = With { wait: WAIT, ..With::default() };
        let said = caller.ask_with(account, call, with, Duration::from_secs(WAIT + 25));
        match said.next_marker {
            Some(next) if matches!(said.outcome, Outcome::Events(_)) => marker = next,
            _ => world.pause(0.2),
        }
    }
}

/// The account of the node's number, if there is one.
pub fn stream(world: &World, node: usize) {
    let Some(account) = world.accounts.get(node) else { return };
    let mut marker = account.marker.clone();
    while !world.is_over() {
        let path = format!("{}/events?extended=true&marker={marker}", account.root);
        let opened = Line::new(world.nodes[node]).stream(&path, &account.token, SILENCE);
        if let Some(connection) = opened {
            read(world, node, connection, &mut marker);
        }
        world.pause(0.2);
    }
}

/// Notes each event until the stream ends.
fn read(world: &World, node: usize, mut connection: BufReader<TcpStream>, marker: &mut String) {
    let (mut text, mut id) = (Vec::new(), None);
    while !world.is_over() && read_chunk(&mut connection, &mut text).is_some() {
        while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = text.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            if let Some(data) = line.strip_prefix("data: ") {
                let event: Value = serde_json::from_str(data).unwrap_or_else(|error| panic!("{error}: {data}"));
                let (now, call) = (world.now(), Call::Stream { marker: marker.clone() });
                let outcome = Outcome::Events(vec![event]);
                world.note(Entry { node, account: node, asked: now, answered: now, call, outcome });
            }
            id = line.strip_prefix("id: ").map(str::to_owned).or(id);
            // An empty line ends a block; only then is its id the position.
            if line.is_empty()
                && let Some(id) = id.take()
            {
                *marker = id;
            }
        }
    }
}

/// Adds a chunk to the text. None at the end, in good order or not.
fn read_chunk(connection: &mut BufReader<TcpStream>, text: &mut Vec<u8>) -> Option<()> {
    let mut size = String::new();
    connection.read_line(&mut size).ok()?;
    let size = usize::from_str_radix(size.trim(), 16).ok().filter(|size| *size > 0)?;
    let mut chunk = vec![0; size + 2];
    connection.read_exact(&mut chunk).ok()?;
    text.extend_from_slice(&chunk[..size]);
    Some(())
}
