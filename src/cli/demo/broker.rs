//! An MQTT broker inside the demo, so that the demo needs no other. A real line has its own broker.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context;
use rumqttd::{Broker, Config, ConnectionSettings, Notification, RouterConfig, ServerSettings};

/// A broker on the loopback interface, for as long as the process lives.
pub(super) struct EmbeddedBroker {
    port: u16,
    verdicts: Arc<AtomicU64>,
}

impl EmbeddedBroker {
    /// Starts on `port`, or on a free one if that is taken.
    pub(super) fn start(port: u16) -> anyhow::Result<Self> {
        let free = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
        // Closed again at once, because the broker opens the port.
        let port = free(port)
            .or_else(|_| free(0))
            .and_then(|listener| listener.local_addr())
            .context("a free port")?
            .port();
        let mut broker = Broker::new(settings(port));
        let verdicts = Arc::new(AtomicU64::new(0));
        let (mut subscribe, mut messages) = broker.link("demo").context("embedded broker")?;
        subscribe.subscribe("+/+/+/+/verdict").context("embedded broker")?;
        let counted = Arc::clone(&verdicts);
        std::thread::Builder::new().name("demo-subscriber".to_owned()).spawn(move || {
            while let Ok(message) = messages.recv() {
                if let Some(Notification::Forward(_)) = message {
                    counted.fetch_add(1, Ordering::Relaxed);
                }
            }
        })?;
        std::thread::Builder::new().name("demo-broker".to_owned()).spawn(move || {
            if let Err(error) = broker.start() {
                tracing::error!("embedded broker: {error}");
            }
            // The link lives as long as the broker.
            drop(subscribe);
        })?;
        Ok(Self { port, verdicts })
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// How many verdicts a subscriber has received.
    pub(super) fn verdicts(&self) -> u64 {
        self.verdicts.load(Ordering::Relaxed)
    }
}

fn settings(port: u16) -> Config {
    let server = ServerSettings {
        name: "demo".to_owned(),
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
        tls: None,
        next_connection_delay_ms: 1,
        connections: ConnectionSettings {
            connection_timeout_ms: 5000,
            max_payload_size: 1 << 20,
            max_inflight_count: 100,
            auth: None,
            external_auth: None,
            dynamic_filters: true,
        },
    };
    Config {
        router: RouterConfig {
            max_connections: 32,
            max_outgoing_packet_count: 200,
            max_segment_size: 1 << 20,
            max_segment_count: 10,
            ..RouterConfig::default()
        },
        v4: Some([("demo".to_owned(), server)].into()),
        ..Config::default()
    }
}
