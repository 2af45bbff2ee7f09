//! What operators ask goes over HTTP: one request on one connection, to whichever server is there.

use crate::args::Service;
use crate::exit::{Code, Exit};
use crate::verbs;
use serde_json::Value;
use tenure_rt::clock;
use tenure_server::ask::ask_at;
pub(crate) use tenure_server::ask::{Ask, escaped};

/// Asks the first server that answers. The native endpoints say where the servers serve HTTP.
pub(crate) async fn ask(service: &Service, ask: &Ask<'_>) -> Result<Value, Exit> {
    let client = verbs::service(service)?;
    let servers = client.servers().await;
    let servers = servers.map_err(|error| verbs::refused(&error))?;
    let mut last = "no server tells where it serves HTTP".to_owned();
    for server in servers.servers {
        let asked = clock::timeout(service.patience, ask_at(&server.http, ask));
        match asked.await {
            Some(Ok((200, body))) => return Ok(body),
            Some(Ok((status, body))) => {
                let refused = refused(status, &body);
                if !matches!(status, 429 | 503) {
                    return Err(refused);
                }
                last = refused.message;
            }
            Some(Err(error)) => last = format!("{}: {error}", server.http),
            None => last = format!("{}: no answer in time", server.http),
        }
    }
    Err(Exit::new(Code::NoService, last))
}

fn refused(status: u16, problem: &Value) -> Exit {
    let said = |field: &str| problem[field].as_str().unwrap_or_default().to_owned();
    let message = format!("{} ({})", said("detail"), said("code"));
    let code = match status {
        400 | 404 => Code::Usage,
        _ => Code::Refused,
    };
    Exit::new(code, message)
}
