//! A TCP proxy in front of the broker. It can cut connections, keep them open while nothing passes, or delay them. It
//! also reads the packets, so that there is a record, independent of the agent, of what the broker acknowledged.

use std::io::{BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;

use super::packets::{self, Conversation};
use super::subscriber::Key;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Open,
    /// All connections are cut, new ones too.
    Closed,
    /// Connections stay open, but nothing passes in either direction and neither side notices (half-open).
    Silent,
    /// Packets of the broker are dropped.
    Deaf,
    /// Nothing passes for now, but nothing is lost.
    Stalled,
}

/// A verdict's PUBACK as it came from the broker, whether or not it reached the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) key: Key,
    /// MQTT 5's reason code; 0 with 3.1.1.
    pub(crate) reason: u8,
    /// How often the broker had died before: see [`Proxy::broker_died`].
    pub(crate) life: usize,
}

impl Answer {
    /// Whether the broker took the message, also if there is no subscriber.
    pub(crate) fn is_acknowledgement(&self) -> bool {
        matches!(self.reason, 0 | 0x10)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    ToBroker,
    FromBroker,
}

pub(crate) struct Proxy {
    pub(crate) port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    mode: Mode,
    sockets: Vec<TcpStream>,
    connections: usize,
    answers: Vec<Answer>,
    life: usize,
    /// How many PUBACKs of verdicts will be dropped.
    to_swallow: usize,
    ended: bool,
}

impl Proxy {
    pub(crate) fn before(broker_port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = State {
            mode: Mode::Open,
            sockets: Vec::new(),
            connections: 0,
            answers: Vec::new(),
            life: 0,
            to_swallow: 0,
            ended: false,
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let seen = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let mut state = seen.state();
                if state.ended {
                    return;
                }
                let Ok(broker) = TcpStream::connect(("127.0.0.1", broker_port)) else {
                    continue; // the client sees its connection closed
                };
                if state.mode == Mode::Closed {
                    continue;
                }
                state.connections += 1;
                state.sockets.extend([client.try_clone().unwrap(), broker.try_clone().unwrap()]);
                let life = state.life;
                let conversation = Arc::default();
                forward(&client, &broker, Direction::ToBroker, life, &conversation, &seen);
                forward(&broker, &client, Direction::FromBroker, life, &conversation, &seen);
            }
        });
        Self { port, shared }
    }

    /// Changes the mode. Connections that lost bytes are cut when the mode becomes open again.
    pub(crate) fn set(&self, mode: Mode) {
        let mut state = self.shared.state();
        let lost_bytes = matches!(state.mode, Mode::Silent | Mode::Deaf);
        if mode == Mode::Closed || mode == Mode::Open && lost_bytes {
            cut(&mut state.sockets);
        }
        state.mode = mode;
        self.shared.changed.notify_all();
    }

    /// Cuts all present connections and lets new ones pass.
    pub(crate) fn cut(&self) {
        cut(&mut self.shared.state().sockets);
    }

    /// Drops the next PUBACK of a verdict.
    pub(crate) fn swallow_an_acknowledgement(&self) {
        self.shared.state().to_swallow += 1;
    }

    /// Whether such a PUBACK has come.
    pub(crate) fn has_swallowed(&self) -> bool {
        self.shared.state().to_swallow == 0
    }

    /// Connections that reached the broker so far.
    pub(crate) fn connections(&self) -> usize {
        self.shared.state().connections
    }

    /// Counts the broker as restarted: answers on connections made from now on get the next `life`.
    pub(crate) fn broker_died(&self) {
        self.shared.state().life += 1;
    }

    /// How often the broker has died, from 0.
    pub(crate) fn life(&self) -> usize {
        self.shared.state().life
    }

    /// Every answer of the broker to a verdict, in order.
    pub(crate) fn answers(&self) -> Vec<Answer> {
        self.shared.state().answers.clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.ended = true;
        cut(&mut state.sockets);
        drop(state);
        self.shared.changed.notify_all();
        let _ = TcpStream::connect(("127.0.0.1", self.port)); // wakes the listener, which ends
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

fn cut(sockets: &mut Vec<TcpStream>) {
    for socket in sockets.drain(..) {
        let _ = socket.shutdown(Shutdown::Both); // may be closed already
    }
}

fn forward(
    from: &TcpStream,
    to: &TcpStream,
    direction: Direction,
    life: usize,
    conversation: &Arc<Mutex<Conversation>>,
    shared: &Arc<Shared>,
) {
    let (mut from, mut to) = (BufReader::new(from.try_clone().unwrap()), to.try_clone().unwrap());
    let (conversation, shared) = (Arc::clone(conversation), Arc::clone(shared));
    thread::spawn(move || {
        while let Ok(Some(packet)) = packets::read(&mut from) {
            let mut state = shared.state();
            if direction == Direction::FromBroker
                && let Some((key, reason)) = conversation.lock().unwrap().answered(&packet)
            {
                state.answers.push(Answer { key, reason, life });
                if state.to_swallow > 0 {
                    state.to_swallow -= 1;
                    continue;
                }
            }
            let state = shared
                .changed
                .wait_while(state, |state| state.mode == Mode::Stalled && !state.ended)
                .unwrap();
            let swallowed = state.mode == Mode::Silent
                || (state.mode == Mode::Deaf && direction == Direction::FromBroker);
            drop(state);
            if swallowed {
                continue;
            }
            if direction == Direction::ToBroker {
                conversation.lock().unwrap().said(&packet);
            }
            if to.write_all(&packet).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
    });
}
