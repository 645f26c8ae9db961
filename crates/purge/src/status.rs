//! The status of a task, folded from what edges acknowledged.
//!
//! Owns [`JobId`], [`TaskStatus`] and the rule of the protocol's Leases section by which a task is done. Pure: that the
//! deadline has been reached and what the member rows say comes in.

use crate::{Method, PurgeSeq};
use std::fmt;
use std::sync::Arc;

/// A job's id, in characters.
pub const JOB_ID_CHARS: usize = 12;

/// The id of one CreatePurgeTask call: twelve of `[0-9a-z]`, the first a digit (API field `JobId`).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(Arc<str>);

/// Why a text is no job id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a job id: it is 12 lower-case letters or digits, the first a digit")]
pub struct JobIdError(String);

/// How far a task has come (API field `Status`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TaskStatus {
    /// Some edge may still serve what the task matched.
    Processing,
    /// No request that starts from now on is answered with it.
    Success,
    /// It could not be carried out at all.
    Failed,
    /// An edge stayed silent whose operator chose availability over the promise.
    Timeout,
    /// An administrator withdrew it.
    Canceled,
}

/// What an edge does with its cache past its lease.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum FencePolicy {
    /// Fetches unconditionally. Keeps the promise.
    #[default]
    Fetch,
    /// Asks the origin conditionally. Gives up the promise for `delete`.
    Revalidate,
    /// Answers 503. Keeps the promise.
    Refuse,
    /// Serves what it has. Gives up the promise.
    Serve,
}

/// What a member declares when it joins, for the whole life of its process. On record before it takes effect, because a
/// task may have to say that the promise was given up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct MemberTerms {
    /// What it does past its lease.
    pub policy: FencePolicy,
    /// Its clock is not trusted: tasks wait for its acknowledgement, or the removal of its row, without bound.
    pub acks_only: bool,
    /// It asks a parent edge rather than origins.
    pub has_parent: bool,
}

/// What the fold needs of one member row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemberAck {
    /// The highest position it acknowledged in the job's epoch; [`PurgeSeq::ZERO`] if it acknowledged in another one.
    pub acked: PurgeSeq,
    /// What it declared.
    pub terms: MemberTerms,
    /// Its last lease has run out for certain: it was marked leaving, and so long ago that nothing granted before holds.
    pub lease_over: bool,
}

/// Why a task is not done yet because of one member, or may be done although the member has not acknowledged it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wait {
    /// It has acknowledged everything.
    Nothing,
    /// It is waited for until it acknowledges or its lease has run out.
    Acknowledgement,
    /// It is waited for until it acknowledges or is removed, however long that takes: its clock is not trusted.
    AcksOnly,
    /// Not any more: its lease has run out, and what it does without one keeps the promise.
    LeaseOver,
    /// Not any more: its lease has run out, and it may answer with what the task purged, since its operator chose so.
    PromiseGivenUp,
}

impl JobId {
    /// Makes an id of twelve random bytes.
    pub fn from_random(bytes: [u8; JOB_ID_CHARS]) -> Self {
        const ALPHABET: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
        let letter = |(at, byte): (usize, &u8)| {
            let choices = if at == 0 { 10 } else { ALPHABET.len() };
            char::from(ALPHABET[usize::from(*byte) % choices])
        };
        Self(bytes.iter().enumerate().map(letter).collect::<String>().into())
    }

    /// Parses an id.
    pub fn parse(text: &str) -> Result<Self, JobIdError> {
        let well_formed = text.len() == JOB_ID_CHARS
            && text.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_lowercase())
            && text.starts_with(|first: char| first.is_ascii_digit());
        if well_formed { Ok(Self(text.into())) } else { Err(JobIdError(text.chars().take(64).collect())) }
    }

    /// The id as the API writes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TaskStatus {
    /// Every status.
    pub const EVERY: [Self; 5] =
        [Self::Processing, Self::Success, Self::Failed, Self::Timeout, Self::Canceled];

    /// Reads the status as the API writes it.
    pub fn parse(text: &str) -> Option<Self> {
        Self::EVERY.into_iter().find(|status| status.as_str() == text)
    }

    /// The status as the API writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Processing => "processing",
            Self::Success => "success",
            Self::Failed => "failed",
            Self::Timeout => "timeout",
            Self::Canceled => "canceled",
        }
    }
}

impl FencePolicy {
    /// Every policy.
    pub const EVERY: [Self; 4] = [Self::Fetch, Self::Revalidate, Self::Refuse, Self::Serve];

    /// Reads the policy as configurations and member rows write it.
    pub fn parse(text: &str) -> Option<Self> {
        Self::EVERY.into_iter().find(|policy| policy.as_str() == text)
    }

    /// The policy as configurations and member rows write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fetch => "fetch",
            Self::Revalidate => "revalidate",
            Self::Refuse => "refuse",
            Self::Serve => "serve",
        }
    }

    /// Whether an edge past its lease still keeps the promise for purges of `method`.
    pub const fn keeps_promise(self, method: Method) -> bool {
        match self {
            Self::Fetch | Self::Refuse => true,
            Self::Revalidate => matches!(method, Method::Invalidate),
            Self::Serve => false,
        }
    }
}

/// Folds a job's tasks, which all have `method` and whose last entry is `last_seq`.
///
/// `members` are all member rows, leaving ones too, read **after** the entries were committed: a row read before may lack
/// a member that holds a lease. `deadline_reached`: the instance's own clock, first read after it saw the commit, has
/// advanced by `L·(1 + drift)`.
///
/// Never [`TaskStatus::Failed`] or [`TaskStatus::Canceled`], which are not for edges to say.
pub fn fold(
    last_seq: PurgeSeq,
    method: Method,
    members: impl IntoIterator<Item = MemberAck>,
    deadline_reached: bool,
) -> TaskStatus {
    let mut broken = false;
    for member in members {
        match member.wait(last_seq, method, deadline_reached) {
            Wait::Acknowledgement | Wait::AcksOnly => return TaskStatus::Processing,
            Wait::PromiseGivenUp => broken = true,
            Wait::Nothing | Wait::LeaseOver => {}
        }
    }
    if broken { TaskStatus::Timeout } else { TaskStatus::Success }
}

impl MemberTerms {
    /// Whether the member's row may go by itself, once it was silent for so long that its lease has run out. Not if its
    /// clock is not trusted, nor if it may answer with what was purged: tasks are to wait for it, or to say so.
    pub const fn may_lapse(self) -> bool {
        !self.acks_only && self.policy.keeps_promise(Method::Delete)
    }
}

impl MemberAck {
    /// What the member means for a task of `method` whose job's last entry is `last_seq`.
    pub const fn wait(self, last_seq: PurgeSeq, method: Method, deadline_reached: bool) -> Wait {
        if self.acked.number() >= last_seq.number() {
            return Wait::Nothing;
        }
        // Past the deadline the leases from before the commit have run out, so that a silent edge is fenced; that is
        // worth nothing where its clock may have stood still.
        if self.terms.acks_only {
            return Wait::AcksOnly;
        }
        if !(deadline_reached || self.lease_over) {
            return Wait::Acknowledgement;
        }
        if self.terms.policy.keeps_promise(method) { Wait::LeaseOver } else { Wait::PromiseGivenUp }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn job_ids_parse_only_in_their_one_form() {
        let made = JobId::from_random([255, 0, 35, 36, 1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(made.as_str(), "50z012345678");
        assert_eq!(JobId::parse(made.as_str()), Ok(made));
        for bad in ["", "20ga521cpwc", "20ga521cpwchh", "a0ga521cpwch", "20GA521cpwch", "20ga521cpw-h"] {
            assert!(JobId::parse(bad).is_err(), "{bad}");
        }
        for byte in 0..=255 {
            assert!(JobId::parse(JobId::from_random([byte; 12]).as_str()).is_ok());
        }
    }

    #[test]
    fn words_are_read_as_written() {
        for status in TaskStatus::EVERY {
            assert_eq!(TaskStatus::parse(status.as_str()), Some(status));
        }
        for policy in FencePolicy::EVERY {
            assert_eq!(FencePolicy::parse(policy.as_str()), Some(policy));
        }
        assert_eq!((TaskStatus::parse("done"), FencePolicy::parse("")), (None, None));
    }

    #[test]
    fn a_task_is_done_when_no_edge_can_serve_what_it_matched() {
        use FencePolicy::{Fetch, Refuse, Revalidate, Serve};
        use Method::{Delete, Invalidate};
        use TaskStatus::{Processing, Success, Timeout};
        let member = |acked, policy| {
            let terms = MemberTerms { policy, ..MemberTerms::default() };
            MemberAck { acked: PurgeSeq::new(acked), terms, lease_over: false }
        };
        let acks_only = |acked| {
            let terms = MemberTerms { acks_only: true, ..MemberTerms::default() };
            MemberAck { terms, ..member(acked, Fetch) }
        };
        let over = |member: MemberAck| MemberAck { lease_over: true, ..member };
        let cases: &[(&[MemberAck], Method, bool, TaskStatus)] = &[
            (&[], Delete, false, Success),
            (&[member(7, Fetch), member(9, Serve)], Delete, false, Success),
            (&[member(7, Fetch), member(6, Fetch)], Delete, false, Processing),
            (&[member(7, Fetch), member(6, Fetch)], Delete, true, Success),
            (&[member(0, Refuse)], Invalidate, true, Success),
            (&[member(0, Serve)], Invalidate, false, Processing),
            (&[member(0, Serve)], Invalidate, true, Timeout),
            (&[member(0, Revalidate)], Invalidate, true, Success),
            (&[member(0, Revalidate)], Delete, true, Timeout),
            (&[acks_only(6)], Delete, true, Processing),
            (&[acks_only(7)], Delete, false, Success),
            (&[member(0, Serve), acks_only(6)], Delete, true, Processing),
            (&[over(member(0, Fetch))], Delete, false, Success),
            (&[over(member(0, Serve))], Invalidate, false, Timeout),
            (&[over(member(0, Serve)), member(6, Fetch)], Invalidate, false, Processing),
            (&[over(acks_only(6))], Delete, true, Processing),
        ];
        for (members, method, deadline_reached, expected) in cases {
            let folded = fold(PurgeSeq::new(7), *method, members.iter().copied(), *deadline_reached);
            assert_eq!(folded, *expected, "{members:?} {method:?} {deadline_reached}");
        }
    }
}
