//! What a shared cache may do with a request and a response: RFC 9110 and RFC 9111 as pure functions.
//!
//! Owns the decisions: may a response be stored, how long is it fresh, which variant answers a request, is a
//! conditional request met, which bytes does a range name, which fields cross a hop, where
//! messages begin and end on a connection. Header maps and times come in
//! as arguments, answers come out. Whatever bytes a header holds, no function here panics.
//! Does not know zones, purges, stores, sockets or clocks.

mod cache_control;
mod cache_status;
mod client_lifetime;
mod conditional;
mod content_range;
mod date;
mod field;
mod forwarding;
mod framing;
mod freshen;
mod freshness;
mod groups;
mod invalidation;
mod key_parts;
mod policy;
mod range;
mod request_directives;
mod storing;
mod strong_validator;
mod structured;
mod validators;
mod vary;

pub use cache_control::{CDN_CACHE_CONTROL, CacheControl, DELTA_SECONDS_MAX, DIRECTIVE_FIELDS_MAX};
pub use cache_status::{CacheStatus, DETAIL_BYTES_MAX, ForwardReason, KEY_BYTES_MAX};
pub use client_lifetime::set_client_lifetime;
pub use conditional::{Precondition, complete_not_modified, evaluate, not_modified_headers};
pub use content_range::{ContentRange, range_value};
pub use forwarding::{
    VIA_HOPS_MAX, ViaName, ViaNameError, append_cdn_loop, append_via, end_to_end, has_passed,
    strip_hop_by_hop, via_hops,
};
pub use framing::{
    Checked, FramingRefusal, HeadLimits, METHOD_BYTES_MAX, Requests, TRAILER_BYTES_MAX, check_framed_request,
};
pub use freshen::{HeadUpdate, freshen, names_validator, update_by_head};
pub use freshness::{CLOCK_BACK_MAX, Freshness, LifetimeSource, age_secs, is_stale_if_error};
pub use groups::{CACHE_GROUP_INVALIDATION, CACHE_GROUPS, GROUP_BYTES_MAX, GROUPS_MAX, groups};
pub use invalidation::{INVALIDATION_TARGETS_MAX, invalidates, invalidation_targets};
pub use key_parts::{CookiePart, KeyParts};
pub use policy::{OtherStatuses, Policy, SetCookie, Storing, WithoutFreshness};
pub use range::{
    ByteRange, Resolved, content_range, content_range_unsatisfied, if_range_holds, parse_range, resolve,
};
pub use request_directives::{Acceptance, RequestDirectives};
pub use storing::{NoStoreReason, is_only_if_cached, may_store};
pub use strong_validator::StrongValidator;
pub use structured::{BareItem, Member, member, parse_dictionary, parse_list};
pub use validators::{ENTITY_TAG_BYTES_MAX, EntityTag, Validators, conditional_headers};
pub use vary::{VARY_FIELDS_MAX, VARY_KEY_BYTES_MAX, VaryRule};
