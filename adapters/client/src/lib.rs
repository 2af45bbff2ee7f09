//! The async client.
//!
//! ```no_run
//! # async fn example() -> Result<(), tenure_client::Error> {
//! use std::time::Duration;
//! use tenure_client::{Client, Options};
//!
//! let client = Client::connect(Options::new(["127.0.0.1:7601"]))?;
//! let guard = client
//!     .lock("deploy/prod")
//!     .holder("alice")
//!     .ttl(Duration::from_secs(30))
//!     .wait(Duration::from_secs(60))
//!     .acquire()
//!     .await?;
//! println!("held under fence {}", guard.fence()); // hand it to your storage
//! guard.release().await?;
//! # Ok(())
//! # }
//! ```
//!
//! One task has the connection. Calls of any number of tasks go through it in pipeline: what is at
//! hand together leaves in one write. The task is a thin shell around
//! `tenure_core::client::Client`, which decides everything: retries over other servers, renewals, and
//! until when a lock may be believed in.

mod driver;
mod error;
mod guard;
mod handle;
mod lock;
mod options;

pub use error::Error;
pub use guard::Guard;
pub use handle::{Client, Forced, Seen, Servers};
pub use lock::LockRequest;
pub use options::{Options, SessionOptions};

pub use tenure_core::client::{Failed, Loss, News};
pub use tenure_core::config::Mark;
pub use tenure_core::ids::{Fence, SessionId, Slot, TicketId};
pub use tenure_core::machine::answer::{Blocker, Grant};
pub use tenure_core::machine::command::{Acquire, Cause, Force, Life, Mode};
pub use tenure_core::machine::key::Key;
pub use tenure_core::node::input::{Proof, Token, Verify};
pub use tenure_core::query::{
    HolderView, Listing, LockView, Order, Page, Selector, SelectorError, Verdict, WaiterView,
};
pub use tenure_core::time::Timestamp;
pub use tenure_core::wire::client::{Rejection, ServerRow};
pub use tenure_core::wire::codes;

#[cfg(test)]
mod tests;
