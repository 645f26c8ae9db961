//! The rules, each as what happens when it is dropped.

use crate::scenario::Scenario;

/// Declares the mutants once: the enum, the list of all, and the scenario each must be caught in.
macro_rules! mutants {
    ($($(#[doc = $doc:literal])+ $name:ident in $scenario:ident,)+) => {
        /// A rule of the protocol page, dropped.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Mutant {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Mutant {
            /// Every mutant, in the order of declaration.
            pub const ALL: &[Mutant] = &[$(Mutant::$name,)+];

            /// The scenario in which the checker must catch it.
            pub fn scenario(self) -> Scenario {
                match self {
                    $(Mutant::$name => Scenario::$scenario(),)+
                }
            }
        }
    };
}

mutants! {
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
