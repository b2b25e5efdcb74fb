//! The connection of a command to the registries that its options, the variables and the configuration files name.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, anyhow};
use service_registry::client::{Client, DEFAULT_REQUEST_TIMEOUT, Error};
use service_registry::connection::{ConfigFiles, Origins, RegistryOptions, cure};

use crate::exit::Failure;

/// The registries, of which one is asked.
pub(super) struct Connection {
    clients: Vec<Client>,
    current: AtomicUsize,
    has_url: bool,
}

impl Connection {
    /// Reads what the options leave open from the configuration files, and makes a client for each registry. Nothing is
    /// sent.
    pub(super) fn open(options: RegistryOptions, origins: Origins) -> Result<Self, Failure> {
        Self::with_limit(options, origins, DEFAULT_REQUEST_TIMEOUT)
    }

    /// The same, with a time limit for each request.
    pub(super) fn with_limit(
        mut options: RegistryOptions,
        mut origins: Origins,
        limit: Duration,
    ) -> Result<Self, Failure> {
        options.keep_key();
        options.settle_rivals(&origins);
        let files = ConfigFiles::read().map_err(Failure::usage)?;
        files.check_skipped().map_err(Failure::usage)?;
        files.complete(&mut options, &mut origins).map_err(Failure::usage)?;
        let mut warnings = Vec::new();
        let access = options.access(&origins, limit, &mut warnings).map_err(Failure::usage)?;
        warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
        let key = access.key().map_err(|error| Failure::usage(error.context(origins.name("api_key_file"))))?;
        let clients = access.clients(key.as_ref()).map_err(|error| {
            let option = origins.name(RegistryOptions::option_of(&error));
            Failure::usage(anyhow!(error).context(option))
        })?;
        Ok(Self { clients, current: AtomicUsize::new(0), has_url: !access.urls.is_empty() })
    }

    /// Returns the client of the registry that answered last.
    pub(super) fn client(&self) -> &Client {
        &self.clients[self.current.load(Ordering::Relaxed)]
    }

    /// Sends a request; if a registry does not answer, to the next one.
    pub(super) async fn ask<'a, T>(
        &'a self,
        request: impl AsyncFn(&'a Client) -> Result<T, Error>,
    ) -> Result<T, Failure> {
        let mut left = self.clients.len();
        loop {
            let error = match request(self.client()).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            left -= 1;
            if left == 0 || !self.fail_over(&error) {
                return Err(self.failure(&error));
            }
            tracing::warn!("{error}; asking the next registry");
        }
    }

    /// Moves to the next registry if this one does not answer, and there is another one.
    pub(super) fn fail_over(&self, error: &Error) -> bool {
        let is_silent = error.is_retryable() && error.status().is_none_or(|status| status >= 500);
        if is_silent {
            self.current.store((self.current.load(Ordering::Relaxed) + 1) % self.clients.len(), Ordering::Relaxed);
        }
        is_silent && self.clients.len() > 1
    }

    /// Returns whether there is another registry to ask.
    pub(super) fn has_several(&self) -> bool {
        self.clients.len() > 1
    }

    /// Returns the failure of a command whose request had this error.
    pub(super) fn failure(&self, error: &Error) -> Failure {
        let hint = if !self.has_url && error.is_connect() {
            "; no --registry-url was given, so this machine was asked (in a container: this container only)"
        } else {
            cure(error)
        };
        Failure::of_request(error, hint)
    }
}

/// Runs a command that sends requests, on one thread.
pub(super) fn block_on<T>(command: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the event loop")?;
    runtime.block_on(command)
}
