//! A station without camera and model: a real store, its thread and a pump, driven by the test.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use certiscope::testing::inspection::{Inspection, Parameters};
use certiscope::testing::publish::json_output::{JSON, encode};
use certiscope::testing::publish::{
    BrokerFault, BrokerSettings, Connection, Credentials, DeliveryTimes, Protocol, PublishContext, Pump,
    Timing, Topics,
};
use certiscope::testing::pulse::Pulse;
use certiscope::testing::status::testing::idle_station;
use certiscope::testing::status::{DeliveryTime, Status};
use certiscope::testing::store::{Backlog, Boot, Origin, Store, StoreError, StoreHandle, StoreThread};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::inspections::{inspection, parameters};
use super::subscriber::Key;
use super::wait_until;

pub(crate) struct Station {
    pub(crate) origin: Origin,
    pub(crate) status: watch::Sender<Arc<Status>>,
    delivery: DeliveryTimes,
    parameters: Arc<Parameters>,
    runtime: Runtime,
    thread: StoreThread,
    store: StoreHandle,
    connection: watch::Receiver<Connection>,
    shutdown: watch::Sender<bool>,
    pump: JoinHandle<Result<(), StoreError>>,
    made: u64,
}

/// The versions of MQTT that the agent supports.
pub(crate) const PROTOCOLS: [Protocol; 2] = [Protocol::V5, Protocol::V3];

/// Settings for a broker on `port` with this version of MQTT.
pub(crate) fn broker_in(protocol: Protocol, port: u16) -> BrokerSettings {
    BrokerSettings { protocol, ..broker_at(port, None) }
}

pub(crate) fn broker_at(port: u16, credentials: Option<(&str, &str)>) -> BrokerSettings {
    BrokerSettings {
        protocol: Protocol::V5,
        host: "127.0.0.1".to_owned(),
        port,
        credentials: credentials.map(|(username, password)| Credentials {
            username: username.to_owned(),
            password: password.to_owned(),
        }),
        client_id: "certiscope-st1".to_owned(),
        keep_alive_secs: 30,
        backlog_per_second: 10_000,
        retain: true,
    }
}

/// Short waits, so that a test sees many attempts.
pub(crate) fn timing() -> Timing {
    Timing {
        connect_limit: Duration::from_secs(1),
        acknowledge_limit: Duration::from_secs(2),
        drain_limit: Duration::from_secs(20),
        farewell_limit: Duration::from_secs(20),
        first_wait: Duration::from_millis(20),
        longest_wait: Duration::from_millis(100),
        steady_after: Duration::from_millis(500),
        subscribe_pause: Duration::from_secs(2),
        first_retry: Duration::from_millis(200),
        longest_retry: Duration::from_millis(800),
    }
}

impl Station {
    /// Starts a station with the inspection log in `folder`, as a new boot.
    pub(crate) fn start(folder: &Path, broker: BrokerSettings) -> Self {
        Self::start_with(folder, broker, timing())
    }

    pub(crate) fn start_with(folder: &Path, broker: BrokerSettings, timing: Timing) -> Self {
        Self::start_named("st1", folder, broker, timing)
    }

    pub(crate) fn start_named(name: &str, folder: &Path, broker: BrokerSettings, timing: Timing) -> Self {
        let parameters = Arc::new(parameters());
        let origin = Origin { boot_id: Uuid::new_v4(), station: name.into() };
        let mut store = Store::open(&folder.join("log.sqlite")).unwrap();
        let boot = Boot {
            started_at: jiff::Timestamp::now(),
            version: "0.1.0",
            configuration: "[[station]]",
            bundle_folder: Path::new("/bundles/made-up"),
            parameters: &parameters,
        };
        store.begin(&origin, &boot).unwrap();
        let (thread, store) = StoreThread::start(store).unwrap();
        let (status, statuses) = watch::channel(Arc::new(idle_station()));
        let (connections, connection) = watch::channel(Connection::Starting);
        let (shutdown, asked) = watch::channel(false);
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let delivery = DeliveryTimes::default();
        let context = PublishContext {
            broker,
            topics: Topics::new("certiscope", "site", "line", name).unwrap(),
            origin: origin.clone(),
            timing,
            store: store.clone(),
            status: statuses,
            connection: connections,
            commands: None,
            outbox: watch::channel(Backlog::default()).0,
            delivery: delivery.clone(),
            shutdown: asked,
            pulse: Pulse::default(),
        };
        let pump = runtime.spawn(Pump::new(context).run());
        Self {
            origin,
            status,
            delivery,
            parameters,
            runtime,
            thread,
            store,
            connection,
            shutdown,
            pump,
            made: 0,
        }
    }

    /// Commits inspections of `count` parts as fast as possible; returns the keys that a subscriber must receive.
    pub(crate) fn inspect(&mut self, count: u64) -> Vec<Key> {
        (0..count).map(|_| self.inspect_named(None)).collect()
    }

    /// Commits the inspection of a part with a name so long that its message is longer than any other.
    pub(crate) fn inspect_long_name(&mut self, characters: usize) -> Key {
        self.inspect_named(Some("x".repeat(characters)))
    }

    fn inspect_named(&mut self, name: Option<String>) -> Key {
        let mut inspection = inspection(self.made, &self.parameters);
        inspection.part_id = name.or(inspection.part_id);
        self.made += 1;
        let committed = self.store.commit(&self.origin, Arc::new(inspection), Arc::new(encode)).unwrap();
        (self.origin.boot_id.to_string(), committed.seq)
    }

    pub(crate) fn connection(&self) -> Connection {
        assert!(!self.pump.is_finished(), "the pump has ended");
        self.connection.borrow().clone()
    }

    pub(crate) fn wait_connected(&self) {
        wait_until("the station is connected", || matches!(self.connection(), Connection::Connected { .. }));
    }

    /// Waits until the connection is down for a reason that passes the test.
    pub(crate) fn wait_disconnected(&self, wanted: impl Fn(&BrokerFault) -> bool) {
        wait_until(
            "the station is disconnected for the right reason",
            || matches!(self.connection(), Connection::Disconnected { reason, .. } if wanted(&reason.fault)),
        );
    }

    pub(crate) fn backlog(&self) -> Backlog {
        self.runtime.block_on(self.store.backlog(&self.origin.station, JSON)).unwrap()
    }

    pub(crate) fn wait_outbox_empty(&self) {
        wait_until("the outbox is empty", || self.backlog().depth == 0);
    }

    /// Stops in order: sends the outbox, publishes `stopped`, closes the log. Returns the delivery time of live verdicts.
    pub(crate) fn stop(self) -> Option<DeliveryTime> {
        self.shutdown.send_replace(true);
        self.runtime.block_on(self.pump).unwrap().unwrap();
        drop(self.store);
        self.thread.join().unwrap();
        self.delivery.figures()
    }

    /// Makes the store's thread hang, as on a disk that does not answer, until the returned value is dropped.
    pub(crate) fn hang_store(&self) -> std::sync::mpsc::Sender<()> {
        let (release, released) = std::sync::mpsc::channel::<()>();
        let (entered, inside) = std::sync::mpsc::channel();
        let released = std::sync::Mutex::new(released);
        let (store, origin) = (self.store.clone(), self.origin.clone());
        let part = Arc::new(inspection(self.made, &self.parameters));
        std::thread::spawn(move || {
            let hang = move |_, _, _: &Inspection| {
                let _ = entered.send(());
                let _ = released.lock().unwrap().recv(); // an error: the sender is dropped
                Vec::new()
            };
            store.commit(&origin, part, Arc::new(hang))
        });
        inside.recv().unwrap();
        release
    }

    /// Asks the pump to end; returns whether it ended in time.
    pub(crate) fn shut_down_within(&self, limit: Duration) -> bool {
        self.shutdown.send_replace(true);
        let deadline = std::time::Instant::now() + limit;
        while !self.pump.is_finished() && std::time::Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        self.pump.is_finished()
    }

    /// A crash: the pump ends in the middle of its work.
    pub(crate) fn crash(self) {
        drop(self.runtime);
        drop(self.store);
        self.thread.join().unwrap();
    }
}
