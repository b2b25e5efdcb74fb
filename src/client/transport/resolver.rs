//! Looks names up in a thread of its own, since the C library's function blocks.
//!
//! By default, hyper-util has tokio start that thread, which panics where the system allows no further one (`ulimit
//! -u`), and would end the task that keeps a service registered. Here such an attempt fails.

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
    // The port of the URL is set later.
    let work = move || drop(tell.send((name, 0).to_socket_addrs()));
    thread::Builder::new().name("lookup".to_owned()).spawn(work).map_err(|error| {
        io::Error::new(error.kind(), format!("no thread to look the name up: {error}; see ulimit -u"))
    })?;
    told.await.map_err(io::Error::other)?
}
