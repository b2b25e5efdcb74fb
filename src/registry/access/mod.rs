//! Access: users, logins, tokens, quotas and rate limits.
//!
//! In reading order: `users` reads the users file; `authenticator` decides on logins and tokens; `password_hash` checks
//! keys; `login_throttle`, `turns` and `waiting` bound what failed logins cost; `quotas` and `rate_limit` are the
//! limits of an account.

mod authenticator;
mod login_throttle;
mod password_hash;
mod quotas;
mod rate_limit;
mod turns;
mod users;
mod waiting;

pub(crate) use authenticator::{
    Admission, Authenticator, BAD_LOGIN, Credentials, Login, OPEN_TENANT_ID, Proof, TOO_MANY_LOGINS, TenantClaim,
};
pub(crate) use login_throttle::{Attempt, LoginThrottle, Verdict};
pub use password_hash::hash_key;
pub(crate) use quotas::{Quotas, Rate};
pub(crate) use rate_limit::{RateLimiter, Usage};
pub(crate) use turns::Lane;
pub(crate) use users::Role;
pub use users::Users;
pub(crate) use waiting::{Place, Waiting};
