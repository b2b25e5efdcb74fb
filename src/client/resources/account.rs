//! The account: its limits.

use crate::client::transport::Call;
use crate::client::{Client, Error};
use crate::wire::Limits;

/// The account; from [`Client::account`].
#[derive(Clone, Copy, Debug)]
pub struct Account<'a> {
    pub(crate) client: &'a Client,
}

impl Client {
    /// The account: its limits.
    #[must_use]
    pub fn account(&self) -> Account<'_> {
        Account { client: self }
    }
}

impl Account<'_> {
    /// Returns the limits of the account.
    ///
    /// # Errors
    ///
    /// Any [`Error`].
    pub async fn limits(self) -> Result<Limits, Error> {
        self.client.send(Call::get(&["limits"])).await?.json()
    }
}
