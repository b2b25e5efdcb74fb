//! Configuration values: short texts under a key, or under `/namespace/.../key`.

use serde_json::json;

use crate::client::transport::Call;
use crate::client::{Client, Error, ListOptions};
use crate::wire::{ConfigurationValue, Page};

/// The configuration of the account; from [`Client::configuration`].
#[derive(Clone, Copy, Debug)]
pub struct Configuration<'a> {
    pub(crate) client: &'a Client,
}

impl Client {
    /// Configuration values.
    #[must_use]
    pub fn configuration(&self) -> Configuration<'_> {
        Configuration { client: self }
    }
}

impl Configuration<'_> {
    /// Returns one page of all values, by id.
    ///
    /// # Errors
    ///
    /// Any [`Error`].
    pub async fn list(self, options: &ListOptions) -> Result<Page<ConfigurationValue>, Error> {
        Ok(self.client.page(&["configuration"], options.query()).await?.0)
    }

    /// Returns all values, by id.
    ///
    /// # Errors
    ///
    /// Any [`Error`].
    pub async fn list_all(self) -> Result<Vec<ConfigurationValue>, Error> {
        self.client.all_pages(&["configuration"], &[]).await
    }

    /// Returns one page of the values in a namespace (`/production/db`; the slashes at its ends may be omitted) and in
    /// those below it. Empty if there is no such namespace.
    ///
    /// # Errors
    ///
    /// Any [`Error`].
    pub async fn list_for_namespace(
        self,
        namespace: &str,
        options: &ListOptions,
    ) -> Result<Page<ConfigurationValue>, Error> {
        Ok(self.client.page(&namespace_path(namespace)?, options.query()).await?.0)
    }

    /// Returns all values in a namespace and in those below it.
    ///
    /// # Errors
    ///
    /// Any [`Error`].
    pub async fn list_all_for_namespace(self, namespace: &str) -> Result<Vec<ConfigurationValue>, Error> {
        self.client.all_pages(&namespace_path(namespace)?, &[]).await
    }

    /// Returns the value of a key.
    ///
    /// # Errors
    ///
    /// Any [`Error`]; [`is_not_found`](Error::is_not_found) if it does not exist.
    pub async fn get(self, id: &str) -> Result<String, Error> {
        let value: ConfigurationValue = self.client.send(Call::get(&value_path(id)?)).await?.json()?;
        Ok(value.value)
    }

    /// Creates or replaces a value of 1 to 1024 characters.
    ///
    /// # Errors
    ///
    /// Any [`Error`]; of faults, `badRequest` for an invalid id or value, and `limitReached`.
    pub async fn set(self, id: &str, value: &str) -> Result<(), Error> {
        self.client.send(Call::put(&value_path(id)?).json(&json!({"value": value}))?).await?;
        Ok(())
    }

    /// Removes a value.
    ///
    /// # Errors
    ///
    /// Any [`Error`]; [`is_not_found`](Error::is_not_found) if it does not exist.
    pub async fn remove(self, id: &str) -> Result<(), Error> {
        self.client.send(Call::delete(&value_path(id)?)).await?;
        Ok(())
    }
}

/// `/ns/key` is sent as `configuration//ns/key`, as by every client of this API.
fn value_path(id: &str) -> Result<Vec<&str>, Error> {
    if id.is_empty() || id.ends_with('/') {
        return Err(Error::invalid("a configuration id is a key or /namespace/key, and does not end in a slash"));
    }
    Ok(["configuration"].into_iter().chain(id.split('/')).collect())
}

/// A namespace is sent with one slash before and one after it.
fn namespace_path(namespace: &str) -> Result<Vec<&str>, Error> {
    let namespace = namespace.trim_matches('/');
    if namespace.is_empty() {
        return Err(Error::invalid("the namespace is empty; list all values instead"));
    }
    Ok(["configuration"].into_iter().chain(namespace.split('/')).chain([""]).collect())
}
