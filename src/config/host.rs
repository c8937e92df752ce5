//! `host` of `[broker]`: a name or an address and nothing else, as people paste it.
//!
//! Guarantees: what can never be reached under this key is refused, with the place where the rest belongs. A password in a pasted
//! address is never repeated.
//! Leaves out: whether the name is known, and whether a broker answers there (see `publish`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The most characters of a name, and of one part of it between two dots.
const LONGEST_NAME: usize = 253;
const LONGEST_PART: usize = 63;

const WANTED: &str =
    "the broker's name or address alone is allowed, such as broker.line, 192.168.1.20 or fe80::1%eth0";

/// Reads a host. An IPv6 address may have brackets. The error follows the key: it begins with the value, where that may be
/// repeated, and says what is wrong with it and what is allowed.
pub(super) fn read_host(typed: &str) -> Result<String, String> {
    // First of all, so that no later message repeats a password.
    if let Some((login, _)) = typed.rsplit_once('@') {
        let what = if login.contains(':') { "a username and a password" } else { "a username" };
        return Err(format!(
            ": has {what} before an `@` (not repeated here): the username belongs in broker.username, and the password in a file that broker.password_file names; {WANTED}"
        ));
    }
    let refused = |why: String| Err(format!(" = {typed:?}: {why}; {WANTED}"));
    if typed.trim().is_empty() {
        return refused("is empty".to_owned());
    }
    if let Some(odd) = typed.chars().find(|letter| letter.is_whitespace() || letter.is_control()) {
        return refused(format!("has a blank or a control character (U+{:04X}): remove it", u32::from(odd)));
    }
    if let Some((scheme, rest)) = typed.split_once("://") {
        return refused(in_url(scheme, rest));
    }
    if typed.contains(['/', '\\', '?']) {
        return refused("has a path: MQTT has none, so leave it out".to_owned());
    }
    if let Some(odd) = typed.chars().find(|letter| !letter.is_ascii()) {
        return refused(format!(
            "has the character {odd:?} (U+{:04X}): give a name with such letters as the name server knows it (`xn--…`), or the address",
            u32::from(odd)
        ));
    }
    if typed.contains([',', ';']) {
        return refused("names several brokers: a station has one".to_owned());
    }
    let bare = match typed.strip_prefix('[').map(|rest| rest.split_once(']')) {
        Some(Some((inside, ""))) if inside.contains(':') => inside,
        Some(Some((inside, rest))) if inside.contains(':') && rest.starts_with(':') => {
            return refused(port_belongs(&rest[1..]));
        }
        None => typed,
        Some(_) => return refused("has brackets that hold no IPv6 address".to_owned()),
    };
    let checked = match bare.split_once(':') {
        Some((_, port)) if !port.contains(':') && !port.contains('%') => Err(port_belongs(port)),
        Some(_) => ipv6(bare),
        None => name_or_ipv4(bare),
    };
    checked.map(|()| bare.to_owned()).or_else(refused)
}

fn port_belongs(port: &str) -> String {
    match port.parse::<u16>() {
        Ok(port) => format!("has a port: write port = {port} in [broker]"),
        Err(_) => "has a `:`: a port belongs in broker.port".to_owned(),
    }
}

/// What to do with a URL.
fn in_url(scheme: &str, rest: &str) -> String {
    let advice = match scheme.to_ascii_lowercase().as_str() {
        "mqtts" | "ssl" | "tls" | "tcps" => {
            "; it asks for TLS, which certiscope does not speak yet: use a listener without TLS"
        }
        "ws" | "wss" | "http" | "https" => {
            "; it asks for a web server or for websockets, which certiscope does not speak: use the broker's MQTT listener"
        }
        _ => "",
    };
    let host = rest.split(['/', '?']).next().unwrap_or_default();
    let (host, port) = match host.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => {
            (host, format!(" and port = {port}"))
        }
        _ => (host, String::new()),
    };
    let instead = if host.is_empty() || host.contains(char::is_control) {
        String::new()
    } else {
        format!(": write host = \"{host}\"{port}")
    };
    format!("is a URL{instead}{advice}")
}

fn ipv6(text: &str) -> Result<(), String> {
    let (address, zone) = match text.split_once('%') {
        Some((address, zone)) => (address, Some(zone)),
        None => (text, None),
    };
    let address: Ipv6Addr = address.parse().map_err(|_| "is no IPv6 address".to_owned())?;
    if zone.is_some_and(|zone| {
        zone.is_empty() || !zone.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    }) {
        return Err("has no network interface after `%`: `ip link` lists them".to_owned());
    }
    if address.is_unicast_link_local() && zone.is_none() {
        return Err(format!(
            "is valid on one network only, so the interface is needed too: {address}%eth0, for example"
        ));
    }
    one_machine(address.into())
}

fn name_or_ipv4(text: &str) -> Result<(), String> {
    let name = text.strip_suffix('.').unwrap_or(text); // a dot at the end means: nothing is added to this name
    if name.len() > LONGEST_NAME {
        return Err(format!("has {} characters; at most {LONGEST_NAME} are allowed", name.len()));
    }
    for part in name.split('.') {
        if part.is_empty() {
            return Err("has two dots without anything between them, or begins with one".to_owned());
        }
        if part.len() > LONGEST_PART {
            return Err(format!("has {} characters between two dots; at most {LONGEST_PART}", part.len()));
        }
        if let Some(odd) =
            part.chars().find(|letter| !letter.is_ascii_alphanumeric() && !"-_".contains(*letter))
        {
            return Err(format!("has {odd:?}; letters, digits, `-` and `_` are allowed in a name"));
        }
    }
    // Systems read 010.0.0.1 as 8.0.0.1, and 192.168.1 as 192.168.0.1.
    let last = name.rsplit('.').next().unwrap_or_default();
    let hexadecimal = last.strip_prefix("0x").or(last.strip_prefix("0X"));
    if !last.bytes().all(|byte| byte.is_ascii_digit())
        && !hexadecimal.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
    {
        return Ok(());
    }
    let address: Ipv4Addr = text.parse().map_err(|_| {
        "is no IPv4 address: four numbers from 0 to 255 with dots between, none with a leading 0".to_owned()
    })?;
    one_machine(address.into())
}

/// Whether an address can be that of a broker.
fn one_machine(address: IpAddr) -> Result<(), String> {
    if address.is_unspecified() {
        Err("means every address of a machine, which only a listener may use: give the broker's address, or 127.0.0.1 for a broker on this machine".to_owned())
    } else if address.is_multicast() || address == IpAddr::V4(Ipv4Addr::BROADCAST) {
        Err("is an address for many machines".to_owned())
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_or_an_address_is_taken_as_it_is() {
        for host in [
            "localhost",
            "broker.line",
            "Broker-1.plant_2.example",
            "broker.line.",
            "xn--brcke-lva.local",
            "3com.example",
            "127.0.0.1",
            "192.168.1.20",
            "::1",
            "2001:db8::20",
            "fe80::1%eth0",
            "fe80::1%br-0.12",
            "::ffff:10.0.0.1",
        ] {
            assert_eq!(read_host(host).as_deref(), Ok(host));
        }
        assert_eq!(read_host("[::1]").as_deref(), Ok("::1"));
        assert_eq!(read_host("[fe80::1%eth0]").as_deref(), Ok("fe80::1%eth0"));
    }

    #[test]
    fn anything_else_is_refused_with_the_place_where_it_belongs() {
        let long = format!("{}.line", "x".repeat(64));
        for (host, words) in [
            ("", "is empty"),
            (" ", "is empty"),
            ("127.0.0.1 ", "has a blank or a control character (U+0020)"),
            (" broker", "(U+0020)"),
            ("bro ker", "(U+0020)"),
            ("broker\n", "(U+000A)"),
            ("broker\u{a0}", "(U+00A0)"),
            ("broker\u{200b}.line", "(U+200B)"),
            ("\u{201c}broker\u{201d}", "(U+201C)"),
            ("brücke.line", "xn--"),
            ("mqtt://127.0.0.1", "is a URL: write host = \"127.0.0.1\";"),
            ("tcp://broker:1884/", "is a URL: write host = \"broker\" and port = 1884;"),
            ("mqtts://broker", "TLS"),
            ("wss://broker/mqtt", "websockets"),
            ("MQTT://", "is a URL;"),
            ("127.0.0.1:18899", "write port = 18899 in [broker]"),
            ("broker:", "broker.port"),
            ("broker:mqtt", "broker.port"),
            ("[::1]:1883", "write port = 1883 in [broker]"),
            ("[broker]", "brackets"),
            ("[::1", "brackets"),
            ("::1]", "no IPv6 address"),
            ("1:2:3", "no IPv6 address"),
            ("fe80::1", "fe80::1%eth0"),
            ("fe80::1%", "interface"),
            ("broker/mqtt", "path"),
            ("broker?x=1", "path"),
            ("a,b", "several brokers"),
            ("a..b", "two dots"),
            (".line", "two dots"),
            ("bro*ker", "'*'"),
            (&long, "64 characters"),
            ("192.168.1", "no IPv4 address"),
            ("192.168.001.010", "leading 0"),
            ("127.0.0.1.", "no IPv4 address"),
            ("127.0.0.256", "no IPv4 address"),
            ("0x7f000001", "no IPv4 address"),
            ("2130706433", "no IPv4 address"),
            ("0.0.0.0", "every address"),
            ("::", "every address"),
            ("224.0.0.1", "many machines"),
        ] {
            let refused = read_host(host).expect_err(host);
            assert!(refused.contains(words) && refused.contains("is allowed"), "{host:?}: {refused}");
        }
    }

    #[test]
    fn a_password_in_an_address_is_not_repeated() {
        for host in ["mqtt://line:hors3@broker", "line:hors3@broker:1883", "line:ho@rs3@broker"] {
            let refused = read_host(host).expect_err(host);
            assert!(
                refused.contains("a username and a password") && refused.contains("password_file"),
                "{refused}"
            );
            assert!(!refused.contains("rs3"), "{refused}");
        }
        assert!(read_host("line@broker").unwrap_err().contains("has a username before"));
    }
}
