//! A defect of the wrapper itself: debug builds panic on request (`WRAPPER_PANIC_AT`).

use nix::sys::signal::Signal;

use crate::bench::wrapper::service;
use crate::bench::{Registry, Running, child, get, wrapper};

#[test]
fn panic_while_the_child_runs_ends_it_in_order_and_exits_125() {
    let registry = Registry::start();
    let mut command = wrapper(&registry.url);
    command.env("WRAPPER_PANIC_AT", "signal").args(["--id=web0", "--stop-timeout=1", "python3"]);
    let mut wrapped = Running::start(command.arg(child("signals.py")));
    wrapped.ready();
    assert!(service(&registry, "web0").is_some());
    wrapped.signal(Signal::SIGUSR1);
    wrapped
        .line("this is a defect of the wrapper, please report it: panic at src/bin/service-registry-wrapper/supervise");
    wrapped.line("got 15");
    assert_eq!(wrapped.end().code(), Some(125));
    let said = wrapped.said_to_the_end();
    assert!(said.contains("withdrawn from the registry") && !said.contains("thread 'main'"), "{said}");
    assert!(service(&registry, "web0").is_none());
}

#[test]
fn panic_before_the_child_starts_withdraws_and_exits_125() {
    let registry = Registry::start();
    let mut command = wrapper(&registry.url);
    command.env("WRAPPER_PANIC_AT", "start").args(["--id=web0", "echo", "the child ran"]);
    let mut wrapped = Running::start(&mut command);
    assert_eq!(wrapped.end().code(), Some(125));
    let said = wrapped.said_to_the_end();
    assert!(said.contains("please report it") && !said.contains("the child ran"), "{said}");
    assert_eq!(get(&registry.url, "/v1.0/sessions").unwrap().1["metadata"]["count"], 0);
}
