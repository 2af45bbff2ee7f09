//! The asking side: one request on one connection, for operators' commands and for servers that join.

use bytes::BytesMut;
use serde_json::Value;
use std::io;
use std::net::SocketAddr;
use tenure_rt::net::{Stream, resolve};

/// Bytes of one answer: the whole configuration, as JSON.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// `GET`, ….
    pub method: &'static str,
    /// And query, escaped where it must be.
    pub path: &'a str,
    /// Names and values.
    pub form: &'a [(&'a str, &'a str)],
    /// The change that the caller has seen last.
    pub expect: Option<u64>,
    /// What names the request, so that a retry is known as one.
    pub key: Option<&'a str>,
}

impl Ask<'_> {
    /// A question.
    #[must_use]
    pub const fn get(path: &str) -> Ask<'_> {
        Ask {
            method: "GET",
            path,
            form: &[],
            expect: None,
            key: None,
        }
    }

    fn bytes(&self, address: &str) -> BytesMut {
        let pairs = self.form.iter();
        let pairs = pairs.map(|(name, value)| format!("{name}={}", escaped(value)));
        let body = pairs.collect::<Vec<_>>().join("&");
        let condition = self
            .expect
            .map_or_else(String::new, |change| format!("If-Match: \"{change}\"\r\n"));
        let key = self
            .key
            .map_or_else(String::new, |key| format!("Idempotency-Key: {key}\r\n"));
        let text = format!(
            "{} {} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{condition}{key}\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
            self.method,
            self.path,
            body.len(),
        );
        BytesMut::from(text.as_bytes())
    }
}

/// As it stands in a form or in an address: what is no letter or digit is escaped.
pub fn escaped(text: &str) -> String {
    let escape = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'_' | b'-' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(escape).collect()
}

/// Asks the server at `address`: the status, and the document.
///
/// # Errors
///
/// Nobody answers, or not in HTTP with JSON.
pub async fn ask_at(address: &str, ask: &Ask<'_>) -> io::Result<(u16, Value)> {
    ask_there(resolve(address).await?, address, ask).await
}

/// As [`ask_at`], at one of the addresses that the name `host` stands for.
///
/// # Errors
///
/// Nobody answers, or not in HTTP with JSON.
pub async fn ask_there(address: SocketAddr, host: &str, ask: &Ask<'_>) -> io::Result<(u16, Value)> {
    let mut stream = Stream::connect(address).await?;
    stream.write_all(&mut ask.bytes(host)).await?;
    let mut answer = BytesMut::new();
    while stream.read(&mut answer).await? > 0 {
        if answer.len() > ANSWER_BYTES_MAX {
            return Err(io::Error::other("the answer is too long"));
        }
    }
    parse(&answer).ok_or_else(|| io::Error::other("the answer is no HTTP with JSON in it"))
}

/// The status, and the document behind the head.
fn parse(answer: &[u8]) -> Option<(u16, Value)> {
    let head_ends = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    let (head, body) = answer.split_at(head_ends + 4);
    let head = std::str::from_utf8(head).ok()?;
    let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    Some((status, serde_json::from_slice(body).ok()?))
}

#[cfg(test)]
mod tests {
    use super::{Ask, escaped, parse};

    #[test]
    fn what_is_no_letter_is_escaped() {
        assert_eq!(escaped("au.perth-1_a"), "au.perth-1_a");
        assert_eq!(escaped("a b&c=\u{e9}"), "a%20b%26c%3D%C3%A9");
    }

    #[test]
    fn an_answer_is_a_status_and_a_document() {
        let (status, body) =
            parse(b"HTTP/1.1 409 Conflict\r\nA: b\r\n\r\n{\"code\":\"x\"}").unwrap();
        assert_eq!((status, body["code"].as_str()), (409, Some("x")));
        assert!(parse(b"HTTP/1.1 200 OK\r\n\r\nno").is_none());
        assert!(parse(b"SSH-2.0").is_none());
    }

    #[test]
    fn a_change_names_what_was_seen() {
        let ask = Ask {
            method: "PATCH",
            path: "/v1/config",
            form: &[("by", "ann b")],
            expect: Some(7),
            key: Some("k-1"),
        };
        let bytes = ask.bytes("h:1");
        let text = std::str::from_utf8(&bytes).unwrap();
        assert!(text.contains("If-Match: \"7\"\r\n"), "{text}");
        assert!(text.contains("Idempotency-Key: k-1\r\n"), "{text}");
        assert!(text.ends_with("\r\n\r\nby=ann%20b"), "{text}");
    }
}
