//! Services in a registry, and `service-registry` as a client of it.

use serde_json::{Value, json};

use super::commands;
pub use super::commands::command;
use super::users::address;
use super::{Client, Registry};

/// Runs a command of `service-registry` that asks this registry; returns its status, stdout and stderr.
pub fn run(url: &str, arguments: &[&str]) -> (Option<i32>, String, String) {
    let (code, stdout, stderr) = commands::run(&mut command(url, arguments));
    (Some(code), stdout, stderr)
}

/// Services of one session, which lives for two minutes.
pub struct Fleet {
    client: Client,
    session: String,
}

impl Fleet {
    pub fn of(registry: &Registry) -> Self {
        let mut client = Client::new(address(registry));
        let (session, _) = client.create("/sessions", json!({"heartbeat_timeout": 120}));
        Self { client, session }
    }

    pub fn add(&mut self, id: &str, tags: &[&str], metadata: Value) {
        let service = json!({"id": id, "session_id": self.session, "tags": tags, "metadata": metadata});
        let answer = self.client.post("/services", service);
        assert_eq!(answer.status, 201, "{answer:?}");
    }

    pub fn change(&mut self, id: &str, metadata: Value) {
        let answer = self.client.put(&format!("/services/{id}"), json!({ "metadata": metadata }));
        assert_eq!(answer.status, 204, "{answer:?}");
    }

    pub fn remove(&mut self, id: &str) {
        assert_eq!(self.client.delete(&format!("/services/{id}")).status, 204);
    }
}
