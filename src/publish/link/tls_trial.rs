//! Is it a TLS listener that closes the connection? Most say nothing to a client without TLS.
//!
//! Sends the smallest ClientHello. A TLS listener answers it with an alert or a handshake record, anything else does not.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::dial::dial;

/// A record with a handshake message: TLS 1.2, 32 bytes of "random", no session, five usual ciphers, no compression.
const CLIENT_HELLO: [u8; 58] = {
    const BEGIN: [u8; 11] = [0x16, 3, 1, 0, 0x35, 1, 0, 0, 0x31, 3, 3];
    const END: [u8; 15] = [0, 0, 10, 0xc0, 0x2f, 0xc0, 0x30, 0, 0x9c, 0, 0x2f, 0x13, 1, 1, 0];
    let mut hello = [0x5a; 58];
    let mut at = 0;
    while at < BEGIN.len() {
        hello[at] = BEGIN[at];
        at += 1;
    }
    at = 0;
    while at < END.len() {
        hello[hello.len() - END.len() + at] = END[at];
        at += 1;
    }
    hello
};

/// Whether a TLS listener answers there within `limit`.
pub(super) async fn answers_tls(host: &str, port: u16, limit: Duration) -> bool {
    let asked = async {
        let mut connection = dial(host, port, limit).await.ok()?;
        connection.write_all(&CLIENT_HELLO).await.ok()?;
        let mut begin = [0; 2];
        connection.read_exact(&mut begin).await.ok()?;
        Some(matches!(begin, [0x15 | 0x16, 3]))
    };
    timeout(limit, asked).await.ok().flatten().unwrap_or(false)
}
