//! A web server that is found through the registry: it registers itself with its ip, port and version, heartbeats
//! while it runs, registers again when the registry has lost it, and takes itself out on ctrl-c.
//!
//! ```text
//! cargo run --release --bin service-registry -- serve --in-memory
//! cargo run --example web_server -- http://127.0.0.1:7117
//! curl 'http://127.0.0.1:7117/v1.0/services?tag=web'
//! ```

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use service_registry::client::{self, Client, ServicePayload, backoff};
use service_registry::wire::Metadata;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

const SERVICE_ID: &str = "example-web0";
/// Seconds without a heartbeat after which the registry takes this server for dead.
const HEARTBEAT_TIMEOUT: u32 = 15;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let registry = std::env::args().nth(1).unwrap_or_else(|| "http://127.0.0.1:7117".to_owned());
    let client = Client::builder().registry_url(&registry).build()?;

    let ip = own_address(&client)?;
    let listener = TcpListener::bind((ip, 0)).await?;
    let address = listener.local_addr()?;
    let metadata =
        [("ip", ip.to_string()), ("port", address.port().to_string()), ("version", env!("CARGO_PKG_VERSION").into())];
    let metadata: Metadata = metadata.map(|(key, value)| (key.to_owned(), value)).into();
    let payload = ServicePayload { tags: vec!["web".to_owned()], metadata };

    let (here, session) = watch::channel(None);
    let registration = tokio::spawn(stay_registered(client.clone(), payload, here));
    println!("listening on http://{address}");
    let router = Router::new().route("/", get(|| async { "found\n" }));
    axum::serve(listener, router).with_graceful_shutdown(interrupted()).await?;

    registration.abort();
    // Nobody should be sent here any more; if the registry does not answer, expiry sees to it.
    let session = session.borrow().clone();
    if let Some(session) = session {
        // By its session: the service of that name may be another server's, while this one waits for its place.
        let _ = timeout(Duration::from_secs(2), client.sessions().remove(&session)).await;
    }
    Ok(())
}

/// Registers, and registers again whenever the registry has lost the session or could not be reached.
async fn stay_registered(client: Client, payload: ServicePayload, session: watch::Sender<Option<String>>) {
    let mut failures = 0;
    loop {
        let lost = register(&client, &payload, &session, &mut failures).await;
        eprintln!("not registered, will try again: {lost}");
        sleep(backoff(failures, Duration::from_secs(5), fastrand::f64())).await;
        failures += 1;
    }
}

/// Returns when the session is lost, or could not be had in the first place.
async fn register(
    client: &Client,
    payload: &ServicePayload,
    here: &watch::Sender<Option<String>>,
    failures: &mut u32,
) -> client::Error {
    let mut session = match client.sessions().create(HEARTBEAT_TIMEOUT, &Metadata::new()).await {
        Ok(session) => session,
        Err(error) => return error,
    };
    here.send_replace(Some(session.id.clone()));
    session.heartbeater.start(); // before registering, which may have to wait until a predecessor has expired
    if let Err(error) = client.services().register(&session.id, SERVICE_ID, payload).await {
        return error;
    }
    println!("registered {SERVICE_ID} at {}", client.registry_url());
    *failures = 0;
    session.heartbeater.lost().await
}

/// The address of this machine as the registry sees it. Nothing is sent: connecting a UDP socket only picks a route.
fn own_address(client: &Client) -> Result<IpAddr, Box<dyn Error>> {
    let registry = *client.registry_url().socket_addrs(|| None)?.first().ok_or("the registry's name has no address")?;
    let any: IpAddr = if registry.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(registry)?;
    Ok(socket.local_addr()?.ip())
}

async fn interrupted() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await; // no handler, no graceful end
    }
}
