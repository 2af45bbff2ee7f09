//! Every upper bound of the core. Reaching one is an answer, never a surprise.

use core::time::Duration;

/// Members of a cluster, voters and others together.
pub const MEMBERS_MAX: usize = 9;

/// Bytes of one address of a member. All members of a first configuration fit a superblock.
pub const ADDRESS_BYTES_MAX: usize = 112;
/// Bytes of a location, such as `au.perth.dh4`.
pub const LOCATION_BYTES_MAX: usize = 64;
/// Bytes of a zone's name.
pub const ZONE_NAME_BYTES_MAX: usize = 64;
/// Bytes of the whole shared configuration, its history with it.
pub const CONFIG_BYTES_MAX: usize = 256 << 10;
/// A server that hears of a newer configuration for so long, and does not learn it, takes no
/// clients.
pub const CONFIG_PATIENCE: Duration = Duration::from_secs(1);
/// Changes of the shared configuration that are remembered, with who made them.
pub const CONFIG_HISTORY_MAX: usize = 64;

/// Invitations of servers to be that are open.
pub const INVITES_MAX: usize = 16;
/// Milliseconds that such an invitation lasts at most: a week.
pub const INVITE_MS_MAX: u64 = 7 * 24 * 3600 * 1000;

/// Bytes of one log entry: what a slot may carry.
pub const ENTRY_BYTES_MAX: usize = 1 << 20;
/// Commands in one log entry.
pub const ENTRY_COMMANDS_MAX: usize = 4096;
/// Bytes of one command: a key-value set of the largest size, a holder, and room for the rest.
pub const COMMAND_BYTES_MAX: usize = 24 << 10;

/// Slots that a leader may have proposed and not yet decided.
pub const OPEN_SLOTS_MAX: usize = 1024;
/// Bytes that a leader may have proposed and not yet decided.
pub const OPEN_BYTES_MAX: usize = 8 << 20;
/// Commands that wait at the leader for a slot.
pub const PROPOSALS_MAX: usize = 16 << 10;
/// Requests of one server's own callers that wait for the log. Smaller than the window in which
/// the machine knows a forwarded command again, so that a retry never falls out of it.
pub const PENDING_MAX: usize = 16 << 10;
/// How far behind the newest forwarded command of a server an older one is still known.
pub const VIA_WINDOW: usize = 64 << 10;
/// Callers of one server that wait for a ticket.
pub const WAITING_MAX: usize = 128 << 10;
/// Linearizable reads of one server that wait for a round.
pub const READS_MAX: usize = 16 << 10;

/// Applied entries that stay in memory for followers that lag a little.
pub const WINDOW_SLOTS_MAX: usize = 4096;
/// Bytes of them.
pub const WINDOW_BYTES_MAX: usize = 16 << 20;
/// Bytes of entries in one answer to a follower that catches up, in one accept, or in one part of a
/// promise.
pub const BATCH_BYTES_MAX: usize = 256 << 10;
/// Bytes of one peer frame: a batch of entries of which one may be of the largest size, and a head.
pub const FRAME_BYTES_MAX: usize = (1 << 20) + (512 << 10);

/// Bytes of log entries after which a snapshot is due.
pub const SNAPSHOT_BYTES: u64 = 128 << 20;
/// What an entry counts at least: on the disk it is in a group, which takes whole sectors.
pub const SNAPSHOT_ENTRY_BYTES_MIN: u64 = 4 << 10;
/// Bytes of one chunk of a snapshot.
pub const SNAPSHOT_CHUNK_BYTES: usize = 256 << 10;
/// Records that one slice of a snapshot's sweep writes: half a millisecond of them.
pub const SNAPSHOT_SLICE_RECORDS: usize = 2048;
/// Chunks that a server asks for at a time.
pub const SNAPSHOT_WINDOW: u32 = 4;
/// Words to peers that wait until the disk remembers what they speak of. One more is as good as lost on its
/// way: whoever waits for it asks again.
pub const HELD_WORDS_MAX: usize = 1024;
/// A source of a snapshot that says nothing for this long is left for another.
pub const TRANSFER_PATIENCE: Duration = Duration::from_millis(500);
/// Who was asked for nothing of a snapshot for this long by a peer keeps it for that peer no more.
pub const PIN_PATIENCE: Duration = Duration::from_secs(5);
/// Nor does it once so many newer ones became durable: the log since then stays too.
pub const PIN_NEWER_MAX: u32 = 8;
/// How often a server that can make no snapshot asks for one that is due, one peer at a time.
pub const SNAPSHOT_WISH_EVERY: Duration = Duration::from_secs(1);
/// How long it waits at most after one came that it could not keep; the first wait is the one above,
/// and each is twice the one before.
pub const SNAPSHOT_WISH_WAIT_MAX: Duration = Duration::from_secs(64);
/// Bytes a second that a server gives to peers that catch up, of its log and its snapshots.
pub const CATCHUP_BYTES_PER_SECOND: u64 = 32 << 20;
/// Bytes that it gives at once after a pause.
pub const CATCHUP_BYTES_MAX: u64 = 1 << 20;
/// Chunks of a snapshot that may be on their way to the disk: a sweep that is faster waits.
pub const SNAPSHOT_CHUNKS_OPEN: usize = 16;

/// A leader silent for this long is suspected; a stalled leader loses agreed time beyond it.
pub const ELECTION_TIMEOUT: Duration = Duration::from_millis(150);
/// A server pings its peers this often.
pub const PING_INTERVAL: Duration = Duration::from_millis(40);
/// A candidate of rank r waits r times this.
pub const RANK_DELAY: Duration = Duration::from_millis(25);
/// A leader that no quorum answered for this long stops leading.
pub const CHECK_QUORUM: Duration = Duration::from_millis(450);
/// A server that led badly is not preferred again for at most so long.
pub const REIGN_BACKOFF_MAX: Duration = Duration::from_secs(15 * 60);
/// A leader whose oldest proposal is older than this says that it has no quorum (rule 26).
pub const COMMIT_STALL: Duration = Duration::from_secs(2);
/// A forwarded command that was not seen in the log for this long is forwarded again.
pub const FORWARD_RETRY: Duration = Duration::from_millis(250);
/// A request that the log did not answer for this long is answered with "outcome unknown".
pub const REQUEST_PATIENCE: Duration = Duration::from_secs(10);
/// The last group of the log is followed by an empty seal after this long (rule 12).
pub const TRAILING_SEAL_AFTER: Duration = Duration::from_millis(10);

/// Bytes of one path, of one pair's name.
pub const NAME_BYTES_MAX: usize = 1 << 10;
/// Bytes of one value of a pair.
pub const VALUE_BYTES_MAX: usize = 4 << 10;
/// Bytes of one canonical key.
pub const KEY_BYTES_MAX: usize = 16 << 10;
/// Pairs of one key.
pub const KEY_PAIRS_MAX: usize = 64;
/// Keys of one claim. All of them together have at most `KEY_BYTES_MAX` bytes.
pub const CLAIM_KEYS_MAX: usize = 64;
/// Bytes of a holder's name for people.
pub const HOLDER_BYTES_MAX: usize = 128;
/// Bytes of the reason for which an operator takes something.
pub const REASON_BYTES_MAX: usize = 255;
/// Bytes of a principal's name.
pub const PRINCIPAL_BYTES_MAX: usize = 128;
/// Bytes of a session's identifier, all its strings together.
pub const IDENTIFIER_BYTES_MAX: usize = 1 << 10;

/// The shortest time to live: twice the longest grace after a change of leader.
pub const TTL_MS_MIN: u64 = 500;
/// The longest time to live: 24 hours. Longer than that is `none`, said aloud.
pub const TTL_MS_MAX: u64 = 24 * 3_600_000;
/// The time to live of a lock whose caller named none.
pub const TTL_MS_DEFAULT: u64 = 30_000;
/// The longest wait of one ticket.
pub const WAIT_MS_MAX: u64 = 24 * 3_600_000;
/// How long an offer to a waiter without a session stands (rule 32).
pub const OFFER_MS: u64 = 5_000;
/// How long the answer to a request without a session is kept, in agreed time (rule 38).
pub const DEDUPE_MS: u64 = 60_000;
/// How many such answers a zone keeps.
pub const DEDUPE_MAX: usize = 1 << 20;
/// Answers that a session keeps beyond what it has confirmed (rule 38).
pub const SESSION_WINDOW: u64 = 128;

/// How often a session may have entered one re-entrant grant. One more is refused (`quota`).
pub const ENTRIES_MAX: u32 = 65_535;
/// Grants that an operator takes from one session while it lives. One more is refused (`quota`): each is told in
/// every keep-alive.
pub const TAKEN_MAX: usize = 64;
/// Edges that a search for a deadlock looks at (rule 34).
pub const DEADLOCK_VISITS_MAX: usize = 1000;
/// Zones of one cluster.
pub const ZONES_MAX: usize = 1024;
/// The largest capacity of a lock that is shared by permits.
pub const PERMITS_MAX: u32 = 1 << 30;
/// Keys of the grants and tickets of one zone, together.
pub const LOCKS_MAX: usize = 16 << 20;
/// Keys of the tickets of one zone: places in its lines.
pub const TICKETS_MAX: usize = 1 << 20;
/// Sessions of one zone.
pub const SESSIONS_MAX: usize = 1 << 20;
/// Keys that one entry may take from holders and give to waiters; the rest is done first by the next
/// (rule 42).
pub const EXPIRY_BATCH_MAX: usize = 256;
/// After a change of leader no time to live ends for this long: 2 T_e (rules.md, after rule 23).
pub const GRACE: Duration = Duration::from_millis(300);
/// The grace is given at most once in this much agreed time.
pub const GRACE_INTERVAL: Duration = Duration::from_secs(10);
/// Locks in one page of a list.
pub const PAGE_MAX: usize = 1000;
/// Bytes of a selector, as text; of an order as well.
pub const SELECTOR_BYTES_MAX: usize = 4 << 10;
/// Conditions in one selector: each is looked for among the pairs of each key.
pub const SELECTOR_TERMS_MAX: usize = 64;
/// Parentheses of a selector in each other.
pub const SELECTOR_DEPTH_MAX: usize = 16;
/// Pairs by which a list is sorted.
pub const ORDER_NAMES_MAX: usize = 8;
/// Holders shown in a refusal.
pub const BLOCKERS_SHOWN_MAX: usize = 3;
/// How many holders are looked at for those to show: some may be dead and not reaped.
pub const BLOCKERS_SOUGHT_MAX: usize = 64;
/// How many of a circle of waits a refusal names: its beginning, and its end.
pub const CIRCLE_SHOWN_MAX: usize = 8;
/// Holders shown with one lock.
pub const HOLDERS_SHOWN_MAX: usize = 100;
/// Waiters shown with one lock.
pub const WAITERS_SHOWN_MAX: usize = 100;

const _: () = {
    assert!(COMMAND_BYTES_MAX < ENTRY_BYTES_MAX);
    assert!(BATCH_BYTES_MAX + ENTRY_BYTES_MAX <= FRAME_BYTES_MAX);
    assert!(SNAPSHOT_CHUNK_BYTES <= BATCH_BYTES_MAX);
    assert!(KEY_BYTES_MAX + HOLDER_BYTES_MAX + PRINCIPAL_BYTES_MAX < COMMAND_BYTES_MAX);
    assert!(
        KEY_BYTES_MAX + HOLDER_BYTES_MAX + REASON_BYTES_MAX + PRINCIPAL_BYTES_MAX
            < COMMAND_BYTES_MAX
    );
    assert!(PENDING_MAX < VIA_WINDOW);
    assert!(GRACE.as_nanos() < Duration::from_millis(TTL_MS_MIN).as_nanos());
    assert!(PING_INTERVAL.as_millis() * 3 < ELECTION_TIMEOUT.as_millis());
    assert!(CHECK_QUORUM.as_millis() >= ELECTION_TIMEOUT.as_millis());
};
