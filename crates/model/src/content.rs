//! What is stored of one URL at one edge: variants, a head and a slice, tags that come with any response, HEAD,
//! leave to be stale, and a change of cache keys.
//!
//! Leases, collapsing and what is durable are left to the other models: every request sends a fetch of its own, and
//! applying an entry is one step.

use stateright::{Model, Property};

use crate::event::{Event, Events};
use crate::mutant::ContentMutant;
use crate::search::Told;
use crate::state::{Content, Entry, Method, Scope, Seq, UNTAGGED};

const VARIANTS: usize = 2;
const TASKS: usize = 3;
const REQUESTS: usize = 3;

/// A bounded world. Every number is a limit on how often something may happen in one behaviour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Printed with the results.
    pub name: &'static str,
    /// Client requests.
    pub requests: u8,
    /// Tasks accepted.
    pub purges: u8,
    /// The kinds of entries that a task may be.
    pub entries: &'static [Entry],
    /// All of it is stored at the start, without the tag.
    pub warm: bool,
    /// The variants that clients ask for.
    pub variants: u8,
    /// The first variant is a head and a slice, and clients ask for that slice, too.
    pub sliced: bool,
    /// Clients ask with HEAD, too.
    pub heads: bool,
    /// Responses may name the tag.
    pub tags: bool,
    /// What is past its freshness may be served for a while.
    pub leave: bool,
    /// Cache keys change, once.
    pub keys: bool,
}

const STORED: Stored = Stored {
    name: "",
    requests: 3,
    purges: 1,
    entries: &[
        Entry { scope: Scope::Url, method: Method::Invalidate },
        Entry { scope: Scope::Url, method: Method::Delete },
    ],
    warm: false,
    variants: 1,
    sliced: false,
    heads: false,
    tags: false,
    leave: false,
    keys: false,
};

const BY_TAG: &[Entry] = &[
    Entry { scope: Scope::Tag, method: Method::Invalidate },
    Entry { scope: Scope::Tag, method: Method::Delete },
];

impl Stored {
    /// The scenarios of `make test`.
    pub fn all() -> Vec<Stored> {
        vec![Stored::variants(), Stored::slices(), Stored::plain(), Stored::keys()]
    }

    /// Two variants under one URL.
    pub fn variants() -> Stored {
        Stored { name: "variants", warm: true, variants: 2, ..STORED }
    }

    /// A head and a slice, purged by a tag.
    pub fn slices() -> Stored {
        Stored { name: "slices", warm: true, sliced: true, tags: true, entries: BY_TAG, ..STORED }
    }

    /// One object; HEAD, and leave to be stale.
    pub fn plain() -> Stored {
        Stored { name: "plain", heads: true, leave: true, purges: 2, ..STORED }
    }

    /// Cache keys change between purges.
    pub fn keys() -> Stored {
        Stored { name: "keys", keys: true, ..STORED }
    }
}

/// The protocol over what is stored, whole or without one rule.
#[derive(Clone, Debug)]
pub struct Keeping {
    /// The world it runs in.
    pub scenario: Stored,
    /// The rule dropped.
    pub mutant: Option<ContentMutant>,
}

/// What a task does: purges, under the keys it was planned by, or changes the keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Logged {
    Purge { entry: Entry, keys: u8 },
    Keys,
}

/// A response as it is stored: in one, or as a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Head {
    born: Seq,
    tagged: bool,
    /// Which response it is of.
    response: u8,
    /// The keys it was stored under.
    keys: u8,
    content: Content,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Slice {
    born: Seq,
    tagged: bool,
    /// Of which response.
    response: u8,
    keys: u8,
    content: Content,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Wanted {
    Variant(u8),
    Slice,
    Head,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Phase {
    Free,
    /// It has come, or goes on after a 304.
    New,
    /// Its fetch is under way.
    Asked {
        born: Seq,
        at: Seq,
        keys: u8,
        /// The responses whose validators were sent along, by variant.
        named: [Option<Head>; VARIANTS],
        /// The response that the part belongs to.
        part_of: Option<u8>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Request {
    phase: Phase,
    wanted: Wanted,
    obliged: u8,
}

const NO_REQUEST: Request = Request { phase: Phase::Free, wanted: Wanted::Head, obliged: 0 };

/// One state of what is stored, requests and the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KeptState {
    log: [Logged; TASKS],
    head: Seq,
    applied: Seq,
    /// The keys in force at the control plane, and at the edge.
    keys: [u8; 2],
    heads: [Option<Head>; VARIANTS],
    slice: Option<Slice>,
    responses: u8,
    requests: [Request; REQUESTS],
    requests_left: u8,
    purges_left: u8,
    broken: Option<(Seq, Content)>,
    events: Events,
}

/// A step. Requests are named by their place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeepAction {
    /// A task commits.
    Commit(Entry),
    /// The keys change.
    ChangeKeys,
    /// The edge takes the new keys, before their entry: only a mutant does.
    SwitchEarly,
    /// The edge applies the next entry.
    Apply,
    /// A client asks for a variant.
    Ask(u8),
    /// A client asks for the slice.
    AskSlice,
    /// A client asks with HEAD.
    AskHead,
    /// A request looks: the object may be past its freshness, and may have leave to be.
    Look {
        /// Which.
        request: u8,
        /// It is past its freshness.
        expired: bool,
        /// It may be served for a while all the same.
        leave: bool,
    },
    /// A 200 arrives, with the tag or without.
    Whole(u8, bool),
    /// A 304 arrives that names the validator of a variant.
    NotModified(u8, u8, bool),
    /// A 206 arrives, for the response that it was asked for.
    Part(u8, bool),
}

impl Keeping {
    fn has(&self, mutant: ContentMutant) -> bool {
        self.mutant == Some(mutant)
    }

    /// The newest marks: `(deleted, invalidated)`.
    fn newest(&self, state: &KeptState, tagged: bool, keys: u8) -> (Seq, Seq) {
        let (mut deleted, mut invalidated) = (0, 0);
        for seq in 1..=state.applied {
            let Logged::Purge { entry, keys: of } = state.log[usize::from(seq) - 1] else {
                if !self.has(ContentMutant::KeysChangeWithoutDelete) {
                    deleted = seq;
                }
                continue;
            };
            let matches = match entry.scope {
                Scope::Url => of == keys,
                Scope::Tag => tagged,
            };
            match entry.method {
                Method::Delete if matches => deleted = seq,
                Method::Invalidate if matches => invalidated = seq,
                _ => {}
            }
        }
        (deleted, invalidated)
    }

    fn request_actions(&self, state: &KeptState, actions: &mut Vec<KeepAction>) {
        let scenario = &self.scenario;
        if state.requests_left > 0 {
            actions.extend((0..scenario.variants).map(KeepAction::Ask));
            if scenario.sliced {
                actions.push(KeepAction::AskSlice);
            }
            if scenario.heads {
                actions.push(KeepAction::AskHead);
            }
        }
        let tags: &[bool] = if scenario.tags { &[false, true] } else { &[false] };
        for (index, request) in state.requests.iter().enumerate() {
            if index > 0 && state.requests[index - 1] == *request {
                continue;
            }
            let index = index as u8;
            match request.phase {
                Phase::Free => {}
                Phase::New => {
                    actions.push(KeepAction::Look { request: index, expired: false, leave: false });
                    actions.push(KeepAction::Look { request: index, expired: true, leave: false });
                    if scenario.leave {
                        actions.push(KeepAction::Look { request: index, expired: true, leave: true });
                    }
                }
                Phase::Asked { named, part_of, .. } => {
                    for tag in tags {
                        actions.push(KeepAction::Whole(index, *tag));
                        if part_of.is_some() {
                            actions.push(KeepAction::Part(index, *tag));
                        }
                        for (variant, _) in named.iter().enumerate().filter(|(_, named)| named.is_some()) {
                            actions.push(KeepAction::NotModified(index, variant as u8, *tag));
                        }
                    }
                }
            }
        }
    }

    fn begin(&self, state: &mut KeptState, wanted: Wanted) {
        state.requests_left -= 1;
        // One edge: a task succeeds as soon as it is applied.
        let obliged = (1_u8 << state.applied) - 1;
        if let Some(free) = state.requests.iter_mut().find(|request| request.phase == Phase::Free) {
            *free = Request { phase: Phase::New, wanted, obliged };
        }
    }

    fn look(&self, state: &mut KeptState, index: usize, expired: bool, leave: bool) {
        let request = state.requests[index];
        let mut named = [None; VARIANTS];
        let mut part_of = None;
        let variant = match request.wanted {
            Wanted::Variant(variant) => usize::from(variant),
            Wanted::Slice | Wanted::Head => 0,
        };
        if request.wanted == Wanted::Head {
            // Answered by the origin: a hit would be the same as for GET.
            return self.ask(state, index, named, part_of);
        }
        if let Some(head) = state.heads[variant] {
            let (deleted, invalidated) = self.newest(state, head.tagged, head.keys);
            let ignores = leave && self.has(ContentMutant::LeaveBeatsPurge);
            if deleted > head.born {
                state.events.add(Event::FoundDeleted);
                state.heads[variant] = None;
            } else if (invalidated > head.born && !ignores) || (expired && !leave) {
                if invalidated > head.born {
                    state.events.add(Event::FoundStale);
                }
                named = self.named(state);
            } else if request.wanted == Wanted::Slice {
                if let Some(content) = self.slice_under(state, &head) {
                    state.events.add(Event::SliceHit);
                    return self.answer(state, index, content);
                }
                part_of = Some(head.response);
            } else {
                state.events.add(Event::Hit);
                return self.answer(state, index, head.content);
            }
        }
        self.ask(state, index, named, part_of);
    }

    /// The stored variants whose validators are sent along: none that was deleted.
    fn named(&self, state: &KeptState) -> [Option<Head>; VARIANTS] {
        state.heads.map(|head| {
            head.filter(|head| {
                let (deleted, _) = self.newest(state, head.tagged, head.keys);
                deleted <= head.born || self.has(ContentMutant::DeletedVariantNamed)
            })
        })
    }

    /// The slice, if it may be used by who found the head clear.
    fn slice_under(&self, state: &KeptState, head: &Head) -> Option<Content> {
        let slice = state.slice?;
        if slice.response != head.response && !self.has(ContentMutant::SliceOfAnyResponse) {
            return None;
        }
        let (deleted, invalidated) = self.newest(state, slice.tagged, slice.keys);
        let usable = deleted <= slice.born && (invalidated <= slice.born || invalidated <= head.born);
        // The head's validation is the slice's: they have one strong validator.
        usable.then_some(Content {
            fetched: slice.content.fetched,
            validated: slice.content.validated.max(head.content.validated),
            tag_since: slice.content.tag_since,
        })
    }

    fn ask(&self, state: &mut KeptState, index: usize, named: [Option<Head>; VARIANTS], part_of: Option<u8>) {
        let conditional = named.iter().any(Option::is_some);
        state.events.add(if conditional { Event::AskedConditionally } else { Event::Fetched });
        state.requests[index].phase =
            Phase::Asked { born: state.applied, at: state.head, keys: state.keys[1], named, part_of };
    }

    fn whole(&self, state: &mut KeptState, index: usize, tagged: bool) {
        let Request { phase: Phase::Asked { born, at, keys, .. }, wanted, .. } = state.requests[index] else {
            return;
        };
        let content = Content { fetched: at, validated: at, tag_since: if tagged { at } else { UNTAGGED } };
        let variant = match wanted {
            Wanted::Variant(variant) => usize::from(variant),
            Wanted::Slice => 0,
            Wanted::Head => {
                if let (true, Some(head)) =
                    (self.has(ContentMutant::HeadRequestRaisesBorn), &mut state.heads[0])
                {
                    head.born = head.born.max(born);
                }
                state.requests[index] = NO_REQUEST;
                return;
            }
        };
        state.responses += 1;
        let head = Head { born, tagged, response: state.responses, keys, content };
        let (deleted, _) = self.newest(state, tagged, keys);
        state.heads[variant] = Some(head).filter(|_| deleted <= born);
        if deleted > born {
            state.events.add(Event::KeptOut);
        }
        // A 200 to who wants the slice brings it, too, into the slices of its own response.
        if self.scenario.sliced && wanted == Wanted::Slice {
            state.slice = Some(Slice { born, tagged, response: head.response, keys, content });
        }
        self.answer(state, index, content);
    }

    /// The response has had the tag: for the promise, whatever the edge makes of it.
    fn note_tag(&self, state: &mut KeptState, response: u8, at: Seq) {
        for content in state
            .heads
            .iter_mut()
            .flatten()
            .filter(|head| head.response == response)
            .map(|head| &mut head.content)
            .chain(
                state
                    .slice
                    .iter_mut()
                    .filter(|slice| slice.response == response)
                    .map(|slice| &mut slice.content),
            )
        {
            content.tag_since = content.tag_since.min(at);
        }
    }

    fn not_modified(&self, state: &mut KeptState, index: usize, variant: usize, tagged: bool) {
        let Request { phase: Phase::Asked { born, at, named, .. }, wanted, .. } = state.requests[index]
        else {
            return;
        };
        let Some(asked) = named[variant] else { return };
        if tagged {
            self.note_tag(state, asked.response, at);
            state.events.add(Event::TagAdded);
        }
        let stored = state.heads[variant].filter(|head| head.response == asked.response);
        // Its own answer is held against the tags that the content had when it looked, and those that come with it.
        let mut content = asked.content;
        content.validated = content.validated.max(at);
        if tagged {
            content.tag_since = content.tag_since.min(at);
        }
        if let Some(mut head) = stored {
            state.events.add(Event::NotModified);
            head.content.validated = head.content.validated.max(at);
            head.tagged |= tagged;
            let (deleted, _) = self.newest(state, head.tagged, head.keys);
            head.born = head.born.max(born);
            state.heads[variant] = Some(head).filter(|_| deleted <= born);
        }
        if self.has(ContentMutant::NotModifiedRenewsAllVariants) {
            for head in state.heads.iter_mut().flatten() {
                head.born = head.born.max(born);
            }
        }
        if wanted == Wanted::Slice {
            // The slice is looked for under the renewed head.
            state.requests[index].phase = Phase::New;
            return;
        }
        self.answer(state, index, content);
    }

    fn part(&self, state: &mut KeptState, index: usize, tagged: bool) {
        let Request { phase: Phase::Asked { born, at, keys, part_of: Some(response), .. }, .. } =
            state.requests[index]
        else {
            return;
        };
        if tagged {
            self.note_tag(state, response, at);
            state.events.add(Event::TagAdded);
        }
        let content = Content { fetched: at, validated: at, tag_since: if tagged { at } else { UNTAGGED } };
        if let Some(head) = state.heads[0].as_mut().filter(|head| head.response == response) {
            match self.mutant {
                Some(ContentMutant::PartTagsNotOnHead) => {}
                Some(ContentMutant::PartTakesTags) => head.tagged = tagged,
                _ => head.tagged |= tagged,
            }
            let (since, tagged) = (head.content.tag_since, head.tagged);
            state.events.add(Event::PartStored);
            let content = Content { tag_since: content.tag_since.min(since), ..content };
            state.slice = Some(Slice { born, tagged, response, keys, content });
        }
        self.answer(state, index, content);
    }

    fn answer(&self, state: &mut KeptState, index: usize, content: Content) {
        let obliged = std::mem::replace(&mut state.requests[index], NO_REQUEST).obliged;
        if obliged != 0 {
            state.events.add(Event::Checked);
        }
        for seq in 1..=state.head {
            let Logged::Purge { entry, .. } = state.log[usize::from(seq) - 1] else { continue };
            let matched = entry.scope == Scope::Url || content.tag_since < seq;
            let newest_fetch = match entry.method {
                Method::Invalidate => content.validated,
                Method::Delete => content.fetched,
            };
            if obliged & 1 << (seq - 1) != 0 && matched && newest_fetch < seq {
                state.broken = Some((seq, content));
            }
        }
    }

    fn take(&self, state: &mut KeptState, action: KeepAction) {
        match action {
            KeepAction::Commit(entry) => {
                state.purges_left -= 1;
                let old = self.has(ContentMutant::PlannedByOldKeys);
                let keys = if old { 0 } else { state.keys[0] };
                state.log[usize::from(state.head)] = Logged::Purge { entry, keys };
                state.head += 1;
            }
            KeepAction::ChangeKeys => {
                state.keys[0] = 1;
                state.log[usize::from(state.head)] = Logged::Keys;
                state.head += 1;
            }
            KeepAction::SwitchEarly => state.keys[1] = 1,
            KeepAction::Apply => {
                state.applied += 1;
                if state.log[usize::from(state.applied) - 1] == Logged::Keys {
                    state.keys[1] = 1;
                    state.events.add(Event::KeysSwitched);
                }
            }
            KeepAction::Ask(variant) => self.begin(state, Wanted::Variant(variant)),
            KeepAction::AskSlice => self.begin(state, Wanted::Slice),
            KeepAction::AskHead => self.begin(state, Wanted::Head),
            KeepAction::Look { request, expired, leave } => {
                self.look(state, usize::from(request), expired, leave);
            }
            KeepAction::Whole(index, tagged) => self.whole(state, usize::from(index), tagged),
            KeepAction::NotModified(index, variant, tagged) => {
                self.not_modified(state, usize::from(index), usize::from(variant), tagged);
            }
            KeepAction::Part(index, tagged) => self.part(state, usize::from(index), tagged),
        }
    }
}

impl Model for Keeping {
    type State = KeptState;
    type Action = KeepAction;

    fn init_states(&self) -> Vec<KeptState> {
        let scenario = &self.scenario;
        let content = Content { fetched: 0, validated: 0, tag_since: UNTAGGED };
        let head = |at: usize| Head { born: 0, tagged: false, response: at as u8, keys: 0, content };
        let heads: [Option<Head>; VARIANTS] = std::array::from_fn(|at| {
            Some(head(at)).filter(|_| scenario.warm && at < usize::from(scenario.variants))
        });
        let slice = Slice { born: 0, tagged: false, response: 0, keys: 0, content };
        vec![KeptState {
            log: [Logged::Keys; TASKS],
            head: 0,
            applied: 0,
            keys: [0; 2],
            heads,
            slice: Some(slice).filter(|_| scenario.warm && scenario.sliced),
            responses: VARIANTS as u8,
            requests: [NO_REQUEST; REQUESTS],
            requests_left: self.scenario.requests,
            purges_left: self.scenario.purges,
            broken: None,
            events: Events::default(),
        }]
    }

    fn actions(&self, state: &KeptState, actions: &mut Vec<KeepAction>) {
        let scenario = &self.scenario;
        let over = state.requests_left == 0 && state.requests.iter().all(|request| *request == NO_REQUEST);
        if state.broken.is_some() || over {
            return;
        }
        if state.purges_left > 0 {
            actions.extend(scenario.entries.iter().map(|entry| KeepAction::Commit(*entry)));
        }
        if scenario.keys && state.keys[0] == 0 {
            actions.push(KeepAction::ChangeKeys);
            if self.has(ContentMutant::KeysSwitchedEarly) && state.keys[1] == 0 {
                actions.push(KeepAction::SwitchEarly);
            }
        }
        if state.applied < state.head {
            actions.push(KeepAction::Apply);
        }
        self.request_actions(state, actions);
    }

    fn next_state(&self, last: &KeptState, action: KeepAction) -> Option<KeptState> {
        let mut state = *last;
        state.events = Events::default();
        self.take(&mut state, action);
        state.requests.sort_unstable();
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Keeping>> {
        vec![Property::always("the promise", |_, state: &KeptState| state.broken.is_none())]
    }
}

impl Told for Keeping {
    fn events(&self, state: &KeptState) -> Events {
        state.events
    }

    fn broken(&self, state: &KeptState) -> Option<String> {
        let (seq, content) = state.broken?;
        Some(format!("answers a request begun after success of #{seq} with content {}", content.told()))
    }

    fn tell(&self, before: &KeptState, action: &KeepAction, after: &KeptState) -> String {
        match *action {
            KeepAction::Commit(entry) => {
                format!("commit {:?} {:?} as #{}", entry.method, entry.scope, after.head)
            }
            KeepAction::ChangeKeys => format!("the keys change at #{}", after.head),
            KeepAction::Apply => format!("applies #{}", after.applied),
            KeepAction::Ask(variant) => format!("a client asks for variant {variant}"),
            KeepAction::Look { request, expired, leave } => {
                let expired = if expired { ", object expired" } else { "" };
                let leave = if leave { " with leave to be stale" } else { "" };
                let wanted = before.requests[usize::from(request)].wanted;
                format!("the request for {wanted:?} looks{expired}{leave}, seen {}", after.applied)
            }
            KeepAction::Whole(index, tagged) => {
                let tag = if tagged { " with the tag" } else { "" };
                format!("200{tag} to the request for {:?}", before.requests[usize::from(index)].wanted)
            }
            KeepAction::NotModified(_, variant, tagged) => {
                format!("304{} that names variant {variant}", if tagged { " with the tag" } else { "" })
            }
            KeepAction::Part(_, tagged) => format!("206{}", if tagged { " with the tag" } else { "" }),
            other => format!("{other:?}"),
        }
    }
}
