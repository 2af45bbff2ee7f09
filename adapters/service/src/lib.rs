//! The lock service as one trait, [`LockService`], with three implementations:
//!
//! - [`Memory`]: the lock machine itself, in this process, with a clock of its own. For unit tests of what
//!   takes locks: nothing runs beside it, and time passes when the test says so.
//! - `Native`: a cluster, by the async client.
//! - `Http`: a cluster, over HTTP.
//!
//! ```
//! use std::time::Duration;
//! use tenure_service::{Claim, Error, LockService, Memory};
//!
//! async fn nightly(locks: &impl LockService) -> Result<(), Error> {
//!     let held = locks.acquire(Claim::new("jobs/nightly")?.holder("host-7")).await?;
//!     // … the work, with `held.fence()` in each write …
//!     locks.release(&held).await?;
//!     Ok(())
//! }
//!
//! # tenure_rt::block_on(async {
//! let locks = Memory::new();
//! let held = locks.acquire(Claim::new("jobs/nightly")?.ttl(Duration::from_secs(10))).await?;
//! assert!(matches!(nightly(&locks).await, Err(Error::Held { .. })));
//! locks.advance(Duration::from_secs(10));
//! nightly(&locks).await?;
//! assert!(locks.release(&held).await?, "it had ended by time");
//! # Ok::<(), Error>(())
//! # }).unwrap().unwrap();
//! ```

mod claim;
mod error;
mod memory;
mod service;
mod views;

#[cfg(feature = "http")]
mod http;
#[cfg(feature = "native")]
mod native;
#[cfg(any(feature = "http", feature = "native"))]
mod poll;

pub use claim::Claim;
pub use error::Error;
pub use memory::Memory;
pub use service::LockService;
pub use views::{Held, Holder, Lock, Verdict, Waiter};

#[cfg(feature = "http")]
pub use http::Http;
#[cfg(feature = "native")]
pub use native::Native;

pub use tenure_core::ids::{Fence, TicketId};
pub use tenure_core::machine::command::{Life, Mode};
pub use tenure_core::machine::key::Key;
pub use tenure_core::node::input::{Proof, Token, Verify};
pub use tenure_core::wire::token::TokenText;
