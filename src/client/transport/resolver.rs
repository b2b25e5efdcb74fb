//! Looking names up: in a thread of its own, since the C library's way of doing it blocks.
//!
//! Left to itself, hyper-util has tokio start that thread, which panics where the system allows no further one (`ulimit -u`),
//! and whatever kept a service registered would be lost with it. Here that is an attempt that failed.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::thread;
use std::vec::IntoIter;

use hyper_util::client::legacy::connect::dns::Name;
use tokio::sync::oneshot;
use tower_service::Service;

#[derive(Clone)]
pub(super) struct Resolver;

impl Service<Name> for Resolver {
    type Response = IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        Box::pin(look_up(name.as_str().to_owned()))
    }
}

async fn look_up(name: String) -> io::Result<IntoIter<SocketAddr>> {
    let (tell, told) = oneshot::channel();
    // The port is the URL's, which is put in later.
    let work = move || drop(tell.send((name, 0).to_socket_addrs()));
    thread::Builder::new().name("lookup".to_owned()).spawn(work).map_err(|error| {
        io::Error::new(error.kind(), format!("no thread to look the name up: {error}; see ulimit -u"))
    })?;
    told.await.map_err(io::Error::other)?
}
