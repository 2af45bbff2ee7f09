//! Programs that take locks by HTTP, with no library but one for HTTP: they count their own
//! deadlines, from the first time that they sent a request.

use crate::clients::{STUCK, Shared, draw_ms, key};
use crate::cluster::http_addresses;
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use madsim::rand::{Rng as _, thread_rng};
use serde_json::Value;
use std::time::Duration;
use tenure_core::ids::Fence;
use tenure_rt::net::Stream;
use tenure_rt::{clock, spawn};

const TTL: Duration = Duration::from_secs(3);
const WAIT: Duration = Duration::from_millis(1500);
/// How long a server may take beyond a wait, before the next one is asked.
const PATIENCE: Duration = Duration::from_secs(3);

/// What was answered: the status and the document.
type Answer = (u16, Value);

/// A connection to one of the servers, made anew when it breaks.
#[derive(Default)]
struct Browser {
    server: usize,
    connection: Option<SendRequest<Empty<Bytes>>>,
}

impl Browser {
    /// Asks one server; none if it did not answer in time, or the connection broke.
    async fn ask(&mut self, request: Request<Empty<Bytes>>) -> Option<Answer> {
        let answer = clock::timeout(WAIT + PATIENCE, self.try_ask(request)).await;
        let answer = answer.flatten();
        if answer.is_none() {
            self.connection = None;
            self.server = (self.server + 1) % http_addresses().len();
            clock::sleep(draw_ms(20, 200)).await;
        }
        answer
    }

    async fn try_ask(&mut self, request: Request<Empty<Bytes>>) -> Option<Answer> {
        if self.connection.as_ref().is_none_or(SendRequest::is_closed) {
            let address = http_addresses()[self.server];
            let stream = Stream::connect(address).await.ok()?;
            let (connection, driver) = handshake(TokioIo::new(stream)).await.ok()?;
            // It ends with the connection, in whatever way.
            drop(spawn(async { drop(driver.await) }));
            self.connection = Some(connection);
        }
        let connection = self.connection.as_mut()?;
        let response = connection.send_request(request).await.ok()?;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.ok()?.to_bytes();
        let document = serde_json::from_slice(&body).expect("answers are JSON");
        Some((status, document))
    }
}

fn request(method: Method, target: &str, header: (&str, &str)) -> Request<Empty<Bytes>> {
    let request = Request::builder().method(method).uri(target);
    let request = request.header("host", "tenure").header(header.0, header.1);
    request.body(Empty::new()).expect("it is right")
}

/// Takes, renews and releases locks until it is told to stop.
pub(crate) async fn contend(id: u64, shared: Shared) {
    let mut browser = Browser::default();
    while !shared.stops() {
        let name = key(thread_rng().gen_range(0..crate::clients::KEYS));
        let turn = turn(id, &shared, &mut browser, &name);
        let ended = clock::timeout(STUCK, turn).await;
        ended.expect("no request is stuck");
        clock::sleep(draw_ms(1, 100)).await;
    }
}

/// The answer to a request that may be made again: at another server, if one does not answer.
async fn insist(browser: &mut Browser, make: impl Fn() -> Request<Empty<Bytes>>) -> Option<Answer> {
    for _ in 0..2 {
        if let Some(answer) = browser.ask(make()).await {
            let (status, document) = &answer;
            let expected = [200, 409, 410, 423, 429, 500, 503, 504].contains(status);
            assert!(expected, "we did no wrong: {status} {document}");
            return Some(answer);
        }
    }
    None
}

async fn turn(id: u64, shared: &Shared, browser: &mut Browser, name: &str) {
    let (ttl, wait) = (TTL.as_millis(), WAIT.as_millis());
    let target = format!("/v1/locks/{name}?holder=http{id}&ttl={ttl}ms&wait={wait}ms");
    let once = format!("\"{id}-{}\"", thread_rng().r#gen::<u64>());
    let sent = clock::now();
    let acquire = || request(Method::POST, &target, ("idempotency-key", &once));
    let Some((200, grant)) = insist(browser, acquire).await else {
        shared.witness().refused += 1;
        return;
    };
    let token = grant["token"].as_str().expect("a grant has a token");
    let fence = Fence::new(grant["fence"].as_u64().expect("a grant has a fence"));
    let terms = (false, fence, sent.plus(TTL));
    shared.witness().granted(clock::now(), name, id, terms);
    shared.witness().http_grants += 1;
    let target = format!("/v1/locks/{name}");
    clock::sleep(draw_ms(1, 600)).await;
    if thread_rng().gen_bool(0.3) {
        let sent = clock::now();
        let renew = request(Method::PATCH, &target, ("lock-token", token));
        if let Some((200, _)) = browser.ask(renew).await {
            let until = sent.plus(TTL);
            shared.witness().believes(clock::now(), name, id, until);
        }
        clock::sleep(draw_ms(1, 600)).await;
    }
    shared.witness().ended(clock::now(), name, id);
    let release = || request(Method::DELETE, &target, ("lock-token", token));
    if insist(browser, release).await.is_none() {
        shared.witness().unknown += 1;
    }
}
