//! Opens the TCP connection to the broker.
//!
//! Guarantees: the reason why it could not be opened is told apart: the name, nobody who listens, no answer, no way there. An
//! address that does not answer leaves time for the next one of the same name.

use std::io::{Error, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout};

use crate::publish::broker::BrokerFault;

/// Connects to the first address of `host` that answers. All addresses together get `limit`.
pub(in crate::publish) async fn dial(
    host: &str,
    port: u16,
    limit: Duration,
) -> Result<TcpStream, BrokerFault> {
    let deadline = Instant::now() + limit;
    let addresses: Vec<SocketAddr> = match timeout(limit, lookup_host((host, port))).await {
        Ok(Ok(found)) => found.collect(),
        Ok(Err(error)) => return Err(unknown_name(host, &error)),
        Err(_) => return Err(unreachable(format!("the name server has not answered for {host:?} in time"))),
    };
    let mut why = unreachable(format!("the name {host:?} has no address; correct broker.host"));
    for (index, address) in addresses.iter().enumerate() {
        let left = deadline.saturating_duration_since(Instant::now());
        let share = left / u32::try_from(addresses.len() - index).unwrap_or(u32::MAX);
        match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(connection)) => {
                let _ = connection.set_nodelay(true); // without it verdicts come a little later
                return Ok(connection);
            }
            Ok(Err(error)) => why = no_connection(*address, &error),
            Err(_) => why = unreachable(silent(*address)),
        }
    }
    Err(why)
}

fn unreachable(why: String) -> BrokerFault {
    BrokerFault::Unreachable(why)
}

fn unknown_name(host: &str, error: &Error) -> BrokerFault {
    if let Some((_, zone)) = host.split_once('%') {
        return unreachable(format!(
            "{host:?}: this machine has no network interface {zone:?} with such an address ({error}); `ip link` lists them"
        ));
    }
    // The resolver gives its reason in words only.
    if error.to_string().contains("Temporary failure") {
        return unreachable(format!(
            "the name {host:?} cannot be looked up: no name server answers ({error}); wait for the network, or give the address in broker.host"
        ));
    }
    unreachable(format!(
        "the name {host:?} is not known ({error}); correct broker.host, or give the broker's address there"
    ))
}

fn no_connection(address: SocketAddr, error: &Error) -> BrokerFault {
    unreachable(match error.kind() {
        ErrorKind::ConnectionRefused => {
            format!(
                "nothing listens on port {} of {} ({error}); start the broker, or correct broker.port",
                address.port(),
                address.ip()
            )
        }
        ErrorKind::TimedOut => silent(address),
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable | ErrorKind::AddrNotAvailable => {
            format!(
                "there is no way to {} ({error}); look at the network, or correct broker.host",
                address.ip()
            )
        }
        ErrorKind::PermissionDenied => {
            format!("{address}: forbidden on this machine or by a firewall ({error})")
        }
        _ => format!("{address}: {error}"),
    })
}

fn silent(address: SocketAddr) -> String {
    format!("{address} does not answer; the machine may be off, or a firewall drops the connection")
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn each_reason_has_words_of_its_own() {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 1883));
        let words = |kind| no_connection(address, &Error::from(kind)).to_string();
        assert!(words(ErrorKind::ConnectionRefused).contains("nothing listens on port 1883 of 127.0.0.1"));
        assert!(words(ErrorKind::TimedOut).contains("does not answer"));
        assert!(words(ErrorKind::NetworkUnreachable).contains("there is no way to 127.0.0.1"));
        assert!(words(ErrorKind::PermissionDenied).contains("firewall"));
        let name = |error: &str| unknown_name("broker.line", &Error::other(error.to_owned())).to_string();
        assert!(name("failed: Temporary failure in name resolution").contains("no name server answers"));
        assert!(name("failed: Name or service not known").contains("is not known"));
        assert!(unknown_name("fe80::1%eth9", &Error::other("x")).to_string().contains("interface \"eth9\""));
    }
}
