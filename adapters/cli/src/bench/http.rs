//! An HTTP client as lean as can be: what is measured is the service.

use bytes::{Buf as _, BytesMut};
use std::io;
use std::net::SocketAddr;
use tenure_rt::net::Stream;

pub(super) struct Client {
    stream: Stream,
    input: BytesMut,
    output: BytesMut,
    acquire: String,
    release: String,
}

impl Client {
    pub(super) async fn connect(endpoint: SocketAddr, key: &str, number: u32) -> io::Result<Self> {
        let length = "Content-Length: 0\r\n";
        Ok(Self {
            stream: Stream::connect(endpoint).await?,
            input: BytesMut::new(),
            output: BytesMut::new(),
            acquire: format!(
                "POST /v1/locks/{key}?holder=bench-{number}&wait=600s&ttl=60s HTTP/1.1\r\n\
                 Host: {endpoint}\r\n{length}\r\n"
            ),
            release: format!("DELETE /v1/locks/{key} HTTP/1.1\r\nHost: {endpoint}\r\n{length}"),
        })
    }

    /// Gives the token.
    pub(super) async fn acquire(&mut self) -> io::Result<String> {
        self.output.extend_from_slice(self.acquire.as_bytes());
        let body = self.answer().await?;
        let token = body.split("\"token\":\"").nth(1);
        let token = token.and_then(|rest| rest.split('"').next());
        token.map(str::to_owned).ok_or_else(|| unexpected(&body))
    }

    pub(super) async fn release(&mut self, token: &str) -> io::Result<()> {
        self.output.extend_from_slice(self.release.as_bytes());
        let token = format!("Lock-Token: {token}\r\n\r\n");
        self.output.extend_from_slice(token.as_bytes());
        let body = self.answer().await?;
        if body.contains("\"already\":false") {
            Ok(())
        } else {
            Err(unexpected(&body))
        }
    }

    /// The body of an answer with status 200.
    async fn answer(&mut self) -> io::Result<String> {
        self.stream.write_all(&mut self.output).await?;
        let head_len = loop {
            if let Some(at) = self.input.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            self.more().await?;
        };
        let head = String::from_utf8_lossy(&self.input[..head_len]).to_ascii_lowercase();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length:"));
        let length: Option<usize> = length.and_then(|text| text.trim().parse().ok());
        let length = length.ok_or_else(|| unexpected(&head))?;
        while self.input.len() < head_len + length {
            self.more().await?;
        }
        let body = String::from_utf8_lossy(&self.input[head_len..head_len + length]).into_owned();
        self.input.advance(head_len + length);
        if head.starts_with("http/1.1 200 ") {
            Ok(body)
        } else {
            Err(unexpected(&format!("{head}{body}")))
        }
    }

    async fn more(&mut self) -> io::Result<()> {
        match self.stream.read(&mut self.input).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

fn unexpected(answer: &str) -> io::Error {
    io::Error::other(format!("not the answer that was waited for: {answer}"))
}
