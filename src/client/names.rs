//! Looking names up: in a thread of its own, since the C library's way of doing it blocks.
//!
//! Left to itself, reqwest has tokio start that thread, which panics where the system allows no further one (`ulimit -u`),
//! and whatever kept a service registered would be lost with it. Here that is an attempt that failed.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::thread;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::oneshot;

pub(crate) struct Names;

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move { Ok(Box::new(look_up(name.as_str().to_owned()).await?) as Addrs) })
    }
}

async fn look_up(name: String) -> io::Result<std::vec::IntoIter<SocketAddr>> {
    let (tell, told) = oneshot::channel();
    // The port is the URL's, which is put in later.
    let work = move || drop(tell.send((name, 0).to_socket_addrs()));
    thread::Builder::new().name("lookup".to_owned()).spawn(work).map_err(|error| {
        io::Error::new(error.kind(), format!("no thread to look the name up: {error}; see ulimit -u"))
    })?;
    told.await.map_err(io::Error::other)?
}
