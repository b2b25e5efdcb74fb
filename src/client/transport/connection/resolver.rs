//! Looks names up in a thread of its own, since the C library's function blocks.
//!
//! By default, hyper-util has tokio start that thread, which panics where the system allows no further one (`ulimit
//! -u`), and would end the task that keeps a service registered. Here such an attempt fails.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::thread;

use tokio::sync::oneshot;

/// Returns the addresses of a name, in the order that the system prefers.
pub(super) async fn look_up(name: String, port: u16) -> io::Result<Vec<SocketAddr>> {
    let (tell, told) = oneshot::channel();
    let work = move || drop(tell.send((name, port).to_socket_addrs().map(Iterator::collect)));
    thread::Builder::new().name("lookup".to_owned()).spawn(work).map_err(|error| {
        io::Error::new(error.kind(), format!("no thread to look the name up: {error}; see ulimit -u"))
    })?;
    told.await.map_err(io::Error::other)?
}
