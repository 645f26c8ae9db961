//! What a purge is: targets, entries, their order, and the edge's ledger of them.
//!
//! The purge protocol's rules live here and nowhere else. Does no I/O, reads no clock, knows no runtime.

mod entry;
mod ledger;
mod member;
mod plan;
mod prefetch;
mod status;
mod tag;
mod target;
mod url;

pub use entry::{Entry, Epoch, LogEntry, Method, PurgeSeq, Scope};
pub use ledger::{
    ApplyError, DurableLedger, DurableMark, DurableZone, ForgetError, ImportError, Judgement, JumpError,
    Ledger, MARK_BYTES, MarkedScope, ScopeMark, Subject, Verdict, ZoneClock,
};
pub use member::{MemberId, MemberIdError};
pub use plan::{
    ENTRIES_PER_JOB_MAX, Failure, FailureReason, PlanError, PlanRequest, PlannedTask, PurgePlan, ZoneChoice,
    plan,
};
pub use prefetch::{
    PREFETCH_HEADER_BYTES_MAX, PREFETCH_HEADERS_MAX, PrefetchHeaderError, PrefetchMode, PrefetchPlan,
    PrefetchTask, check_prefetch_headers, plan_prefetch,
};
pub use status::{
    FencePolicy, JOB_ID_CHARS, JobId, JobIdError, MemberAck, MemberTerms, TaskStatus, Wait, fold,
};
pub use tag::{
    CacheTag, CacheTagError, TAG_BYTES_MAX, TAG_HEADER_BYTES_MAX, TAGS_PER_OBJECT_MAX, TAGS_PER_RESPONSE_MAX,
    Tags, TooManyTags, is_tag,
};
pub use target::{PurgeType, Target, TargetError};
pub use url::{TARGET_BYTES_MAX, URL_BYTES_MAX, UrlError, UrlKey, UrlPrefix, UrlTarget};
