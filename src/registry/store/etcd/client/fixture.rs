//! Members of a real etcd for tests.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::{EtcdClient, EtcdConfig};

/// A running member, whose data goes with it.
pub(in crate::registry) struct Etcd {
    child: Child,
    pub(in crate::registry) url: String,
    config: EtcdConfig,
    _folder: tempfile::TempDir,
}

/// The addresses that a member will have.
struct Place {
    url: String,
    peer: String,
}

impl Etcd {
    /// Starts one, and waits until it answers. None if etcd is not installed.
    pub(in crate::registry) async fn start(options: &[&str]) -> Option<Self> {
        Self::start_all(1, options, &plain()).await?.pop()
    }

    /// Starts the members of a cluster.
    pub(in crate::registry) async fn start_cluster(members: usize) -> Option<Vec<Self>> {
        Self::start_all(members, &[], &plain()).await
    }

    /// Starts one that is reached by TLS. The options name its files.
    pub(super) async fn start_tls(options: &[&str], config: &EtcdConfig) -> Option<Self> {
        Self::start_all(1, options, config).await?.pop()
    }

    async fn start_all(members: usize, options: &[&str], config: &EtcdConfig) -> Option<Vec<Self>> {
        for _ in 0..5 {
            let places = places(members, if config.ca.is_some() { "https" } else { "http" });
            let cluster: Vec<_> =
                places.iter().enumerate().map(|(at, place)| format!("m{at}={}", place.peer)).collect();
            let start = |(at, place)| Self::spawn(&format!("m{at}"), place, &cluster.join(","), options, config);
            let started = places.into_iter().enumerate().map(start).collect::<Option<Vec<_>>>();
            let Some(mut started) = started else {
                eprintln!("skipped: etcd is not installed: apt-get install etcd-server");
                return None;
            };
            let mut answer = true;
            for etcd in &mut started {
                answer = answer && etcd.answers().await;
            }
            if answer {
                return Some(started);
            } // another process has taken one of the ports
        }
        panic!("etcd does not start");
    }

    fn spawn(name: &str, place: Place, cluster: &str, options: &[&str], config: &EtcdConfig) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let Place { url, peer } = place;
        let started = Command::new("etcd")
            .args(["--name", name, "--initial-cluster", cluster, "--data-dir"])
            .arg(folder.path().join("data"))
            .args(["--listen-client-urls", &url, "--advertise-client-urls", &url])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(options)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let config = EtcdConfig { endpoints: vec![url.clone()], ..config.clone() };
        Some(Self { child: started.ok()?, url, config, _folder: folder })
    }

    #[expect(clippy::disallowed_methods, reason = "its own child, in a program without a supervisor")]
    async fn answers(&mut self) -> bool {
        let (client, start) = (self.client(), Instant::now());
        while start.elapsed() < Duration::from_secs(30) && self.child.try_wait().unwrap().is_none() {
            if client.get(b"x").await.is_ok() {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(20)).await; // between two looks
        }
        false
    }

    pub(in crate::registry) fn config(&self) -> EtcdConfig {
        self.config.clone()
    }

    pub(in crate::registry) fn client(&self) -> EtcdClient {
        EtcdClient::new(&self.config()).unwrap()
    }

    /// Sends it a signal, by the name of it.
    pub(in crate::registry) fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.child.id().to_string()]).status();
        assert!(sent.unwrap().success());
    }
}

impl Drop for Etcd {
    #[expect(clippy::disallowed_methods, reason = "its own child, in a program without a supervisor")]
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns addresses that are free.
fn places(members: usize, scheme: &str) -> Vec<Place> {
    let free = || TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let listeners: Vec<_> = (0..members).map(|_| (free(), free())).collect();
    let place = |(client, peer): &(TcpListener, TcpListener)| {
        let [client, peer] = [client, peer].map(|listener| listener.local_addr().unwrap());
        Place { url: format!("{scheme}://{client}"), peer: format!("http://{peer}") }
    };
    listeners.iter().map(place).collect()
}

fn plain() -> EtcdConfig {
    EtcdConfig {
        endpoints: Vec::new(),
        prefix: "/service-registry/".to_owned(),
        user: None,
        ca: None,
        identity: None,
        quota: 2 << 30,
    }
}
