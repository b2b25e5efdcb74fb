//! The one integration-test binary: a bench, and flat test files beside it.

mod bench;
