//! Which configuration requests see, and since which position of the log.
//!
//! All of a new configuration is shown at once, but for cache settings that make a zone's keys anew: these are shown
//! together with the entry that goes with them ([`Scope::Keys`]), neither without the other. Purges before that entry
//! were planned by the old keys, purges after it by the new ones, and so each is applied to an edge that stores and
//! looks up by the same.
//!
//! - The entry came first: it waits, and with it all entries after it and every lease, until the configuration is here.
//! - The configuration came first: the zone's old settings stay until the entry before it is applied and this one next.
//! - The configuration is newer than the entry wants, since an edge is only ever sent the newest: it is shown, and the
//!   zone counts as fenced up to its own entry ([`crate::state::State::read`]).
//!
//! Object keys hold the version of the zone's keys, so that what requests with two versions store and fetch never meets.
//! A request that has read the old settings and a `seen` past their end is one that started before the entry could be
//! acknowledged: what it stores is found by no request that starts later. A child edge may have started after that; its
//! request is passed on then ([`has_keys_of`]).

use crate::sites::Sites;
use crate::state::State;
use purge::{ApplyError, Epoch, LogEntry, PurgeSeq, Scope};
use zone::{Zone, ZoneCaching, ZoneId};

/// The newest configuration that came over the present link.
#[derive(Default)]
pub(crate) struct Configuration {
    newest: Option<(u64, Vec<Zone>)>,
}

/// Whether a zone's cache keys are still those that a request was routed by, and are in force at the `seen` that it read
/// since: for requests that may be older than what asked for them.
pub(crate) fn has_keys_of(state: &State, routed: &Zone, seen: PurgeSeq) -> bool {
    let caching = state.zones.read().caching(&routed.id);
    caching.keys_version == routed.caching.keys_version && caching.keys_seq <= seen.number()
}

impl Configuration {
    /// Another link: what came over the one before says nothing about what the control plane has.
    pub(crate) fn forget(&mut self) {
        self.newest = None;
    }

    /// Shows a configuration that an earlier process kept, until one comes. No lease may be taken before that: nothing
    /// says that it goes with the log's position.
    pub(crate) fn show_kept(state: &State, version: u64, zones: Vec<Zone>) {
        state.zones.replace(Sites::new(version, zones));
    }

    /// Which configuration came; 0 before any.
    pub(crate) fn version(&self) -> u64 {
        self.newest.as_ref().map_or(0, |(version, _)| *version)
    }

    /// Takes a configuration and shows what may be shown of it.
    pub(crate) fn take(&mut self, state: &State, version: u64, zones: Vec<Zone>) {
        if version < self.version() {
            return;
        }
        self.newest = Some((version, zones));
        let applied = state.ledger.applied();
        self.show(state, |zone, shown| {
            zone.caching.keys_version != shown.keys_version && zone.caching.keys_seq > applied.number()
        });
    }

    /// Shows all of it: the log is left, and entered again at a position that has this configuration.
    pub(crate) fn show_all(&self, state: &State) {
        self.show(state, |_, _| false);
    }

    /// Applies entries, each change of keys together with its configuration. Returns those that wait for one.
    pub(crate) fn apply<'e>(
        &self,
        state: &State,
        epoch: Epoch,
        mut entries: &'e [LogEntry],
    ) -> Result<&'e [LogEntry], ApplyError> {
        loop {
            let applied = state.ledger.applied();
            let next = entries.iter().enumerate().find_map(|(at, entry)| match entry.entry.scope {
                Scope::Keys { config_version } if entry.seq > applied => Some((at, config_version)),
                _ => None,
            });
            let Some((at, config_version)) = next else {
                return state.ledger.apply(epoch, entries).map(|_| &entries[entries.len()..]);
            };
            let (before, rest) = entries.split_at(at);
            let (change, after) = rest.split_at(1);
            let reached = state.ledger.apply(epoch, before)?;
            let is_next = change[0].seq == reached.next();
            if is_next && self.version() < config_version {
                return Ok(rest);
            }
            if is_next {
                // First, so that whoever reads a position at or past the entry finds the new settings. Whoever finds
                // them before it is applied is fenced for that moment.
                self.show_keys(state, &change[0].entry.zone, change[0].seq);
            }
            state.ledger.apply(epoch, change)?;
            entries = after;
        }
    }

    /// Shows a zone's new keys. What is still held back of other zones stays so.
    fn show_keys(&self, state: &State, changed: &ZoneId, applied: PurgeSeq) {
        self.show(state, |zone, shown| {
            zone.id != *changed
                && zone.caching.keys_version != shown.keys_version
                && zone.caching.keys_seq > applied.number()
        });
    }

    /// Shows the newest configuration, with the settings shown so far for zones of which `holds_back` says so.
    fn show(&self, state: &State, holds_back: impl Fn(&Zone, &ZoneCaching) -> bool) {
        let Some((version, zones)) = &self.newest else { return };
        let shown = state.zones.read();
        // A zone that the edge did not know has no settings yet that could stay.
        let is_known = shown.version() > 0;
        let zone = |zone: &Zone| {
            let caching = shown.caching(&zone.id);
            let stays = is_known && holds_back(zone, &caching);
            if stays { Zone { caching, ..zone.clone() } } else { zone.clone() }
        };
        state.zones.replace(Sites::new(*version, zones.iter().map(zone).collect()));
    }
}
