//! Real sockets on loopback.

use bytes::BytesMut;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use tenure_core::config::Membership;
use tenure_core::entry::Entry;
use tenure_core::ids::{Ballot, RecordNo, Slot};
use tenure_core::replica::record::Record;
use tenure_host::{Appended, Group, Log, NoKeeper};
use tenure_rt::net::{Listener, Stream};
use tenure_rt::{block_on, clock};

mod founding;
mod mesh;
mod native;

/// A log that nobody writes to in these tests.
struct NoLog;
struct Nothing;

impl Group for Nothing {
    fn sync(self) -> io::Result<()> {
        Ok(())
    }
}

impl Log for NoLog {
    type Group = Nothing;
    type Keeper = NoKeeper;
    fn append(&mut self, _: RecordNo, _: &Record) -> io::Result<Appended> {
        Ok(Appended::Yes)
    }
    fn seal(&mut self) -> io::Result<Nothing> {
        Ok(Nothing)
    }
    fn promise(&mut self, _: Ballot, _: Option<Membership>) -> io::Result<()> {
        Ok(())
    }
    fn load(&mut self, _: Slot, _: Slot) -> io::Result<Vec<Entry>> {
        Ok(Vec::new())
    }
}

async fn listen() -> (Listener, String) {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let listener = Listener::bind(any).await.expect("a port is free");
    let address = listener.local_addr().expect("it is bound").to_string();
    (listener, address)
}

fn test(body: impl Future<Output = ()>) {
    block_on(body).expect("the runtime starts");
}

/// What a server says to these bytes, until it closes; fails if it does not.
async fn says(address: &str, bytes: &[u8]) -> BytesMut {
    let address = address.parse().expect("it is an address");
    let mut stream = Stream::connect(address).await.expect("it listens");
    let sent = stream.write_all(&mut BytesMut::from(bytes)).await;
    sent.expect("it reads");
    let mut heard = BytesMut::new();
    let all = async {
        // A reset is an end too: the server closed with bytes of ours unread.
        while matches!(stream.read(&mut heard).await, Ok(1..)) {}
    };
    let ended = clock::timeout(Duration::from_secs(20), all).await;
    assert!(ended.is_some(), "the server keeps the connection");
    heard
}
