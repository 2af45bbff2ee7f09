//! The forms of commands: frozen, and apart from the live types.

use crate::ids::ChangeId;
use crate::machine::command::{Cause, Life, Mode};
use alloc::string::ToString;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
pub(super) struct HeaderFormat<'a> {
    pub(super) zone: u32,
    #[serde(borrow)]
    pub(super) principal: &'a [u8],
    pub(super) client: ClientFormat,
    pub(super) via: (u64, u64, u64),
    pub(super) number: u16,
    pub(super) body: &'a [u8],
}

#[derive(Serialize, Deserialize)]
pub(super) enum ClientFormat {
    None,
    Key(u128),
    Session(u128, u64, u64),
}

#[derive(Serialize, Deserialize)]
pub(super) enum ModeFormat {
    Exclusive,
    Shared,
    Null,
    ConcurrentRead,
    ConcurrentWrite,
    ProtectedWrite,
    Permits(u32, u32),
}

#[derive(Serialize, Deserialize)]
pub(super) enum LifeFormat {
    Lease(u64),
    Static,
    Session,
}

impl From<&ModeFormat> for Mode {
    fn from(mode: &ModeFormat) -> Self {
        match mode {
            ModeFormat::Exclusive => Self::Exclusive,
            ModeFormat::Shared => Self::Shared,
            ModeFormat::Null => Self::Null,
            ModeFormat::ConcurrentRead => Self::ConcurrentRead,
            ModeFormat::ConcurrentWrite => Self::ConcurrentWrite,
            ModeFormat::ProtectedWrite => Self::ProtectedWrite,
            ModeFormat::Permits(n, capacity) => Self::Permits {
                n: *n,
                capacity: *capacity,
            },
        }
    }
}

impl From<Mode> for ModeFormat {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Exclusive => Self::Exclusive,
            Mode::Shared => Self::Shared,
            Mode::Null => Self::Null,
            Mode::ConcurrentRead => Self::ConcurrentRead,
            Mode::ConcurrentWrite => Self::ConcurrentWrite,
            Mode::ProtectedWrite => Self::ProtectedWrite,
            Mode::Permits { n, capacity } => Self::Permits(n, capacity),
        }
    }
}

impl From<LifeFormat> for Life {
    fn from(life: LifeFormat) -> Self {
        match life {
            LifeFormat::Lease(ttl_ms) => Self::Lease { ttl_ms },
            LifeFormat::Static => Self::Static,
            LifeFormat::Session => Self::Session,
        }
    }
}

impl From<Life> for LifeFormat {
    fn from(life: Life) -> Self {
        match life {
            Life::Lease { ttl_ms } => Self::Lease(ttl_ms),
            Life::Static => Self::Static,
            Life::Session => Self::Session,
        }
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct PartFormat<'a> {
    #[serde(borrow)]
    pub(super) key: &'a [u8],
    pub(super) mode: ModeFormat,
}

#[derive(Serialize, Deserialize)]
pub(super) struct AcquireFormat<'a> {
    #[serde(borrow)]
    pub(super) parts: Vec<PartFormat<'a>>,
    pub(super) life: LifeFormat,
    pub(super) holder: &'a [u8],
    pub(super) wait_ms: u64,
}

/// A claim as it was when it had one key.
#[derive(Deserialize)]
pub(super) struct AcquireOneFormat<'a> {
    pub(super) key: &'a [u8],
    pub(super) mode: ModeFormat,
    pub(super) life: LifeFormat,
    pub(super) holder: &'a [u8],
    pub(super) wait_ms: u64,
}

#[derive(Serialize, Deserialize)]
pub(super) struct ReleaseFormat<'a> {
    pub(super) key: &'a [u8],
    pub(super) fence: u64,
}

#[derive(Serialize, Deserialize)]
pub(super) struct RenewFormat<'a> {
    pub(super) key: &'a [u8],
    pub(super) fence: u64,
    pub(super) ttl_ms: Option<u64>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct ResizeFormat<'a> {
    pub(super) key: &'a [u8],
    pub(super) capacity: u32,
}

#[derive(Serialize, Deserialize)]
pub(super) struct ConvertFormat<'a> {
    pub(super) fence: u64,
    #[serde(borrow)]
    pub(super) parts: Vec<PartFormat<'a>>,
    pub(super) wait_ms: u64,
}

#[derive(Serialize, Deserialize)]
pub(super) struct OpenFormat<'a> {
    pub(super) ttl_ms: u64,
    pub(super) identifier: &'a [u8],
}

#[derive(Serialize, Deserialize)]
pub(super) struct ConfigureFormat<B, C> {
    pub(super) expect: ChangeId,
    pub(super) by: B,
    // Frozen where it is defined: `config::Change`.
    pub(super) change: C,
}

#[derive(Serialize, Deserialize)]
pub(super) struct ForceFormat<'a> {
    pub(super) key: &'a [u8],
    pub(super) fence: u64,
    #[serde(borrow)]
    pub(super) cause: CauseFormat<'a>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct CauseFormat<'a> {
    pub(super) by: &'a str,
    pub(super) reason: &'a str,
}

impl From<CauseFormat<'_>> for Cause {
    fn from(cause: CauseFormat<'_>) -> Self {
        Self {
            by: cause.by.to_string(),
            reason: cause.reason.to_string(),
        }
    }
}

impl<'a> From<&'a Cause> for CauseFormat<'a> {
    fn from(cause: &'a Cause) -> Self {
        Self {
            by: &cause.by,
            reason: &cause.reason,
        }
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct StartFormat {
    pub(super) fence_floor: u64,
}
