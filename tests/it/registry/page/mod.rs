//! The page for people, in a real browser.

mod access;
mod accessibility;
mod changes;
mod shows;
