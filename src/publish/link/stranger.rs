//! Names a service that is no MQTT broker by the first bytes of its answer.

/// What a TLS listener is called.
pub(super) const TLS: &str = "a TLS listener answers, and certiscope does not speak TLS yet; set broker.port to a listener without TLS (often 1883)";

/// The most characters of an answer that are repeated.
const SHOWN: usize = 40;

/// What answers, and what to do, from its first bytes.
pub(super) fn stranger(answer: &[u8]) -> String {
    const OTHER_PORT: &str = "set broker.port to the broker's MQTT listener";
    let starts = |with: &str| answer.starts_with(with.as_bytes());
    if let [0x15 | 0x16, 3, ..] = answer {
        return TLS.to_owned();
    }
    if starts("HTTP/") || starts("<") {
        return format!("a web server or a websocket listener answers; {OTHER_PORT} (often 1883)");
    }
    if let [0x81 | 0x82 | 0x88, ..] = answer {
        return format!("a websocket listener answers; {OTHER_PORT} (often 1883)");
    }
    let known = [
        ("SSH-", "an SSH server"),
        ("AMQP", "an AMQP listener (RabbitMQ: its MQTT plug-in has a port of its own)"),
        ("RFB ", "a VNC server"),
        ("-ERR", "a Redis or POP3 server"),
        ("ERRF", "an OPC UA server"),
        ("INFO {", "a NATS server"),
    ];
    let kind = known.iter().find(|(with, _)| starts(with)).map(|(_, kind)| format!("{kind} answers"));
    let kind =
        kind.unwrap_or_else(|| format!("something that is no MQTT broker answers ({})", shown(answer)));
    format!("{kind}; {OTHER_PORT}, or correct broker.host")
}

/// The beginning of an answer, as text where it is text.
fn shown(answer: &[u8]) -> String {
    let line = answer.split(|byte| b"\r\n".contains(byte)).next().unwrap_or_default();
    let readable = |byte: &u8| byte.is_ascii_graphic() || *byte == b' ';
    match std::str::from_utf8(line) {
        Ok(text) if !text.is_empty() && line.iter().all(readable) => {
            format!("{:?}", text.chars().take(SHOWN).collect::<String>())
        }
        _ => {
            let bytes: Vec<String> = answer.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
            format!("bytes {}", bytes.join(" "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_told_by_their_first_bytes() {
        for (answer, words) in [
            (&b"\x15\x03\x03\x00\x02\x02\x46"[..], "TLS"),
            (b"\x15\x03\x01", "TLS"),
            (b"HTTP/1.1 400 Bad Request", "web server or a websocket"),
            (b"<html>", "web server"),
            (b"SSH-2.0-OpenSSH_9.2", "an SSH server"),
            (b"AMQP\x00\x00\x09\x01", "AMQP"),
            (b"220 mail.line ESMTP ready\r\n", "(\"220 mail.line ESMTP ready\")"),
            (b"\x00\xff\x1b[31m", "(bytes 00 ff 1b 5b 33 31 6d)"),
            (b"\x1b[2J", "(bytes 1b 5b 32 4a)"),
        ] {
            let named = stranger(answer);
            assert!(named.contains(words) && named.contains("broker.port"), "{named}");
        }
    }
}
