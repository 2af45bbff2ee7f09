//! One address before several servers, as a balancer that knows nothing but TCP has it.

use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

/// Hands each connection to the next of its servers in turn, alive or not: who meets a dead one is hung up
/// on. It ends when dropped.
#[derive(Debug)]
pub struct Balancer {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    servers: Vec<SocketAddr>,
    is_over: AtomicBool,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    /// To whom each connection went, in order.
    handed: Vec<SocketAddr>,
    streams: Vec<TcpStream>,
}

impl Shared {
    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Balancer {
    /// Begins with the first of `servers`.
    ///
    /// # Panics
    ///
    /// No port is free.
    pub fn start(servers: &[SocketAddr]) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let shared = Arc::new(Shared {
            servers: servers.to_vec(),
            is_over: AtomicBool::new(false),
            open: Mutex::default(),
        });
        let serving = Arc::clone(&shared);
        drop(thread::spawn(move || serve(&listener, &serving)));
        Self { address, shared }
    }

    /// What it is called.
    pub fn name(&self) -> String {
        format!("localhost:{}", self.address.port())
    }

    /// To whom each connection went, in order.
    pub fn handed(&self) -> Vec<SocketAddr> {
        self.shared.open().handed.clone()
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.address)); // so that it looks
        for stream in &self.shared.open().streams {
            drop(stream.shutdown(Shutdown::Both));
        }
    }
}

fn serve(listener: &TcpListener, shared: &Shared) {
    for (turn, stream) in listener.incoming().enumerate() {
        if shared.is_over.load(Ordering::SeqCst) {
            return;
        }
        let server = shared.servers[turn % shared.servers.len()];
        shared.open().handed.push(server);
        let Ok(stream) = stream else {
            continue;
        };
        if let Ok(far) = TcpStream::connect(server) {
            drop(join(&stream, &far, shared));
        }
    }
}

/// Carries the bytes of two connections to each other until one of them ends.
fn join(near: &TcpStream, far: &TcpStream, shared: &Shared) -> io::Result<()> {
    for (from, to) in [(near, far), (far, near)] {
        from.set_nodelay(true)?;
        shared.open().streams.push(from.try_clone()?);
        let (mut from, mut to) = (from.try_clone()?, to.try_clone()?);
        drop(thread::spawn(move || {
            drop(io::copy(&mut from, &mut to));
            drop(from.shutdown(Shutdown::Both));
            drop(to.shutdown(Shutdown::Both));
        }));
    }
    Ok(())
}
