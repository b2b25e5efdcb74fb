#![expect(missing_docs)]
fn main() {}
