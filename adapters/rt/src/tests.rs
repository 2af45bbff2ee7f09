use crate::line;
use crate::net::{Exchange, Listener, Stream};
use crate::{block_on, clock, spawn};
use bytes::BytesMut;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

async fn pair() -> (Stream, Stream) {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let listener = Listener::bind(any).await.expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    let dialed = spawn(Stream::connect(address));
    let (taken, _) = listener.accept().await;
    let dialed = dialed.await.expect("the task lives");
    (taken, dialed.expect("somebody listens"))
}

fn limits(output_bytes_max: usize) -> line::Limits {
    line::Limits {
        output_bytes_max,
        deaf_above_bytes: None,
    }
}

#[test]
fn the_clock_goes_on_and_a_sleep_is_not_short() {
    block_on(async {
        let begin = clock::now();
        clock::sleep(Duration::from_millis(3)).await;
        assert!(clock::now().since(begin) >= Duration::from_millis(3));
        let end = begin.plus(Duration::from_millis(6));
        clock::sleep_until(end).await;
        assert!(clock::now() >= end);
        let late = clock::timeout(Duration::from_millis(1), std::future::pending::<()>()).await;
        assert_eq!(late, None);
    })
    .expect("the runtime starts");
}

/// Says that this process runs where the machine has slept for a day.
const SLEPT: &str = "TENURE_SLEPT";
const DAY: Duration = Duration::from_secs(86_400);

/// What a ttl is counted by: a suspended machine does not stand still for the others. In a time namespace the
/// clock that counts suspends may be ahead of the one that does not (`time_namespaces(7)`).
#[test]
fn the_clock_counts_what_the_machine_slept() {
    if let Some(before) = std::env::var_os(SLEPT) {
        let before = before.to_str().and_then(|text| text.parse().ok());
        let before = tenure_core::time::Timestamp::from_nanos(before.expect("a number"));
        assert!(clock::now().since(before) >= DAY, "a day went by");
        return;
    }
    let day = DAY.as_secs().to_string();
    let asleep = [
        "--user",
        "--map-root-user",
        "--time",
        "--boottime",
        &day,
        "--fork",
    ];
    let unshare = |program: &std::ffi::OsStr| {
        let mut command = std::process::Command::new("unshare");
        command.args(asleep).arg(program);
        command
    };
    if !unshare("true".as_ref())
        .status()
        .is_ok_and(|status| status.success())
    {
        return println!("no time namespaces here: not tested");
    }
    let test = std::env::current_exe().expect("a process knows its program");
    let name = "tests::the_clock_counts_what_the_machine_slept";
    let mut again = unshare(test.as_os_str());
    again
        .args(["--exact", name])
        .env(SLEPT, clock::now().as_nanos().to_string());
    let output = again.output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}"
    );
}

#[test]
fn an_alarm_rings_by_its_deadline_also_if_that_moves() {
    block_on(async {
        let mut alarm = clock::Alarm::default();
        let begin = clock::now();
        let at = |ms| begin.plus(Duration::from_millis(ms));
        let gone = clock::timeout(Duration::from_millis(1), alarm.ring(at(60_000))).await;
        assert_eq!(gone, None, "a minute is longer");
        // Earlier: the old timer would ring much too late.
        alarm.ring(at(4)).await;
        assert!(clock::now() >= at(4) && clock::now() < at(30_000));
        // Later: it may ring early, and never late.
        let soon = clock::now().plus(Duration::from_millis(2));
        let gone = clock::timeout(Duration::ZERO, alarm.ring(soon)).await;
        assert_eq!(gone, None, "two milliseconds are longer");
        alarm.ring(at(60_000)).await;
        assert!(clock::now() >= soon && clock::now() < at(30_000));
    })
    .expect("the runtime starts");
}

#[test]
fn two_sides_that_both_have_much_to_say_do_not_wait_for_each_other() {
    async fn swap(mut stream: Stream, bytes: usize) -> usize {
        let mut output = BytesMut::zeroed(bytes);
        let (mut input, mut read) = (BytesMut::new(), 0);
        while read < bytes || !output.is_empty() {
            match stream.exchange(&mut input, &mut output).await {
                Ok(Exchange::Read(count)) => read += count,
                Ok(Exchange::Written) => assert!(output.is_empty()),
                Ok(Exchange::Ended) => break,
                Err(error) => panic!("{error}"),
            }
            input.clear();
        }
        read
    }
    block_on(async {
        let (a, b) = pair().await;
        // Far more than the kernel keeps for either.
        let bytes = 64 << 20;
        let one = spawn(swap(a, bytes));
        let other = swap(b, bytes);
        let both = async { (other.await, one.await.expect("the task lives")) };
        let both = clock::timeout(Duration::from_secs(60), both).await;
        assert_eq!(both, Some((bytes, bytes)));
    })
    .expect("the runtime starts");
}

#[test]
fn what_is_said_leaves_at_once_and_the_rest_is_left_to_the_task() {
    block_on(async {
        let (a, mut b) = pair().await;
        let (speaker, mut hearer) = line::split(a, limits(16 << 20));
        assert!(speaker.say(|out| out.extend_from_slice(b"hello")));
        speaker.flush();
        // Nobody has polled the hearer: the speaker wrote by itself.
        let mut input = BytesMut::new();
        assert_eq!(b.read(&mut input).await.expect("it came"), 5);

        let much = vec![7; 16 << 20];
        assert!(speaker.say(|out| out.extend_from_slice(&much)));
        speaker.flush();
        let task = spawn(async move { hearer.read(&mut BytesMut::new()).await });
        let mut read = 0;
        while read < much.len() {
            input.clear();
            read += b.read(&mut input).await.expect("the rest comes");
        }
        assert_eq!(read, much.len());
        speaker.hang_up();
        let end = task.await.expect("the task lives");
        let kind = end.map_err(|error| error.kind());
        assert_eq!(kind, Err(std::io::ErrorKind::ConnectionAborted));
        assert!(!speaker.say(|_| ()), "the connection is over");
    })
    .expect("the runtime starts");
}

#[test]
fn a_speaker_that_is_not_heard_is_stopped_at_its_limit() {
    block_on(async {
        let (a, _b) = pair().await;
        let (speaker, _hearer) = line::split(a, limits(1000));
        let mut said = 0;
        while speaker.say(|out| out.extend_from_slice(&[0; 100])) {
            said += 100;
            assert!(said <= 1100, "the limit is {said}");
        }
        assert_eq!(said, 1100, "one more than fits, and no more");
    })
    .expect("the runtime starts");
}

#[test]
fn who_does_not_listen_is_not_listened_to() {
    block_on(async {
        let (a, mut b) = pair().await;
        let deaf = line::Limits {
            output_bytes_max: 64 << 20,
            deaf_above_bytes: Some(1 << 20),
        };
        let (speaker, mut hearer) = line::split(a, deaf);
        let much = 32 << 20;
        assert!(speaker.say(|out| out.resize(much, 1)));
        speaker.flush();
        b.write_all(&mut BytesMut::from(&b"more!"[..]))
            .await
            .expect("it fits");
        let mut input = BytesMut::new();
        let limit = Duration::from_millis(50);
        let heard = clock::timeout(limit, hearer.read(&mut input)).await;
        assert!(heard.is_none() && input.is_empty());
        let task = spawn(async move { hearer.read(&mut input).await });
        let (mut taken, mut read) = (BytesMut::new(), 0);
        while read < much {
            taken.clear();
            read += b.read(&mut taken).await.expect("it comes");
        }
        let heard = task.await.expect("the task lives");
        assert_eq!(heard.expect("the connection stands"), 5);
    })
    .expect("the runtime starts");
}

#[test]
fn a_hyper_timer_measures_time() {
    use hyper::rt::Timer;
    block_on(async {
        let begin = clock::now();
        crate::http::Timer.sleep(Duration::from_millis(2)).await;
        assert!(clock::now().since(begin) >= Duration::from_millis(2));
    })
    .expect("the runtime starts");
}

/// A name may stand for several addresses, of which some are silent, and some nobody's.
#[test]
fn the_first_address_of_a_name_at_which_anybody_answers_is_taken() {
    block_on(async {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let gone = Listener::bind(any).await.expect("a port is free");
        let nobody = gone.local_addr().expect("it is bound");
        drop(gone);
        let listener = Listener::bind(any).await.expect("a port is free");
        let there = listener.local_addr().expect("it is bound");
        let patience = Duration::from_secs(20);
        let dialed = Stream::dial_any(&[nobody, there], patience).await;
        let dialed = dialed.expect("somebody listens at the second");
        assert_eq!(dialed.peer_addr().expect("it is connected"), there);
        assert!(Stream::dial_any(&[nobody], patience).await.is_err());
        assert!(Stream::dial_any(&[], patience).await.is_err());
        let named = Stream::dial(&format!("localhost:{}", there.port()), patience).await;
        assert!(named.is_ok(), "also if localhost is ::1 first");
        assert!(Stream::dial("no-port", patience).await.is_err());
    })
    .expect("the runtime starts");
}
