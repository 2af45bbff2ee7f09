//! The number of every command. `docs/WIRE.md` has a row for each, and a test compares.

use crate::limits::HOLDER_BYTES_MAX;
use crate::limits::KEY_BYTES_MAX;
use crate::limits::NAME_BYTES_MAX;
use crate::limits::VALUE_BYTES_MAX;

/// What a command does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// Sets a register.
    Register,
    /// A client's request, and in most cases also the end of its answer.
    Execute,
    /// Closes one row of a list: in answers, and one key of a claim also in requests.
    Row,
    /// Only ever the end of an answer.
    Answer,
    /// Has its number for ever, and is not served by this version.
    Reserved,
}

macro_rules! commands {
    ($($(#[$doc:meta])* $name:ident = $number:literal $kind:ident,)*) => {
        $($(#[$doc])* pub const $name: u16 = $number;)*

        /// Every command: number, name, kind.
        pub const ALL: &[(u16, &str, Kind)] = &[$(($number, stringify!($name), Kind::$kind)),*];

        /// What the command with this number does; none if this version does not know it.
        pub const fn kind(number: u16) -> Option<Kind> {
            match number {
                $($number => Some(Kind::$kind),)*
                _ => None,
            }
        }
    };
}

commands! {
    /// 0 exclusive, 1 shared, 2 null, 3 concurrent read, 4 concurrent write, 5 protected write.
    LOCK_MODE = 0x0000 Register,
    /// 0 leased, 1 static, 2 with its session.
    LIFE = 0x0001 Register,
    /// 0: REQUEST_ID only names the request in its answer. 1 (unless said): it is also the key
    /// under which a retry is known for 60 s.
    REMEMBER = 0x0002 Register,
    /// 1: the answer to a retry; it extends nothing.
    REPLAYED = 0x0003 Register,
    /// 1: the grant had ended before.
    ALREADY = 0x0004 Register,
    /// 1: the same request may succeed later.
    RETRYABLE = 0x0005 Register,
    /// 0 not applied, 1 unknown, 2 applied.
    OUTCOME = 0x0006 Register,
    /// 1: there are more rows after the last.
    MORE = 0x0007 Register,
    /// 1: this server leads.
    LEADER = 0x0008 Register,
    /// The server may have lost its quorum: believe less.
    JEOPARDY = 0x0009 Reserved,
    /// A claim's priority.
    PRIORITY = 0x000a Reserved,
    /// Of a question: 1, if what this server has applied will do. Of its answer: it may be over since.
    STALE = 0x000b Register,
    /// 1: a session that holds it by such a claim enters it once more.
    REENTRANT = 0x000c Register,
    /// 1: the grant is given back however often its session has entered it.
    ALL_ENTRIES = 0x000d Register,
    /// 1: at once, whatever the holder believes.
    HARD = 0x000e Register,
    /// 1: the session's client has many threads, and no deadlock is looked for.
    THREADS = 0x001f Register,

    /// A thing that this server can do; repeated.
    CAPABILITY = 0x1000 Register,
    /// The command that was done.
    OK_COMMAND = 0x1001 Reserved,
    /// The execute command that the server does not know.
    INVALID_COMMAND = 0x1002 Register,
    /// Why not: see `wire::codes`.
    ERROR_CODE = 0x1003 Register,
    /// The version of this protocol.
    VERSION = 0x1004 Register,

    /// The time to live in seconds.
    EXPIRE_SECONDS = 0x2000 Register,
    /// How many of the capacity, instead of a mode.
    PERMITS = 0x2001 Register,
    /// Chooses the registers that all that follows is about: 0 to 63.
    STREAM_ID = 0x2002 Register,
    /// Rows in one page.
    LIMIT = 0x2003 Register,
    /// How long a session outlives its last connection.
    GRACE_MS = 0x2004 Reserved,
    /// How long a key rests after a loss.
    LOCK_DELAY_MS = 0x2005 Reserved,
    /// How many permits the lock has.
    CAPACITY = 0x2006 Register,
    /// How often its session has entered a re-entrant grant.
    ENTERED = 0x2007 Register,

    /// The number of a grant.
    FENCE = 0x3001 Register,
    /// The position in the log at which the answer is true.
    LOG_INDEX = 0x3002 Register,
    /// The time to live in milliseconds.
    TTL_MS = 0x3003 Register,
    /// How long to wait, in milliseconds.
    LOCK_WAIT_TIMEOUT_MS = 0x3004 Register,
    /// The last change of the shared configuration that the server knows.
    CONFIG_ID = 0x3005 Register,
    /// The number of the request in its session, from 1.
    REQUEST_SEQ = 0x3006 Register,
    /// The client has the answers of all requests of its session up to this one.
    DONE_THROUGH = 0x3007 Register,
    /// The number of a claim that waits.
    TICKET = 0x3008 Register,
    /// Its place in the line at most, from 1.
    POSITION = 0x3009 Register,
    /// What is left of a grant's life, in milliseconds.
    REMAINING_MS = 0x300a Register,
    /// How long a holder has had the lock, in milliseconds.
    HELD_MS = 0x300b Register,
    /// How long a waiter has waited, in milliseconds.
    WAITING_MS = 0x300c Register,
    /// How many wait.
    WAITERS = 0x300d Register,
    /// The cluster's agreed time in nanoseconds.
    AGREED_TIME_NS = 0x300e Register,
    /// The number of a server.
    SERVER_ID = 0x300f Register,
    /// The rolling digest of a server's state.
    DIGEST = 0x3010 Register,
    /// When a claim is given up.
    DEADLINE_MS = 0x3011 Reserved,
    /// A hash of the shared configuration at that change, and of every state before it.
    CONFIG_HASH = 0x3012 Register,
    /// The highest fence that holds the lock; not set if nobody does.
    HIGHEST_FENCE = 0x3013 Register,

    /// The session that what follows is done in; zero is none. Stays.
    SESSION_ID = 0x4000 Register,
    /// The caller's name for a request.
    REQUEST_ID = 0x4001 Register,
    /// The cluster.
    CLUSTER_ID = 0x4002 Register,

    /// An Ed25519 key that proves the grant.
    UNLOCK_PUBLIC_KEY = 0x5000 Reserved,
    /// The secret that proves the grant.
    UNLOCK_TOKEN = 0x5001 Register,
    /// The secret that proves the session.
    SESSION_SECRET = 0x5002 Register,
    /// A signature that proves the grant.
    UNLOCK_SIGNATURE = 0x6000 Reserved,

    /// Take the lock, now or not at all.
    SET_LOCK = 0x7000 Execute,
    /// Take the lock, or wait for it.
    SET_LOCK_WAIT = 0x7001 Execute,
    /// The lock is held by the caller.
    LOCKED = 0x7002 Answer,
    /// It is not.
    LOCK_FAILED = 0x7003 Answer,
    /// The server's first word; from a client: are you of this cluster?
    HELLO = 0x7004 Execute,
    /// Prove who is calling.
    AUTHENTICATE = 0x7005 Reserved,
    /// Closes the row of a holder.
    HOLDER_ROW = 0x7006 Row,
    /// Closes the row of a waiter.
    WAITER_ROW = 0x7007 Row,
    /// Closes the row of a lock, after those of its holders and waiters.
    LOCK_ROW = 0x7008 Row,
    /// Closes the row of a server.
    SERVER_ROW = 0x7009 Row,
    /// Give a grant back.
    UNLOCK = 0x7010 Execute,
    /// Let a leased grant live on.
    RENEW = 0x7011 Execute,
    /// Leave the line.
    CANCEL = 0x7012 Execute,
    /// How is this lock?
    QUERY = 0x7013 Execute,
    /// Tell me what happens.
    WATCH = 0x7014 Reserved,
    /// Who are the servers?
    SERVERS = 0x7015 Execute,
    /// Are you there?
    PING = 0x7016 Execute,
    /// Yes.
    PONG = 0x7017 Answer,
    /// Forget all registers of this stream.
    RESET = 0x7018 Execute,
    /// Begin a session.
    OPEN_SESSION = 0x7019 Execute,
    /// Prove a session on this connection.
    RESUME_SESSION = 0x701a Execute,
    /// End a session.
    CLOSE_SESSION = 0x701b Execute,
    /// Let a session live on.
    KEEP_ALIVE = 0x701c Execute,
    /// The key and mode that are set are one more of the claim; in an answer too.
    ADD_KEY = 0x701d Row,
    /// Which locks are there?
    LIST = 0x701e Execute,
    /// Change or read the shared configuration.
    CONFIGURE = 0x701f Reserved,
    /// A grant ended without its holder asking.
    LOST = 0x7020 Reserved,
    /// Somebody waits for what the client holds.
    CONTENDED = 0x7021 Reserved,
    /// The list of servers changed.
    SERVERS_CHANGED = 0x7022 Reserved,
    /// Change how a grant shares its locks.
    CONVERT = 0x7030 Execute,
    /// Hand a grant to another client.
    TRANSFER = 0x7031 Reserved,
    /// Take a grant from its holder.
    REVOKE = 0x7032 Reserved,
    /// Change how many permits a lock has.
    RESIZE = 0x7033 Execute,
    /// Does this grant hold?
    VERIFY = 0x7034 Execute,
    /// End a grant that is another's.
    FORCE_UNLOCK = 0x7035 Execute,

    /// The holder's name, for people.
    HOLDER = 0x8000 Register,
    /// Why an operator takes something.
    REASON = 0x8001 Register,
    /// Which operator.
    TAKEN_BY = 0x8002 Register,

    /// Who is calling.
    USERNAME = 0x9000 Reserved,
    /// And the proof.
    PASSWORD = 0x9001 Reserved,
    /// The tenant. Stays.
    ZONE = 0x9003 Register,
    /// Where the client or a server stands. Stays.
    LOCATION_DOMAIN = 0x9004 Register,
    /// The lock, as a path.
    LOCK_NAME = 0x9005 Register,
    /// A server's name.
    SERVER_NAME = 0x9006 Reserved,
    /// What the client calls itself, for logs. Stays.
    CLIENT_NAME = 0x9007 Register,
    /// A session's name, unique among the live ones of the zone.
    IDENTIFIER = 0x9008 Register,
    /// Why not, in words.
    ERROR_TEXT = 0x9009 Register,
    /// Where native clients reach a server.
    CLIENT_ADDRESS = 0x900a Register,
    /// Where HTTP clients reach a server.
    HTTP_ADDRESS = 0x900b Register,

    /// A value kept with a lock.
    VALUE = 0xa000 Reserved,
    /// The lock, as the canonical bytes of its pairs.
    KEY_VALUES = 0xa001 Register,
    /// Only keys whose canonical bytes begin with this.
    KEY_PREFIX = 0xa002 Register,
    /// Only keys after this one, in canonical bytes.
    KEY_AFTER = 0xa003 Register,
    /// A request for a certificate.
    CSR = 0xa004 Reserved,
    /// Only keys that this selector means.
    SELECTOR = 0xa005 Register,
    /// The order of a list.
    ORDER = 0xa006 Register,
    /// Fences of the session's grants that an operator took, 8 bytes each.
    TAKEN = 0xa007 Register,

    /// The claim waits: its end comes under the same REQUEST_ID.
    ACCEPTED = 0xc000 Answer,
    /// The request is refused.
    REJECTED = 0xc001 Answer,
    /// Nobody is who he says.
    INVALID_AUTH = 0xc002 Reserved,
}

/// The most bytes that the string of this command may have, also if nobody knows the command.
pub const fn cap(number: u16) -> usize {
    match number {
        HOLDER | TAKEN_BY => HOLDER_BYTES_MAX,
        VALUE => VALUE_BYTES_MAX,
        _ => match number >> 12 {
            8 => 255,
            9 => NAME_BYTES_MAX,
            _ => KEY_BYTES_MAX,
        },
    }
}
