//! A real mosquitto on a free port, with the configuration that a test gives it.

use std::fs::File;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command};

use serde_json::json;
use tempfile::TempDir;

use super::wait_until;

pub(crate) const USER: &str = "line-1";
pub(crate) const PASSWORD: &str = "correct horse";

/// A mosquitto broker; it is killed when the test ends.
pub(crate) struct Broker {
    pub(crate) port: u16,
    folder: TempDir,
    process: Option<Child>,
}

impl Broker {
    /// A running broker without a password.
    pub(crate) fn start() -> Self {
        let mut broker = Self::absent();
        broker.come_up();
        broker
    }

    /// A broker with a port and a configuration, which is not started yet.
    pub(crate) fn absent() -> Self {
        Self::configured("allow_anonymous true")
    }

    /// A running broker with these lines added to its configuration.
    pub(crate) fn with(lines: &str) -> Self {
        let mut broker = Self::absent();
        broker.add(lines);
        broker.come_up();
        broker
    }

    /// A running broker that saves its messages to disk as often as it can.
    pub(crate) fn with_persistence() -> Self {
        let mut broker = Self::configured_with("allow_anonymous true", |folder| {
            let folder = folder.display();
            format!(
                "persistence true\npersistence_location {folder}/\nautosave_on_changes true\nautosave_interval 1"
            )
        });
        broker.come_up();
        broker
    }

    /// A running broker with an access list, in mosquitto's format.
    pub(crate) fn with_access_list(access: &str) -> Self {
        let mut broker = Self::absent();
        broker.add(&format!("acl_file {}", broker.access_list().display()));
        std::fs::write(broker.access_list(), access).unwrap();
        broker.come_up();
        broker
    }

    /// Replaces the access list while the broker runs.
    pub(crate) fn change_access_list(&self, access: &str) {
        std::fs::write(self.access_list(), access).unwrap();
        let process = self.process.as_ref().expect("the broker runs");
        // The shell's own kill: a bare Debian has no program of that name.
        let sent = Command::new("sh").arg("-c").arg(format!("kill -HUP {}", process.id())).status().unwrap();
        assert!(sent.success());
    }

    fn access_list(&self) -> std::path::PathBuf {
        self.folder.path().join("access")
    }

    /// A running broker that accepts only [`USER`] with [`PASSWORD`].
    pub(crate) fn with_password() -> Self {
        let mut broker = Self::configured("allow_anonymous false");
        let file = broker.folder.path().join("passwords");
        let made = Command::new(installed("mosquitto_passwd"))
            .args(["-b", "-c"])
            .arg(&file)
            .args([USER, PASSWORD])
            .output()
            .expect("mosquitto_passwd runs");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        broker.add(&format!("password_file {}", file.display()));
        broker.come_up();
        broker
    }

    /// A running broker that refuses the subscription to `topic`. mosquitto's access list cannot do that; its security
    /// plug-in can.
    pub(crate) fn that_refuses_subscription_to(topic: &str) -> Self {
        let mut broker = Self::absent();
        let rules = broker.folder.path().join("rules.json");
        let all = json!({"publishClientSend": true, "publishClientReceive": true, "subscribe": true, "unsubscribe": true});
        let deaf = json!({"acltype": "subscribeLiteral", "topic": topic, "priority": 1, "allow": false});
        let text = json!({
            "defaultACLAccess": all,
            "anonymousGroup": "all",
            "clients": [],
            "groups": [{"groupname": "all", "roles": [{"rolename": "deaf"}]}],
            "roles": [{"rolename": "deaf", "acls": [deaf]}],
        });
        std::fs::write(&rules, text.to_string()).unwrap();
        let library = Self::plugin("mosquitto_dynamic_security.so");
        broker.add(&format!("plugin {}\nplugin_opt_config_file {}", library.display(), rules.display()));
        broker.come_up();
        broker
    }

    /// The path of a plugin of Debian's mosquitto package.
    fn plugin(name: &str) -> std::path::PathBuf {
        let libraries = std::fs::read_dir("/usr/lib").unwrap().map(|entry| entry.unwrap().path().join(name));
        let found = libraries.chain([Path::new("/usr/lib").join(name)]).find(|path| path.is_file());
        found.unwrap_or_else(|| panic!("{name}: not installed; Debian's package mosquitto has it"))
    }

    fn configured(access: &str) -> Self {
        Self::configured_with(access, |_| "persistence false".to_owned())
    }

    fn configured_with(access: &str, persistence: impl FnOnce(&Path) -> String) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let broker = Self { port, folder: TempDir::new().unwrap(), process: None };
        // High limits, so that messages that the broker acknowledged are already sent to the subscriber when it is
        // killed. Without any limit for queued messages mosquitto 2.0.11 closes the connection after a refusal.
        let persistence = persistence(broker.folder.path());
        broker.add(&format!(
            "listener {port} 127.0.0.1\n{access}\nuser root\n{persistence}\nmax_inflight_messages 0\nmax_queued_messages 100000"
        ));
        broker
    }

    fn add(&self, lines: &str) {
        let path = self.configuration();
        let before = std::fs::read_to_string(&path).unwrap_or_default();
        std::fs::write(path, format!("{before}{lines}\n")).unwrap();
    }

    fn configuration(&self) -> std::path::PathBuf {
        self.folder.path().join("mosquitto.conf")
    }

    /// Starts the broker, or starts it again on the same port. Returns once it accepts connections.
    pub(crate) fn come_up(&mut self) {
        let log = File::options().create(true).append(true).open(self.folder.path().join("log")).unwrap();
        let process = Command::new(installed("mosquitto"))
            .arg("-c")
            .arg(self.configuration())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("mosquitto starts");
        let process = self.process.insert(process);
        let log = self.folder.path().join("log");
        wait_until("mosquitto accepts connections", || {
            if let Some(status) = process.try_wait().unwrap() {
                panic!("mosquitto ended ({status}): {}", std::fs::read_to_string(&log).unwrap());
            }
            TcpStream::connect(("127.0.0.1", self.port)).is_ok()
        });
    }

    /// Kills the broker by SIGKILL: it closes no connection and saves nothing.
    pub(crate) fn kill(&mut self) {
        let mut process = self.process.take().expect("the broker runs");
        process.kill().unwrap();
        process.wait().unwrap();
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if self.process.is_some() {
            self.kill();
        }
    }
}

/// The path of a program of mosquitto. Debian installs it in /usr/sbin, which not every PATH contains. A missing broker
/// fails the test; it is never skipped.
fn installed(program: &str) -> String {
    let searched = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/usr/local/sbin";
    searched
        .split(':')
        .map(|folder| format!("{folder}/{program}"))
        .find(|path| Path::new(path).is_file())
        .unwrap_or_else(|| {
            panic!("{program}: not installed; `make test` installs it (apt-get install mosquitto)")
        })
}
