//! The rules, each as what happens when it is dropped.

use crate::content::Stored;
use crate::control::Plane;
use crate::network::Network;
use crate::scenario::Scenario;

/// Declares the mutants of one model once: the enum, the list of all, and the scenario each must be caught in.
macro_rules! mutants {
    ($(#[doc = $what:literal])+ $enum:ident of $scenarios:ident; $($(#[doc = $doc:literal])+ $name:ident in $scenario:ident,)+) => {
        $(#[doc = $what])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $enum {
            $($(#[doc = $doc])+ $name,)+
        }

        impl $enum {
            /// Every mutant, in the order of declaration.
            pub const ALL: &[$enum] = &[$($enum::$name,)+];

            /// The scenario in which the checker must catch it.
            pub fn scenario(self) -> $scenarios {
                match self {
                    $($enum::$name => $scenarios::$scenario(),)+
                }
            }
        }
    };
}

mutants! {
    /// A rule of the protocol page, dropped in the model of one edge.
    Mutant of Scenario;

    /// A follower is refused only if the highest mark lies above born and not above its `seen`.
    IntervalHighestOnly in collapse,
    /// A follower joins whatever its `seen`.
    FollowerIgnoresSeen in collapse,
    /// A follower's `seen` above born is held against the marks of the URL only, not of the tags.
    FollowerSkipsTags in tags,
    /// A follower may share a fetch born below the horizon.
    FollowerIgnoresHorizon in sweeping,
    /// Who waited for a next fetch shares a 304 too, whatever its sender had seen.
    WaitedSharesNotModified in lease,
    /// A fenced edge lets requests join a fetch under way.
    FencedJoins in lease,
    /// A fenced edge asks conditionally.
    FencedRevalidates in lease,
    /// A fenced edge answers from its cache.
    FencedServes in lease,
    /// Objects and marks are looked at before the lease.
    LeaseAfterMarks in restart,
    /// `seen` is read before the lease.
    SeenBeforeLease in lease,
    /// A fetch's born is read when it is sent, after the lookup.
    BornAfterLookup in collapse,
    /// The `checked` of a stored response is the zone's last seq, though its marks were not walked.
    AdmissionClaimsWalk in sweeping,
    /// The marks are not walked again when a response arrives.
    AdmissionWithoutWalk in parallel,
    /// A 304's tags replace those the object had.
    NotModifiedTakesTags in tags,
    /// A 304 renews the header it was asked with, over what another 304 made of it meanwhile.
    NotModifiedRenewsFromOld in parallel,
    /// A 304 raises born to what is applied when it arrives.
    NotModifiedBornAtAnswer in sweeping,
    /// A 304 that a delete keeps out leaves the object as it is.
    NotModifiedRefusedKeepsObject in parallel,
    /// A 304 renews whichever variant is stored when it arrives.
    NotModifiedRenewsAnyVariant in parallel,
    /// After a delete the fetch is conditional, as after an invalidate.
    ConditionalAfterDelete in collapse,
    /// `checked` is read after the walk.
    CheckedAfterWalk in walking,
    /// A walk of a header that was replaced meanwhile raises the new header's `checked`.
    OldWalkVouches in headers,
    /// The horizon is read before the walk instead of after it, so that a sweep can drop the marks between.
    HorizonBeforeWalk in walking,
    /// A walk holds the header it loaded against the `checked` that the stored object has by then.
    CheckedReloaded in walking,
    /// The zone's last seq is raised before the marks are visible.
    LastSeqBeforeMarks in applying,
    /// `applied` is raised before the marks are visible.
    AppliedBeforeMarks in applying,
    /// `applied` is raised before the zone's last seq.
    AppliedBeforeLastSeq in applying,
    /// An edge acknowledges what it received, before the marks are visible.
    AckBeforeMarks in applying,
    /// A task succeeds without waiting for anyone.
    SuccessWithoutAcks in applying,
    /// A sweep drops marks and leaves the horizon.
    SweepForgets in sweeping,
    /// A sweep drops the marks and only then raises the horizon.
    MarksDroppedFirst in sweeping,
    /// A sweep raises `checked` of what lies below the horizon.
    SweepVouchesBelowHorizon in jumping,
    /// Who joins anew drops what it holds and sets no horizon.
    JumpDropsOnce in jumping,
    /// Who joins anew is content with `applied` and `last_seq`: what it holds counts on.
    JumpKeeps in jumping,
    /// Who joins anew raises the horizon last, with `applied`.
    JumpHorizonLast in jumping,
    /// The time of acceptance is read before the commit.
    TimeBeforeCommit in lease,
    /// A task succeeds by time one tick too soon.
    DeadlineShort in lease,
    /// The members are read before the commit.
    MembersCached in lease,
    /// Who is no member is granted a lease.
    GrantsToStrangers in lease,
    /// The head is read before the pings are taken.
    HeadBeforePings in lease,
    /// The lease runs from the grant's arrival, not from the ping.
    LeaseFromGrant in lease,
    /// The lease is taken before the granted head is applied.
    LeaseBeforeApplied in lease,
    /// A member marked leaving is removed at once.
    LeaveAtOnce in members,
    /// A member marked leaving is granted leases.
    GrantsToLeaving in members,
    /// An edge says that it leaves, and keeps its lease.
    LeavesWithLease in members,
    /// A grant for a ping of the earlier process is taken for the new one's.
    OldGrant in restart,
    /// A grant for an earlier ping of the same process is taken for the new ping's.
    EarlierGrant in lease,
}

mutants! {
    /// A rule of the protocol page, dropped in the model of a network.
    NetworkMutant of Network;

    /// A parent answers from its cache whatever the child's floor.
    NoFloor in two_children,
    /// The born that is stored is read after the floor that was told.
    FloorNotBorn in two_children,
    /// A parent lets a child below its floor join the fetch under way.
    JoinsBelowFloor in two_children,
    /// A child joins any fetch of its parent, and a client any of its edge, whatever `seen`.
    JoinsAnyFetch in pair,
    /// A fenced parent with the policy `serve` answers a child as it would a client.
    ParentServes in pair_fenced,
    /// A parent without a lease answers a child without one that has a floor it has reached.
    ParentWithoutLease in pair_fenced,
    /// A child without a lease tells its parent that it holds one.
    FencedChildClaimsLease in pair_fenced,
    /// A parent tells its own parent the child's floor, though its own `seen` is higher.
    LowerFloorPassedOn in three_tiers,
    /// A parent does not hand on the tags of what it answers.
    TagsNotHandedOn in pair_tags,
    /// A child does not tell which purge hit its copy.
    HitNotTold in tags_apart,
    /// A floor of another epoch is compared as if it were of this one.
    FloorOfAnyEpoch in tiers_failover,
    /// The born of another epoch counts as if it were of this one.
    BornOfAnyEpoch in shorter_log,
    /// What a follower has seen in another epoch counts as 0 against the fetch's born of that epoch.
    FollowerAcrossEpochs in failover,
    /// A copy of the log that lacks a commit is promoted in the same epoch.
    EpochKept in failover,
    /// An epoch begins without an entry that deletes all.
    EpochWithoutEntry in failover,
    /// Leases are granted though an edge has applied what the log lacks.
    GrantsBehindEdge in late_epoch,
    /// What an edge has applied beyond a restored log counts as acknowledged.
    AcksBehindEdge in late_epoch,
    /// An edge applies on from the first retained entry, over the gap.
    GapIgnored in truncated,
    /// A restarted process takes its predecessor's lease for its own.
    LeaseSurvivesRestart in disk,
    /// `applied` becomes durable, and its marks do not.
    TornUnit in disk,
    /// What is recovered counts as checked up to what the unit says is applied.
    RecoveredCheckedToApplied in disk,
    /// An object is written to a file without a walk, as if it had passed one.
    FileWrittenUnwalked in disk,
    /// Files are swept while an object composed before is yet to be written.
    FilesSweptDuringWrite in disk,
    /// A file that does not know the tag a 304 brought stays.
    FileWithoutTagSurvives in disk_tags,
    /// Such a file is unlinked, and clients are answered before that is durable.
    TaglessFileUnsynced in disk_tags,
    /// A sweep of files ends without a sync.
    SweepWithoutSync in disk,
}

mutants! {
    /// A rule of the protocol page, dropped in the model of the control plane.
    ControlMutant of Plane;

    /// A turn of the fold reads the members before the tasks.
    MembersBeforeTasks in two_instances,
    /// A silent member's row is removed by an instance that did not hear it, without waiting a lease.
    SilentRemovedAtOnce in two_instances,
    /// An instance knows a member that has no row.
    MemberInMemory in two_instances,
    /// Grants are read from a replica.
    GrantsFromReplica in two_instances,
    /// A process takes a grant after it gave up its lease for good.
    LeftTakesGrant in two_instances,
    /// Two processes are one member.
    CloneIsMember in two_processes,
    /// An instance that takes a task over goes on from when another saw it, by that one's clock.
    TakeOverKeepsTime in taken_over,
    /// An instance removes a leaving row by when another marked it, by that one's clock.
    LeavingTimeShared in two_instances,
    /// A leaving row is removed by when an instance saw it leaving before it was removed and came back.
    EarlierMarkCounts in two_instances,
    /// A primary that was replaced still grants.
    ReplacedPrimaryGrants in replaced_primary,
    /// A lowered `L` counts at once.
    LoweredAtOnce in lowered,
    /// A member whose clock may stop is removed for its silence.
    StoppedClockRemoved in stopped_clock,
}

mutants! {
    /// A rule of the protocol page, dropped in the model of what is stored.
    ContentMutant of Stored;

    /// A 304 renews every stored variant, not only the one whose validator it names.
    NotModifiedRenewsAllVariants in variants,
    /// The validator of a variant that was deleted is sent along with another's.
    DeletedVariantNamed in variants,
    /// A slice joins any response of the same validator.
    SliceOfAnyResponse in slices,
    /// A tag that a part brings is not the head's.
    PartTagsNotOnHead in slices,
    /// The tags of a part take the place of those that the head had.
    PartTakesTags in slices,
    /// The answer to HEAD raises the born of what is stored.
    HeadRequestRaisesBorn in plain,
    /// Leave to be stale counts against an invalidate, too.
    LeaveBeatsPurge in plain,
    /// A change of keys is an entry that deletes nothing.
    KeysChangeWithoutDelete in keys,
    /// An edge changes its keys before it applied their entry.
    KeysSwitchedEarly in keys,
    /// A purge is planned by the keys that were in force before.
    PlannedByOldKeys in keys,
}
