//! The task that has the connection: a shell of sockets and timers around the core's client.

use crate::error::Error;
use crate::options::Options;
use bytes::BytesMut;
use std::collections::BTreeMap;
use std::future::{Future, pending};
use std::io;
use std::pin::Pin;
use std::time::Duration;
use tenure_core::client::{
    CONNECT_PATIENCE, CallId, Client, Failed, Input, LinkId, News, Output, Want,
};
use tenure_core::config::Mark;
use tenure_core::ids::{Fence, Seed};
use tenure_core::limits::IDENTIFIER_BYTES_MAX;
use tenure_core::machine::answer::Answer;
use tenure_core::time::Timestamp;
use tenure_core::wire::client::Word;
use tenure_rt::net::{Exchange, Stream};
use tenure_rt::sync::{mpsc, oneshot, watch};
use tenure_rt::{clock, select, spawn};

/// Calls that wait for the task; the next one waits in its caller.
pub(crate) const CALLS_QUEUED_MAX: usize = 1024;
/// Calls that are taken together before anything is sent.
const BATCH_MAX: usize = 256;
/// How long the end of a session is waited for when nobody is there any more.
const FAREWELL: Duration = Duration::from_millis(500);

/// What the handles say.
#[derive(Debug)]
pub(crate) enum Command {
    Call {
        call: CallId,
        want: Want,
        answer: oneshot::Sender<Result<Reply, Failed>>,
    },
    Abandon {
        call: CallId,
    },
    Release {
        fence: Fence,
    },
    Forget {
        fence: Fence,
    },
}

/// The good end of a call.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) word: Word,
    /// What is known of a grant, from now on.
    pub(crate) news: Option<watch::Receiver<News>>,
}

type Connecting = Pin<Box<dyn Future<Output = io::Result<Stream>> + Send>>;
type Sleeping = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What became of the connection.
enum Wire {
    None,
    Connecting(LinkId, Connecting),
    Up(LinkId, Box<Stream>),
}

/// What ended a wait.
enum Woken {
    Connected(io::Result<Stream>),
    Exchanged(io::Result<Exchange>),
    Command(Option<Command>),
    Time,
}

struct Driver {
    client: Client,
    endpoints: Vec<String>,
    inbox: mpsc::Receiver<Command>,
    wire: Wire,
    input: BytesMut,
    output: BytesMut,
    timer: Sleeping,
    timer_at: Timestamp,
    answers: BTreeMap<CallId, oneshot::Sender<Result<Reply, Failed>>>,
    guards: BTreeMap<Fence, watch::Sender<News>>,
    /// Calls of the task itself, which nobody waits for; counted down from the top.
    own_calls: u64,
    outputs: Vec<Output>,
    /// The newest state of the shared configuration.
    config: watch::Sender<Option<Mark>>,
    /// Dropped when the task ends, which is what the handles wait for.
    _ended: watch::Sender<()>,
}

/// What the task of a client shows.
#[derive(Debug)]
pub(crate) struct Shown {
    /// It has ended when nobody can say any more that it has.
    pub(crate) ended: watch::Receiver<()>,
    pub(crate) config: watch::Receiver<Option<Mark>>,
}

/// Starts the task of a client.
pub(crate) fn start(options: Options, inbox: mpsc::Receiver<Command>) -> Result<Shown, Error> {
    let settings = options.settings();
    if settings.servers == 0 {
        return Err(Error::Options("no endpoints are given"));
    }
    let identifier = settings.session.as_ref().map(|session| &session.identifier);
    if identifier.is_some_and(|identifier| identifier.len() > IDENTIFIER_BYTES_MAX) {
        return Err(Error::Options("the session's identifier is over 1 KiB"));
    }
    let seed = getrandom::u64().map_err(Error::Random)?;
    let now = clock::now();
    let (ending, ended) = watch::channel(());
    let (teller, config) = watch::channel(None);
    let driver = Driver {
        client: Client::new(settings, Seed::new(seed), now),
        endpoints: options.endpoints,
        inbox,
        wire: Wire::None,
        input: BytesMut::new(),
        output: BytesMut::new(),
        timer: Box::pin(pending()),
        timer_at: Timestamp::MAX,
        answers: BTreeMap::new(),
        guards: BTreeMap::new(),
        own_calls: u64::MAX,
        outputs: Vec::new(),
        config: teller,
        _ended: ending,
    };
    drop(spawn(driver.run()));
    Ok(Shown { ended, config })
}

impl Driver {
    async fn run(mut self) {
        self.take(Input::Tick);
        loop {
            self.settle();
            match self.wait().await {
                Woken::Command(None) => break,
                Woken::Command(Some(command)) => self.commands(command),
                Woken::Connected(result) => self.connected(result),
                Woken::Exchanged(result) => self.exchanged(&result),
                Woken::Time => {
                    (self.timer, self.timer_at) = (Box::pin(pending()), Timestamp::MAX);
                    self.take(Input::Tick);
                }
            }
        }
        self.farewell().await;
    }

    /// Waits until something is to be done. Nothing is lost when one of the others is first: bytes
    /// are in the buffers, and the timer is kept.
    async fn wait(&mut self) -> Woken {
        let wake = self.client.wake_at();
        if wake < self.timer_at {
            self.timer_at = wake;
            self.timer = Box::pin(clock::sleep_until(wake));
        }
        let (input, output) = (&mut self.input, &mut self.output);
        let wire = &mut self.wire;
        let bytes = async move {
            match wire {
                Wire::None => pending().await,
                Wire::Connecting(_, connecting) => Woken::Connected(connecting.await),
                Wire::Up(_, stream) => Woken::Exchanged(stream.exchange(input, output).await),
            }
        };
        select! {
            biased;
            woken = bytes => woken,
            command = self.inbox.recv() => Woken::Command(command),
            () = &mut self.timer => Woken::Time,
        }
    }

    /// Takes everything that callers have at hand, so that it leaves in one write.
    fn commands(&mut self, first: Command) {
        self.command(first);
        for _ in 1..BATCH_MAX {
            match self.inbox.try_recv() {
                Ok(command) => self.command(command),
                Err(_) => break,
            }
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Call { call, want, answer } => {
                self.answers.insert(call, answer);
                self.take(Input::Call { call, want });
            }
            Command::Abandon { call } => {
                self.answers.remove(&call);
                self.take(Input::Abandon { call });
            }
            Command::Release { fence } => self.release(fence),
            Command::Forget { fence } => {
                self.take(Input::Forget { fence });
                self.forget(fence);
            }
        }
    }

    /// Gives back what nobody holds any more.
    fn release(&mut self, fence: Fence) {
        if self.client.belief(fence).is_some() {
            let (call, want) = (self.own_call(), Want::Release { fence });
            self.take(Input::Call { call, want });
        }
        self.forget(fence);
    }

    /// Forgets the guards of a grant that the client has let go.
    fn forget(&mut self, fence: Fence) {
        if self.client.belief(fence).is_none() {
            self.guards.remove(&fence);
        }
    }

    fn own_call(&mut self) -> CallId {
        self.own_calls -= 1;
        CallId(self.own_calls)
    }

    fn connected(&mut self, result: io::Result<Stream>) {
        let Wire::Connecting(link, _) = self.wire else {
            return;
        };
        match result {
            Ok(stream) => {
                self.input.clear();
                self.output.clear();
                self.wire = Wire::Up(link, Box::new(stream));
                self.take(Input::Connected { link });
            }
            Err(error) => {
                tracing::debug!(%error, "a server can't be reached");
                self.wire = Wire::None;
                self.take(Input::Down { link });
            }
        }
    }

    fn exchanged(&mut self, result: &io::Result<Exchange>) {
        let Wire::Up(link, _) = self.wire else {
            return;
        };
        match result {
            Ok(Exchange::Read(_)) => {
                let bytes = self.input.split().freeze();
                self.take(Input::Received { link, bytes });
            }
            Ok(Exchange::Written) => {}
            Ok(Exchange::Ended) | Err(_) => {
                tracing::debug!("the connection to a server ended");
                self.wire = Wire::None;
                self.take(Input::Down { link });
            }
        }
    }

    /// Every input is stamped with a time read after its last byte was here (rule 23).
    fn take(&mut self, input: Input) {
        self.client.step(clock::now(), input, &mut self.outputs);
    }

    /// Says what is to be said, and does what is to be done.
    fn settle(&mut self) {
        self.take(Input::Flush);
        while !self.outputs.is_empty() {
            let mut outputs = std::mem::take(&mut self.outputs);
            for output in outputs.drain(..) {
                self.output(output);
            }
            if self.outputs.is_empty() {
                self.outputs = outputs; // its memory serves again
            } else {
                self.take(Input::Flush);
            }
        }
        self.show_config();
    }

    fn show_config(&self) {
        let now = self.client.config();
        self.config.send_if_modified(|known| {
            let before = std::mem::replace(known, now);
            if let (Some(before), Some(now)) = (before, now)
                && before != now
            {
                tracing::info!(%before, %now, "the shared configuration of the servers changed");
            }
            before != now
        });
    }

    fn output(&mut self, output: Output) {
        match output {
            Output::Connect { link, server } => {
                let endpoint = self.endpoints.get(server).cloned().unwrap_or_default();
                tracing::debug!(%endpoint, "connecting");
                let connecting = async move { Stream::dial(&endpoint, CONNECT_PATIENCE).await };
                self.wire = Wire::Connecting(link, Box::pin(connecting));
            }
            Output::Disconnect { .. } => self.wire = Wire::None,
            Output::Send { bytes, .. } => self.output.extend_from_slice(&bytes),
            Output::Answer { call, result } => self.answer(call, result),
            Output::Grant { fence, news } => self.news(fence, news),
            Output::SessionLost => tracing::warn!("the session is lost, and all that it held"),
        }
    }

    fn answer(&mut self, call: CallId, result: Result<Word, Failed>) {
        let Some(answer) = self.answers.remove(&call) else {
            return; // the task's own
        };
        let fence = match &result {
            Ok(Word::Decided {
                answer: Answer::Granted(grant),
                ..
            }) => Some(grant.fence),
            Ok(_) | Err(_) => None,
        };
        let mut news = None;
        if let Some(fence) = fence
            && let Some(until) = self.client.belief(fence)
        {
            let begin = || watch::channel(News::Until(until)).0;
            // All guards of a re-entrant grant hear the same.
            news = Some(self.guards.entry(fence).or_insert_with(begin).subscribe());
        }
        let reply = result.map(|word| Reply { word, news });
        if answer.send(reply).is_err()
            && let Some(fence) = fence
        {
            self.release(fence); // its caller went away
        }
    }

    fn news(&mut self, fence: Fence, news: News) {
        let Some(teller) = self.guards.get(&fence) else {
            return;
        };
        if teller.send(news).is_err() {
            self.release(fence); // its guard is gone, and could not say so
        } else if matches!(news, News::Lost(_)) {
            self.guards.remove(&fence);
        }
    }

    /// Nobody is there any more: what is still held by guards that could not say so, and the
    /// session, end now rather than by time.
    async fn farewell(mut self) {
        let call = self.own_call();
        let want = Want::CloseSession;
        self.take(Input::Call { call, want });
        self.settle();
        let finish = async {
            while !self.client.is_idle() || !self.output.is_empty() {
                match self.wait_for_bytes().await {
                    Woken::Exchanged(Ok(Exchange::Read(_) | Exchange::Written)) => {}
                    _ => break,
                }
            }
        };
        if clock::timeout(FAREWELL, finish).await.is_none() {
            tracing::debug!("nobody answered the last words; what is held ends by its ttl");
        }
    }

    async fn wait_for_bytes(&mut self) -> Woken {
        let Wire::Up(link, stream) = &mut self.wire else {
            return Woken::Time;
        };
        let link = *link;
        let result = stream.exchange(&mut self.input, &mut self.output).await;
        if matches!(result, Ok(Exchange::Read(_))) {
            let bytes = self.input.split().freeze();
            self.take(Input::Received { link, bytes });
            self.settle();
        }
        Woken::Exchanged(result)
    }
}
