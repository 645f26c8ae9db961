//! What happens in a step, so that no scenario holds for want of anything happening.

/// What has happened in the step to a state, as bits. Two states are one whatever happened before.
#[derive(Clone, Copy, Debug, Default)]
pub struct Events(u64);

macro_rules! events {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// Something that happens in a step.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Event {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Event {
            /// Every event, in the order of declaration.
            pub const ALL: &[Event] = &[$(Event::$name,)+];
        }
    };
}

events! {
    /// A client was answered who came after a success: the promise was held against it.
    Checked,
    /// A client was answered from the cache.
    Hit,
    /// A client was answered from a stored slice.
    SliceHit,
    /// A part was stored as a slice.
    PartStored,
    /// An edge changed its cache keys.
    KeysSwitched,
    /// A child was answered from the cache.
    HitForChild,
    /// A follower shared a fetch.
    Joined,
    /// A child shared a fetch of its parent's.
    JoinedByChild,
    /// A follower was not to share what came.
    Refused,
    /// A request had to wait for a next fetch.
    Waited,
    /// A request found no lease.
    Fenced,
    /// An object was found deleted.
    FoundDeleted,
    /// An object was found invalidated.
    FoundStale,
    /// An object was found below the horizon.
    FoundBelowHorizon,
    /// A fetch was sent without a condition.
    Fetched,
    /// A fetch was sent with one.
    AskedConditionally,
    /// A parent passed a request on.
    PassedOn,
    /// A child did not ask its parent, or gave it up.
    Bypassed,
    /// A 304 was admitted.
    NotModified,
    /// A parent answered 304 by its own copy.
    NotModifiedByParent,
    /// A 304 brought a tag.
    TagAdded,
    /// A response was not stored, by a mark or the horizon.
    KeptOut,
    /// A response was stored as stale.
    AdmittedStale,
    /// A parent treated its copy as its child's was.
    HitTold,
    /// A task succeeded by acknowledgements.
    ByAcks,
    /// A task succeeded by time.
    ByTime,
    /// An edge took a lease.
    Leased,
    /// An edge joined anew, at a head.
    Jumped,
    /// A sweep ended.
    Swept,
    /// A process died.
    Crashed,
    /// A process began with a unit from disk.
    Recovered,
    /// It had an object from disk, too.
    RecoveredObject,
    /// A sweep unlinked a file.
    Removed,
    /// A sweep wrote into a file that it is stale.
    Noted,
    /// The epoch changed.
    EpochChanged,
    /// Grants stopped, since an edge was ahead of the log.
    GrantsStopped,
    /// A member's row was marked leaving.
    MarkedLeaving,
    /// A leaving member's row was removed.
    RowRemoved,
    /// An instance restarted, and counts anew.
    TakenOver,
    /// The database's primary was replaced.
    PrimaryReplaced,
}

impl Events {
    pub(crate) fn add(&mut self, event: Event) {
        self.0 |= 1 << event as u32;
    }

    /// Those that happened.
    pub fn all(self) -> impl Iterator<Item = Event> {
        Event::ALL.iter().copied().filter(move |event| self.0 & 1 << *event as u32 != 0)
    }
}

impl PartialEq for Events {
    fn eq(&self, _: &Events) -> bool {
        true
    }
}

impl Eq for Events {}

impl std::hash::Hash for Events {
    fn hash<H: std::hash::Hasher>(&self, _: &mut H) {}
}
