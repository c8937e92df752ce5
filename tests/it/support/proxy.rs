//! A TCP proxy before the broker that can cut a link, or leave it standing with nothing coming through.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Open,
    /// Every connection is cut, also those that come.
    Closed,
    /// Connections stand, nothing passes in either direction.
    Silent,
    /// What the broker says is swallowed.
    Deaf,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    ToBroker,
    FromBroker,
}

pub(crate) struct Proxy {
    pub(crate) port: u16,
    shared: Arc<Mutex<Shared>>,
}

struct Shared {
    mode: Mode,
    sockets: Vec<TcpStream>,
    ended: bool,
}

impl Proxy {
    pub(crate) fn before(broker_port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Mutex::new(Shared { mode: Mode::Open, sockets: Vec::new(), ended: false }));
        let seen = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let mut state = seen.lock().unwrap();
                if state.ended {
                    return;
                }
                let Ok(broker) = TcpStream::connect(("127.0.0.1", broker_port)) else {
                    continue; // the client sees its connection closed
                };
                if state.mode == Mode::Closed {
                    continue;
                }
                state.sockets.extend([client.try_clone().unwrap(), broker.try_clone().unwrap()]);
                forward(&client, &broker, Direction::ToBroker, &seen);
                forward(&broker, &client, Direction::FromBroker, &seen);
            }
        });
        Self { port, shared }
    }

    /// Connections that lost bytes are cut when the way is opened again.
    pub(crate) fn set(&self, mode: Mode) {
        let mut state = self.shared.lock().unwrap();
        if mode == Mode::Closed || (mode == Mode::Open && state.mode != Mode::Open) {
            cut(&mut state.sockets);
        }
        state.mode = mode;
    }

    /// Cuts what stands and lets the next connection through.
    pub(crate) fn cut(&self) {
        cut(&mut self.shared.lock().unwrap().sockets);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let mut state = self.shared.lock().unwrap();
        state.ended = true;
        cut(&mut state.sockets);
        drop(state);
        let _ = TcpStream::connect(("127.0.0.1", self.port)); // wakes the listener, which ends
    }
}

fn cut(sockets: &mut Vec<TcpStream>) {
    for socket in sockets.drain(..) {
        let _ = socket.shutdown(Shutdown::Both); // may be closed already
    }
}

fn forward(from: &TcpStream, to: &TcpStream, direction: Direction, shared: &Arc<Mutex<Shared>>) {
    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
    let shared = Arc::clone(shared);
    thread::spawn(move || {
        let mut buffer = [0; 16 * 1024];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            let mode = shared.lock().unwrap().mode;
            let swallowed =
                mode == Mode::Silent || (mode == Mode::Deaf && direction == Direction::FromBroker);
            if !swallowed && to.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
    });
}
