//! On a terminal, under a shell, everything is as without the wrapper.

use crate::bench::{Running, child, clean, need};

#[test]
fn session_on_a_terminal_is_the_same_with_and_without_the_wrapper() {
    ["bash", "python3", "pkill", "ps"].into_iter().for_each(need);
    let wrapper = env!("CARGO_BIN_EXE_service-registry-wrapper");
    let wrapped = [wrapper, "-qq", "--id=web0", "--registry-url=http://127.0.0.1:1"];
    let in_one_group = [&wrapped[..], &["--signal-scope=child"]].concat();
    for before in [&[][..], &wrapped, &in_one_group] {
        let mut command = clean("python3");
        let mut session = Running::start(command.arg(child("terminal.py")).arg(child("signals.py")).args(before));
        session.line("all is well");
    }
}
