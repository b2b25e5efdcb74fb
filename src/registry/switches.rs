//! Switches that turn a rule off, so that tests can be seen to notice. They exist in builds with debug assertions only.

/// Names the rules that are off, separated by ','.
#[cfg(debug_assertions)]
const VARIABLE: &str = "SERVICE_REGISTRY_TEST_DISABLE";

#[cfg(debug_assertions)]
pub(in crate::registry) fn is_switched_off(rule: &str) -> bool {
    use std::sync::OnceLock;

    static OFF: OnceLock<String> = OnceLock::new();
    let off = OFF.get_or_init(|| std::env::var(VARIABLE).unwrap_or_default());
    off.split(',').any(|name| name == rule)
}

#[cfg(not(debug_assertions))]
pub(in crate::registry) const fn is_switched_off(_: &str) -> bool {
    false
}
