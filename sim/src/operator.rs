//! The operator: whoever asks servers for other members.

use bytes::Bytes;
use tenure_core::config::{Change, Shared};
use tenure_core::ids::{Tag, ZoneId};
use tenure_core::machine::command::{Client, Configure};
use tenure_core::node::input::{Admin, Ask, Input, Request};

/// The operator's connection; no client has it.
const OPERATOR: u64 = u64::MAX;

/// The operator, who has seen `shared`, asks for a change of it. No two requests have one number.
pub fn asks(shared: &Shared, change: Change, request: u64) -> Input {
    let configure = Configure {
        expect: shared.mark().change,
        by: "operator".to_owned(),
        change,
    };
    Input::Request {
        tag: Tag {
            conn: OPERATOR,
            request,
        },
        request: Request {
            zone: ZoneId::new(0),
            principal: Bytes::new(),
            client: Client::None,
            ask: Ask::Admin(Admin::Configure(configure)),
        },
    }
}
