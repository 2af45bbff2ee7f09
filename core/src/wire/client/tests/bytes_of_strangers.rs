//! Whatever comes: an error or a valid request, never a panic.

use super::*;
use proptest::prelude::*;

/// Reads `bytes` as a server that trusts the session 0x55. Whatever is asked must be something that
/// a client of ours could have said.
fn survive(bytes: &[u8]) {
    let mut edge = edge();
    prove(&mut edge);
    let (mut asked, mut out) = (Vec::new(), BytesMut::new());
    let mut buffer = BytesMut::from(bytes);
    let _ = edge.read(&config(), &mut buffer, &mut asked, &mut out);
    for one in asked {
        let Request { client, ask, .. } = one.request;
        let id = match client {
            Client::Key(key) => key,
            Client::None | Client::Session { .. } => ID,
        };
        let mut said = BytesMut::new();
        Caller::default().ask(id, &client, &ask, &mut said);
        let mut fresh = super::edge();
        prove(&mut fresh);
        let (again, _) = read(&mut fresh, &said);
        assert_eq!(again[0].request.ask, ask);
        assert_eq!(again[0].request.client, client);
    }
    let mut caller = Caller::default();
    let mut buffer = BytesMut::from(bytes);
    while let Ok(Some(_)) = caller.read(&mut buffer) {}
    // And what the server said about it is something that a client understands.
    while let Some(_heard) = caller_of(&mut out) {}
}

fn caller_of(out: &mut BytesMut) -> Option<Heard> {
    Caller::default().read(out).unwrap()
}

fn sample_stream() -> Vec<u8> {
    let (mut out, mut caller) = (BytesMut::new(), Caller::default());
    for (_, client, ask) in requests::samples() {
        caller.ask(ID, &client, &ask, &mut out);
    }
    out.to_vec()
}

#[test]
fn every_prefix_is_survived() {
    let stream = sample_stream();
    for len in 0..stream.len() {
        survive(&stream[..len]);
    }
}

#[test]
fn every_changed_byte_is_survived() {
    let stream = sample_stream();
    for at in 0..stream.len() {
        for change in [0x01, 0x80, 0xff] {
            let mut bytes = stream.clone();
            bytes[at] ^= change;
            survive(&bytes);
        }
    }
}

#[test]
fn every_changed_byte_of_an_answer_is_survived() {
    let golden = include_str!("../../../../../tests/vectors/client_answers.txt");
    for line in golden.lines().filter(|line| !line.starts_with('#')) {
        let hex = line.split(' ').next_back().unwrap();
        let digit = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        let bytes: Vec<u8> = (0..hex.len()).step_by(2).map(digit).collect();
        for at in 0..bytes.len() {
            for change in [0x01, 0x80, 0xff] {
                let mut changed = bytes.clone();
                changed[at] ^= change;
                survive(&changed);
            }
            survive(&bytes[..at]);
        }
    }
}

/// Commands of the table, well formed, with parameters of no sense.
fn any_command() -> impl Strategy<Value = Vec<u8>> {
    let which = 0..numbers::ALL.len();
    let text = prop::collection::vec(any::<u8>(), 0..20);
    (which, any::<[u8; 32]>(), any::<bool>(), text).prop_map(|(which, raw, small, text)| {
        let (number, ..) = numbers::ALL[which];
        let mut out = Vec::new();
        let class = number >> 12;
        match class {
            0..=6 => {
                out.extend_from_slice(&number.to_be_bytes());
                let width = 1 << class;
                let mut param = [raw, raw].concat();
                if small {
                    param = vec![0; 63];
                    param.insert(width - 1, raw[0] % 4);
                }
                out.extend_from_slice(&param[..width]);
            }
            8..=11 => put_text(&mut out, number, &text),
            _ => put_execute(&mut out, number),
        }
        out
    })
}

proptest! {
    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        survive(&bytes);
    }

    #[test]
    fn any_commands_are_survived(commands in prop::collection::vec(any_command(), 0..40)) {
        survive(&commands.concat());
    }
}
