//! An HTTP/1.1 client as plain as curl: one connection, one request at a time.

use std::fmt::Write as _;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// A connection.
#[derive(Debug)]
pub struct Http {
    stream: TcpStream,
    address: SocketAddr,
    inbox: Vec<u8>,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Response {
    /// The number of the status line.
    pub status: u16,
    /// All between the status line and the empty line.
    pub head: String,
    /// The body.
    pub body: String,
}

impl Response {
    /// The body as JSON.
    ///
    /// # Panics
    ///
    /// It is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// A header, by its name in whatever case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(':'));
        let mut found = lines.filter(|(known, _)| known.eq_ignore_ascii_case(name));
        found.next().map(|(_, value)| value.trim())
    }
}

impl Http {
    /// Connects.
    ///
    /// # Errors
    ///
    /// Nobody listens.
    pub fn connect(address: SocketAddr, patience: Duration) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, patience)?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            address,
            inbox: Vec::new(),
        })
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    ///
    /// The connection is of no more use: an answer may still be under way on it.
    pub fn ask(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        patience: Duration,
    ) -> io::Result<Response> {
        let until = Instant::now() + patience;
        self.say(method, target, headers, "")?;
        self.hear(until)
    }

    /// Asks, and does not wait.
    ///
    /// # Errors
    ///
    /// The connection is broken.
    pub fn say(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> io::Result<()> {
        let address = self.address;
        let mut text = format!("{method} {target} HTTP/1.1\r\nHost: {address}\r\n");
        for (name, value) in headers {
            write!(text, "{name}: {value}\r\n").expect("writing to a string does not fail");
        }
        let length = body.len();
        write!(text, "Content-Length: {length}\r\n\r\n{body}")
            .expect("writing to a string does not fail");
        self.stream.write_all(text.as_bytes())
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    ///
    /// The connection is broken.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Says that nothing more will be sent.
    ///
    /// # Errors
    ///
    /// The connection is broken.
    pub fn finish(&mut self) -> io::Result<()> {
        self.stream.shutdown(std::net::Shutdown::Write)
    }

    /// The next answer.
    ///
    /// # Errors
    ///
    /// Nothing until then, or nothing more, or nonsense.
    pub fn hear(&mut self, until: Instant) -> io::Result<Response> {
        let head_end = loop {
            if let Some(at) = self.inbox.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            self.more(until)?;
        };
        let head = String::from_utf8_lossy(&self.inbox[..head_end]).into_owned();
        let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
        let status = status.ok_or_else(|| io::Error::other(format!("no status: {head}")))?;
        let mut response = Response {
            status,
            head,
            body: String::new(),
        };
        let length = response.header("content-length");
        let length: usize = length.and_then(|word| word.parse().ok()).unwrap_or(0);
        while self.inbox.len() < head_end + length {
            self.more(until)?;
        }
        let body = &self.inbox[head_end..head_end + length];
        response.body = String::from_utf8_lossy(body).into_owned();
        self.inbox.drain(..head_end + length);
        Ok(response)
    }

    fn more(&mut self, until: Instant) -> io::Result<()> {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        self.stream.set_read_timeout(Some(left))?;
        let mut piece = [0; 4096];
        match self.stream.read(&mut piece) {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Ok(len) => {
                self.inbox.extend_from_slice(&piece[..len]);
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(error),
        }
    }
}
