//! Connections: TCP to one of the addresses of a name, proxies, TLS, and the bound of what is read.
//!
//! In reading order: `http` sends requests; `connector` opens a connection for it, through the proxies of `proxy`;
//! `tcp` connects to one of the addresses that `resolver` finds; `tls` reads certificates; `bound` limits what a
//! registry may send.

mod bound;
mod connector;
mod http;
mod proxy;
mod resolver;
mod tcp;
mod tls;

pub(crate) use bound::{Bound, TooMuch};
pub(crate) use http::Http;
pub(crate) use http::root_cause;
pub(crate) use tls::TlsFiles;
