//! The content of the feed: who did what and why, the types that are listed on request, and that the feed tells
//! everything.

mod attribution;
mod extended;
mod history;
mod kept;
