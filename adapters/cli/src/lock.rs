//! `tenure lock NAME -- CMD`: runs a command under a lock.

use crate::args::{Lock, Ttl};
use crate::child::{self, Child};
use crate::exit::{Code, Exit};
use crate::verbs::{claim, not_acquired, service};
use std::process::ExitStatus;
use std::time::Duration;
use tenure_client::{Guard, News};
use tenure_core::limits::WAIT_MS_MAX;
use tenure_core::time::Timestamp;
use tenure_core::wire::token::TokenText;
use tenure_rt::signal::StopSignals;
use tenure_rt::{clock, select};

/// The command is asked to end this long before the lock's deadline, and killed at half of it:
/// never less than a part of the ttl, for a short one.
const LAST_CALL: Duration = Duration::from_secs(4);
/// How long a command may take to end after it was asked, if time is no matter.
const TERM_PATIENCE: Duration = Duration::from_secs(10);

pub(crate) async fn run(lock: &Lock) -> Result<u8, Exit> {
    let client = service(&lock.service)?;
    let wait = if lock.try_once {
        Duration::ZERO
    } else {
        lock.wait.unwrap_or(Duration::from_millis(WAIT_MS_MAX))
    };
    let command = lock.command.join(" ".as_ref());
    let request = claim(&client, &lock.claim, &command.to_string_lossy());
    let mut stop = StopSignals::listen().map_err(|error| Exit::new(Code::System, error))?;
    let guard = select! { biased;
        guard = request.wait(wait).acquire() => guard.map_err(|error| not_acquired(&error))?,
        () = stop.asked() => {
            client.finish().await; // it leaves the line
            return Err(Exit::new(Code::NotAcquired, "stopped while it waited"));
        }
    };
    let child = Child::start(&lock.command, &environment(&lock.claim.name, &guard));
    let child = child.map_err(|error| Exit::new(Code::System, error))?;
    let margin = match lock.claim.ttl {
        Ttl::Lease(ttl) => LAST_CALL.min(ttl / 4),
        Ttl::None => Duration::ZERO,
    };
    let mut held = Held {
        guard,
        child,
        margin,
    };
    let ended = held.watch(&mut stop).await;
    // What the command left behind must not run on without the lock.
    held.child.kill();
    let status = ended?;
    if let Err(error) = held.guard.release().await {
        eprintln!("tenure: the lock was not released: {error}");
    }
    Ok(child::code(status))
}

fn environment(name: &str, guard: &Guard) -> [(&'static str, String); 3] {
    let (fence, token) = (guard.fence(), guard.token());
    [
        ("LOCK_NAME", name.to_owned()),
        ("LOCK_FENCE", fence.to_string()),
        ("LOCK_TOKEN", TokenText { fence, token }.to_string()),
    ]
}

/// A running command, and the lock that it runs under.
struct Held {
    guard: Guard,
    child: Child,
    /// How long before the deadline the command is asked to end.
    margin: Duration,
}

impl Held {
    /// Waits until the command ends; ends it when the lock is lost, or may soon be.
    async fn watch(&mut self, stop: &mut StopSignals) -> Result<ExitStatus, Exit> {
        let mut until = self.guard.until();
        loop {
            let last_call = until.map_or(Timestamp::MAX, |until| before(until, self.margin));
            select! { biased;
                status = self.child.ended() => {
                    return status.map_err(|error| Exit::new(Code::System, error));
                }
                news = self.guard.changed() => match news {
                    News::Until(known) => until = known,
                    News::Jeopardy => eprintln!("tenure: no server answers; the lock may be lost"),
                    News::Lost(loss) => {
                        self.child.kill();
                        return Err(Exit::new(Code::Lost, format!("the lock was lost: {loss}")));
                    }
                },
                () = stop.asked() => {
                    self.child.terminate();
                    return self.ended_by(clock::now().plus(TERM_PATIENCE)).await;
                }
                () = clock::sleep_until(last_call) => {
                    self.child.terminate();
                    let deadline = until.map_or(Timestamp::MAX, |at| before(at, self.margin / 2));
                    self.ended_by(deadline).await?;
                    let message = "no server answered in time; the command was ended before the \
                                   lock may be another's";
                    return Err(Exit::new(Code::Lost, message));
                }
            }
        }
    }

    /// Waits for a command that was asked to end, and kills it at `deadline`.
    async fn ended_by(&mut self, deadline: Timestamp) -> Result<ExitStatus, Exit> {
        let status = select! { biased;
            status = self.child.ended() => status,
            () = clock::sleep_until(deadline) => {
                self.child.kill();
                self.child.ended().await
            }
        };
        status.map_err(|error| Exit::new(Code::System, error))
    }
}

fn before(when: Timestamp, margin: Duration) -> Timestamp {
    let nanos = u64::try_from(margin.as_nanos()).unwrap_or(u64::MAX);
    Timestamp::from_nanos(when.as_nanos().saturating_sub(nanos))
}
