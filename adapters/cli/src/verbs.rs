//! `acquire`, `release`, `unlock`, `show`, `ls`.

use crate::args::{self, Acquire, Claim, Ls, Output, Release, Service, Show, Ttl, Unlock};
use crate::exit::{Code, Exit};
use crate::print;
use bytes::Bytes;
use tenure_client::{
    Cause, Client, Error, Fence, Force, Key, Listing, LockRequest, Options, Proof, codes,
};
use tenure_core::limits::{HOLDER_BYTES_MAX, PAGE_MAX};
use tenure_core::machine::key::path_prefix;
use tenure_core::wire::token::TokenText;

/// A client of the service.
pub(crate) fn service(service: &Service) -> Result<Client, Exit> {
    let options = Options::new(service.endpoints.clone()).patience(service.patience);
    Client::connect(options).map_err(|error| refused(&error))
}

/// The claim that `lock` and `acquire` make.
pub(crate) fn claim(client: &Client, claim: &Claim, command: &str) -> LockRequest {
    let holder = claim
        .holder
        .clone()
        .unwrap_or_else(|| this_process(command));
    let request = client.lock(&claim.name).holder(&holder);
    let request = match claim.ttl {
        Ttl::Lease(ttl) => request.ttl(ttl),
        Ttl::None => request.forever(),
    };
    if claim.shared {
        request.shared()
    } else {
        request
    }
}

/// Who changes the configuration, for its history.
pub(crate) fn who() -> String {
    this_process("").trim_end().to_owned()
}

/// The holder's name unless another is given: who runs what, and where.
fn this_process(command: &str) -> String {
    let user = std::env::var("USER").unwrap_or_else(|_| "somebody".to_owned());
    let host = rustix::system::uname();
    let (host, pid) = (host.nodename().to_string_lossy(), std::process::id());
    let mut holder = format!("{user}@{host} pid {pid} {command}");
    let mut end = HOLDER_BYTES_MAX.min(holder.len());
    while !holder.is_char_boundary(end) {
        end -= 1;
    }
    holder.truncate(end);
    holder
}

pub(crate) async fn acquire(acquire: &Acquire) -> Result<(), Exit> {
    let client = service(&acquire.service)?;
    let request = claim(&client, &acquire.claim, "").no_renewal();
    let guard = request.wait(acquire.wait).acquire().await;
    let guard = guard.map_err(|error| not_acquired(&error))?;
    let grant = guard.grant().clone();
    let Proof { fence, token, .. } = guard.leave();
    let token = TokenText { fence, token };
    print::grant(&acquire.claim.name, &grant, &token, acquire.print.output)
}

pub(crate) async fn release(release: &Release) -> Result<(), Exit> {
    let client = service(&release.service)?;
    let TokenText { fence, token } = release.token;
    let proof = Proof {
        key: key(&release.name)?,
        fence,
        session: None,
        token,
    };
    let already = client
        .release(proof)
        .await
        .map_err(|error| refused(&error))?;
    if already {
        print::line("It had ended before.")
    } else {
        print::line("Released.")
    }
}

pub(crate) async fn unlock(unlock: &Unlock) -> Result<(), Exit> {
    let client = service(&unlock.service)?;
    let force = Force {
        key: key(&unlock.name)?,
        fence: Fence::new(unlock.fence),
        cause: cause(&unlock.cause),
    };
    let forced = client.force_unlock(force).await;
    let forced = forced.map_err(|error| with_holders(refused(&error).code, &error))?;
    print::forced(&unlock.name, &forced, unlock.print.output)
}

/// Who takes something, and why.
fn cause(cause: &args::Cause) -> Cause {
    Cause {
        by: cause.by.clone().unwrap_or_else(who),
        reason: cause.reason.clone(),
    }
}

pub(crate) async fn show(show: &Show) -> Result<(), Exit> {
    let client = service(&show.service)?;
    let seen = client.inspect(key(&show.name)?).await;
    let seen = seen.map_err(|error| refused(&error))?;
    print::lock(&seen.value, show.print.output)
}

pub(crate) async fn ls(ls: &Ls) -> Result<(), Exit> {
    let client = service(&ls.service)?;
    if ls.print.output == Output::Table {
        print::list_head()?;
    }
    let mut listing = Listing {
        prefix: match ls.prefix.as_deref() {
            None => Bytes::new(),
            Some(prefix) => path_prefix(prefix),
        },
        selector: ls.selector.clone(),
        order: ls.sort.clone().unwrap_or_default(),
        after: None,
        limit: PAGE_MAX,
    };
    loop {
        let seen = client.list(listing.clone()).await;
        let page = seen.map_err(|error| refused(&error))?.value;
        for lock in &page.locks {
            print::list_row(lock, ls.print.output)?;
        }
        match page.locks.last() {
            Some(last) if page.more => listing.after = Some(last.key.clone()),
            Some(_) | None => return Ok(()),
        }
    }
}

fn key(name: &str) -> Result<Key, Exit> {
    Key::from_path(name).map_err(|error| Exit::new(Code::Usage, format!("{name}: {error}")))
}

/// Why a lock was not acquired, with who has it.
pub(crate) fn not_acquired(error: &Error) -> Exit {
    let code = match error {
        _ if error.is(codes::WAIT_TIMEOUT) => Code::WaitTimeout,
        _ if error.is_no_service() => Code::NoService,
        Error::Key(_) => Code::Usage,
        _ => Code::NotAcquired,
    };
    with_holders(code, error)
}

/// Why it was not done, with who has the lock.
fn with_holders(code: Code, error: &Error) -> Exit {
    let by = error.rejection().map(|no| no.by.as_slice());
    let holders: Vec<_> = by
        .unwrap_or_default()
        .iter()
        .map(|by| format!("{} under fence {}", by.holder.escape_ascii(), by.fence))
        .collect();
    if holders.is_empty() {
        Exit::new(code, error)
    } else {
        Exit::new(code, format!("{error}: {}", holders.join(", ")))
    }
}

/// Why anything else was not done.
pub(crate) fn refused(error: &Error) -> Exit {
    let code = match error {
        _ if error.is_no_service() => Code::NoService,
        Error::Key(_) | Error::Options(_) => Code::Usage,
        _ => Code::Refused,
    };
    Exit::new(code, error)
}
