//! The body of a response: nearly always bytes that are there, sometimes a stream that lasts.

use std::fmt::{self, Debug, Formatter};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::stream::BoxStream;
use http_body_util::Full;
use hyper::body::{Body, Bytes, Frame, SizeHint};

use super::limit::Connection;

/// Pieces that are sent as they come. The next one is only made once the client has room for it. After an error the
/// connection is closed, so that the client sees that the end is missing.
pub(in crate::registry::http) type ByteStream = BoxStream<'static, io::Result<Bytes>>;

/// The body of a response.
pub(in crate::registry::http) enum ResponseBody {
    Full(Full<Bytes>),
    Stream { stream: ByteStream, request: Option<RequestUnderWay> },
}

/// A request whose response has begun: its connection is busy until this is dropped.
pub(in crate::registry::http) struct RequestUnderWay(Arc<Connection>);

impl Drop for RequestUnderWay {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl ResponseBody {
    /// Ends the request of this connection when the body ends; at once if the body is there.
    pub(super) fn end_request(&mut self, connection: &Arc<Connection>) {
        match self {
            Self::Full(_) => connection.end(),
            Self::Stream { request, .. } => *request = Some(RequestUnderWay(connection.clone())),
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match self.get_mut() {
            Self::Full(body) => Pin::new(body).poll_frame(cx).map_err(|never| match never {}),
            Self::Stream { stream, request } => {
                let next = stream.as_mut().poll_next(cx);
                if matches!(next, Poll::Ready(None)) {
                    *request = None;
                }
                next.map(|next| next.map(|bytes| bytes.map(Frame::data)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Full(body) => body.is_end_stream(),
            Self::Stream { .. } => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Full(body) => body.size_hint(),
            Self::Stream { .. } => SizeHint::default(),
        }
    }
}

impl Debug for ResponseBody {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseBody").finish_non_exhaustive()
    }
}
