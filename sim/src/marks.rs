//! Proofs that something bit. A fault that never fires is decoration, and so is an oracle that
//! never saw the case it is for: each has a mark, and a report names those that were never hit.

/// What a mark is about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// Something that the world did to the servers.
    Fault,
    /// Something that should happen sometimes, if the load is worth its name.
    Case,
}

impl Kind {
    /// What stands above those of its kind in a report.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Fault => "faults:",
            Self::Case => "cases:",
        }
    }
}

macro_rules! marks {
    ($($(#[$doc:meta])* $name:ident = $kind:ident $text:literal),* $(,)?) => {
        /// Something that should happen sometimes.
        #[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
        pub enum Mark { $(#[doc = $text] $name),* }

        impl Mark {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// Its name in reports.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text),* }
            }

            /// What it is about.
            pub const fn kind(self) -> Kind {
                match self { $(Self::$name => Kind::$kind),* }
            }
        }
    };
}

marks! {
    Drop = Fault "net_drop",
    Duplicate = Fault "net_duplicate",
    Replay = Fault "net_replay",
    Reorder = Fault "net_reorder",
    HeavyTail = Fault "net_heavy_tail",
    Clog = Fault "net_clog",
    BeatDrop = Fault "net_beat_drop",
    Overflow = Fault "net_queue_overflow",
    Thinned = Fault "net_only_a_quorum_is_told",
    Asymmetry = Fault "net_one_way_is_slower",
    Narrow = Fault "net_narrow_link",
    Flap = Fault "net_flap",
    SlowReader = Fault "net_slow_reader",
    Swizzle = Fault "net_swizzle",
    Garbage = Fault "net_garbage",
    ForeignFrame = Fault "net_frame_of_another_sender",
    StrangerKnocks = Fault "net_hello_of_another_cluster",
    Partition = Fault "net_partition",
    OneWay = Fault "net_one_way",
    LeadersIsolated = Fault "net_leader_after_leader_isolated",
    CutAll = Fault "net_all_links_cut",
    BlackHole = Fault "net_black_hole",
    StaleBoot = Fault "net_frame_of_an_earlier_boot",
    LinkHint = Fault "net_link_hint",
    Crash = Fault "crash",
    CrashBetweenOutputs = Fault "crash_between_outputs",
    CrashBeforeSync = Fault "crash_before_sync",
    CrashInSync = Fault "crash_in_sync",
    CrashInSuperblock = Fault "crash_between_superblock_copies",
    CrashInOpen = Fault "crash_in_open",
    PowerCut = Fault "power_cut_on_all",
    LeaderCrash = Fault "crash_of_a_leader",
    Pause = Fault "pause",
    LeaderPause = Fault "pause_of_a_leader",
    GraphWhole = Fault "graph_whole",
    GraphTriangle = Fault "graph_triangle",
    GraphQuorumLoss = Fault "graph_quorum_loss",
    GraphConstrained = Fault "graph_constrained",
    GraphChain = Fault "graph_chain",
    GraphHoward = Fault "graph_howard",
    GraphRandom = Fault "graph_random",
    GraphMute = Fault "graph_mute",
    GraphDeaf = Fault "graph_deaf",
    GraphOneWay = Fault "graph_one_way",
    GraphFlapping = Fault "graph_flapping",
    GraphSwizzle = Fault "graph_swizzle",
    GraphUnelected = Fault "graph_unelected",
    GraphShunned = Fault "graph_shunned",
    GraphBlackHole = Fault "graph_black_hole",
    GraphSlowDisk = Fault "graph_slow_disk",
    GraphHungDisk = Fault "graph_hung_disk",
    GraphLowSpace = Fault "graph_low_space",
    GraphAsked = Fault "graph_asked",
    GraphKilled = Fault "graph_killed",
    GraphStopped = Fault "graph_stopped",
    GraphCutOff = Fault "graph_cut_off",
    GraphSiteLost = Fault "graph_site_lost",
    SiteLost = Fault "site_lost",
    Adds = Fault "operator_adds_a_member",
    Removes = Fault "operator_removes_a_member",
    Replaces = Fault "operator_replaces_a_member",
    Invites = Fault "operator_invites_a_member",
    Joins = Fault "invited_server_becomes_a_member",
    Approves = Fault "operator_lets_in_who_asked",
    ArbiterChanges = Fault "operator_changes_the_role_of_the_arbiter",
    ChangesApart = Fault "operator_asks_a_server_that_is_cut_off_from_another",
    LostInChange = Fault "leader_is_lost_while_members_change",
    TwoOperators = Fault "two_operators_at_once",
    StuckLearner = Fault "learner_is_cut_off_or_down",
    HandOverStorm = Fault "operators_want_many_leaders",
    SnapshotStorm = Fault "snapshots_one_upon_another",
    TruncateStorm = Fault "log_truncated_again_and_again",
    TinyLimits = Fault "limits_tiny",
    RestartLoop = Fault "restart_loop",
    SlowCpu = Fault "slow_cpu",
    SyncError = Fault "disk_sync_error",
    SlowDisk = Fault "disk_slow_for_long",
    SectorLost = Fault "disk_sector_lost",
    OnlyCached = Fault "disk_sectors_of_a_dead_process_only_cached",
    SectorKept = Fault "disk_unsynced_sector_kept",
    Torn = Fault "disk_group_torn",
    SlowSync = Fault "disk_slow_sync",
    NameLost = Fault "disk_unsynced_name_lost",
    NameKept = Fault "disk_unsynced_name_kept",
    Undeleted = Fault "disk_removed_file_is_back",
    Wiped = Fault "disk_wiped",
    DiskLow = Fault "disk_low",
    DiskFull = Fault "disk_full",
    ChunkDropped = Fault "disk_chunk_dropped",
    CrashBeforeFolderSync = Fault "crash_between_rename_and_folder_sync",
    ChunkCorrupted = Fault "net_chunk_corrupted",
    ClockJump = Fault "clock_jump",
    ClockBack = Fault "clock_back",
    ClockFreeze = Fault "clock_stands_still",
    ClockRate = Fault "clock_out_of_spec",
    ClockDrift = Fault "clock_drift",
    ClockSuspend = Fault "clock_goes_on_in_a_suspend",
    ClockStarved = Fault "clock_ticks_come_late_and_at_once",
    ClientCrash = Fault "client_crash",
    ClientHangUp = Fault "client_hang_up",
    ClientDuplicate = Fault "client_duplicate",
    ClientRetry = Fault "client_retry",
    AskedEverywhere = Fault "client_asks_every_server",
    ReplyLost = Fault "client_reply_lost",
    Forged = Fault "client_forged_proof",
    LateWrite = Fault "client_late_write",
    LateWriteRefused = Case "late_write_refused",
    Granted = Case "granted",
    GrantedAfterWait = Case "granted_after_wait",
    ClaimOfMany = Case "claim_of_many_granted",
    ClaimOfManyWaited = Case "claim_of_many_granted_after_wait",
    PermitsGranted = Case "permits_granted",
    ClassicalMode = Case "classical_mode_granted",
    Resized = Case "lock_resized",
    BeyondCapacity = Case "wait_ended_beyond_the_capacity",
    HasCapacity = Case "refused_has_capacity",
    NoPermits = Case "refused_no_permits",
    GrantReplayed = Case "grant_replayed",
    Reentered = Case "entered_again",
    ReenteredFromLine = Case "entered_again_from_the_line",
    LeftOnce = Case "left_once",
    LeftAtOnce = Case "left_however_often_entered",
    NotCovered = Case "refused_not_covered",
    EntriesFull = Case "refused_too_many_entries",
    Forced = Case "taken_by_an_operator",
    FenceChanged = Case "refused_fence_changed",
    ToldOfTaken = Case "keep_alive_tells_what_was_taken",
    Deadlock = Case "refused_since_it_would_wait_for_itself",
    DeadlockInLine = Case "refused_since_one_that_waits_for_it_stands_before_it",
    SearchLimit = Case "refused_since_too_many_hold_and_wait",
    HeldRefusal = Case "refused_held",
    WaitTimeout = Case "refused_wait_timeout",
    ShareHeld = Case "held_shared_by_two",
    Renewed = Case "renewed",
    Released = Case "released",
    ReleasedAlready = Case "released_already",
    Cancelled = Case "cancelled",
    LeaseExpired = Case "lease_expired",
    SessionOpened = Case "session_opened",
    SessionExpired = Case "session_expired",
    SessionClosed = Case "session_closed",
    SessionResumed = Case "session_resumed",
    KeptAlive = Case "kept_alive",
    OfferLapsed = Case "ticket_ended_without_its_caller",
    ReadAnswered = Case "read_answered",
    ReadOfHeld = Case "read_saw_a_holder",
    Verified = Case "verified",
    AnsweredUnknown = Case "answered_unknown",
    AnsweredNoQuorum = Case "answered_no_quorum",
    AnsweredNotReady = Case "answered_not_ready",
    AnsweredBusy = Case "answered_busy",
    AnsweredDiskFull = Case "answered_disk_full",
    QuotaRefused = Case "refused_quota",
    SessionBusy = Case "refused_session_busy",
    BadProofRefused = Case "bad_proof_refused",
    Election = Case "election",
    ClockOff = Case "alarm_about_a_clock",
    Epoch = Case "epoch_begins",
    ShrunkToOne = Case "cluster_shrinks_to_one",
    GrownToFive = Case "cluster_grows_to_five",
    MinorityStaysAway = Case "minority_stays_away_while_members_change",
    RemovedHalted = Case "removed_member_that_is_told_has_halted",
    StrangerRefused = Case "secret_that_nobody_was_given_is_refused",
    Removed = Case "removed_member_stops",
    LostRefused = Case "server_that_lost_its_disk_is_refused",
    FounderRefused = Case "empty_disk_may_not_found_again",
    RemovedRefused = Case "removed_member_is_refused",
    RoleChanged = Case "member_starts_again_in_another_role",
    BecameWitness = Case "voter_keeps_no_locks_any_more",
    BecameVoter = Case "quorum_only_server_gets_the_locks",
    PromotedLeads = Case "leader_that_only_voted_once",
    OpaqueTaken = Case "quorum_only_server_keeps_a_peers_snapshot",
    OpaqueServed = Case "quorum_only_server_gives_its_snapshot",
    HandingOver = Case "leader_hands_over",
    Relocated = Case "leader_moves_to_its_place",
    TakenBack = Case "operator_takes_a_wish_back",
    WishesCameTrue = Case "all_wishes_came_true",
    HandsOverDrained = Case "leader_that_drains_hands_over",
    LeadsDrained = Case "one_that_drains_leads",
    KeepsLeading = Case "leader_was_not_relieved",
    TwoLeaders = Case "two_servers_think_they_lead",
    Reproposed = Case "value_proposed_again_by_a_later_leader",
    Loaded = Case "entries_loaded_from_the_log",
    Configured = Case "config_changed",
    ConfigMoved = Case "config_change_came_late",
    ConfiguredAgain = Case "config_change_told_again",
    CaughtUp = Case "follower_caught_up",
    RoomAgain = Case "full_disk_has_room_again",
    SnapshotMade = Case "snapshot_finished",
    SnapshotGivenUp = Case "snapshot_given_up",
    SnapshotLate = Case "snapshot_tried_again_and_kept",
    Truncated = Case "log_truncated",
    Restored = Case "restarted_from_a_snapshot",
    Installed = Case "snapshot_of_a_peer_installed",
    OfferedWhileLeading = Case "snapshot_offered_to_a_leader",
    SnapshotPinned = Case "snapshot_kept_for_who_fetches_it",
    TransferResumed = Case "snapshot_fetched_from_two_peers",
    BadSnapshot = Case "bad_snapshot_refused",
    Nacked = Case "nacked",
    Outranked = Case "leader_told_of_a_higher_promise",
    Recovered = Case "recovered_undecided_entries",
    RecoveredTorn = Case "recovered_a_torn_tail",
    Linearizable = Case "calls_put_in_one_order",
    FullyHealed = Case "liveness_phase_ended",
}

/// How often each mark was hit.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Marks {
    hits: Vec<u64>,
}

impl Default for Marks {
    fn default() -> Self {
        Self {
            hits: vec![0; Mark::ALL.len()],
        }
    }
}

impl Marks {
    /// It happened.
    pub fn hit(&mut self, mark: Mark) {
        self.hits[mark as usize] += 1;
    }

    /// It happened if `condition` holds.
    pub fn sometimes(&mut self, condition: bool, mark: Mark) {
        if condition {
            self.hit(mark);
        }
    }

    /// How often.
    pub fn count(&self, mark: Mark) -> u64 {
        self.hits[mark as usize]
    }

    /// Adds what another run hit.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.hits.iter_mut().zip(&other.hits) {
            *mine += theirs;
        }
    }

    /// Those that were never hit.
    pub fn never(&self) -> impl Iterator<Item = Mark> + '_ {
        Mark::ALL
            .iter()
            .copied()
            .filter(|mark| self.count(*mark) == 0)
    }
}
