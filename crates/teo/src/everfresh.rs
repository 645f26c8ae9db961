//! Product `everfresh` 2026-11-01: what EdgeOne has no word for.

use crate::declare::{choice, product, shape};
use crate::edgeone::PurgeType;
use crate::wire::SecretText;

/// The longest wait of one `DescribeJobProgress`, in milliseconds.
pub const WAIT_MILLISECONDS_MAX: i64 = 60_000;
/// The longest life of a join token, in seconds: ten years.
pub const TOKEN_SECONDS_MAX: i64 = 10 * 366 * 86_400;
/// The longest comment on a key, in bytes.
pub const COMMENT_BYTES_MAX: usize = 256;

choice! {
    /// Whether a key may be used.
    pub enum KeyStatus {
        /// Requests signed with it are accepted.
        Enabled = "enabled",
        /// Requests signed with it are answered `AuthFailure.InvalidSecretId`.
        Disabled = "disabled",
    }
}

choice! {
    /// How far an edge is.
    pub enum EdgeState {
        /// It has applied everything asked about.
        Applied = "applied",
        /// It has not applied everything yet.
        Pending = "pending",
        /// It gave up its lease, or was silent for too long; it joins anew when it is back.
        Leaving = "leaving",
        /// It gets no lease until it is resumed.
        Drained = "drained",
        /// It has a key, and no process of it is there.
        Absent = "absent",
    }
}

choice! {
    /// Whether a join token lets edges in.
    pub enum EdgeTokenStatus {
        /// It does.
        Active = "active",
        /// Its time is over.
        Expired = "expired",
        /// It was revoked.
        Revoked = "revoked",
    }
}

choice! {
    /// What one edge means for a job: whether it is waited for, and why.
    pub enum EdgeWait {
        /// It has acknowledged the job: it answers with nothing that the job purged.
        Acknowledged = "acknowledged",
        /// It is there and is waited for: it has not acknowledged yet.
        NotAcknowledged = "not-acknowledged",
        /// It is waited for, until its lease has run out: it was not heard of for half a lease or longer.
        Silent = "silent",
        /// It is waited for without bound, until it acknowledges or is removed: its clock is not trusted.
        AcksOnly = "acks-only",
        /// It is not waited for: its lease has run out, and without one it answers with nothing cached unasked.
        LeaseOver = "lease-over",
        /// It is not waited for: its lease has run out, and by its policy it may answer with what the job purged.
        PromiseGivenUp = "promise-given-up",
    }
}

choice! {
    /// What an edge does without a lease.
    pub enum FencePolicy {
        /// It asks the origin for everything.
        Fetch = "fetch",
        /// It asks the origin whether what it has is still good: gives up the promise for purges with delete.
        Revalidate = "revalidate",
        /// It answers 503.
        Refuse = "refuse",
        /// It serves what it has: gives up the promise.
        Serve = "serve",
    }
}

choice! {
    /// How far a job is, all its tasks together.
    pub enum JobStatus {
        /// Some edge may still answer with what the job purged.
        Processing = "processing",
        /// No edge does.
        Success = "success",
        /// It could not be carried out.
        Failed = "failed",
        /// An edge stayed silent where the operator chose availability over the promise.
        Timeout = "timeout",
        /// An administrator cancelled it.
        Canceled = "canceled",
    }
}

shape! {
    /// An API key, without its secret.
    pub struct Key {
        /// Names the key in requests.
        secret_id "SecretId": String, required;
        /// What its maker said about it.
        comment "Comment": String, required;
        /// Whether it may be used.
        status "Status": KeyStatus, required;
        /// When it was made, ISO 8601 in UTC.
        create_time "CreateTime": String, required;
    }
}

shape! {
    /// How far one edge process is with a job.
    pub struct EdgeProgress {
        /// The edge's name, as its operator gave it.
        edge_name "EdgeName": String, required;
        /// The process: a random id per start.
        member_id "MemberId": String, required;
        /// The highest log position up to which it has applied everything.
        applied_seq "AppliedSeq": i64, required;
        /// How many entries of the log up to the job's last one it has not applied.
        lag_entries "LagEntries": i64, required;
        /// How far it is with this job.
        state "State": EdgeState, required;
        /// Whether the job waits for it.
        waited_for "WaitedFor": bool, required;
        /// Why, or why not.
        reason "Reason": EdgeWait, required;
        /// What it does without a lease.
        fence_policy "FencePolicy": FencePolicy, required;
        /// Whether jobs wait for it without bound, since its clock is not trusted.
        acks_only "AcksOnly": bool, required;
        /// How long ago the control plane that answers heard of it, in milliseconds; null if it never did.
        silent_milliseconds "SilentMilliseconds": i64, nullable;
    }
}

shape! {
    /// An edge process that the control plane knows, or an edge that has a key and no process.
    pub struct Edge {
        /// The edge's name, as its operator gave it.
        edge_name "EdgeName": String, required;
        /// The process: a random id per start.
        member_id "MemberId": String, nullable;
        /// The highest log position up to which it has applied everything.
        applied_seq "AppliedSeq": i64, nullable;
        /// How many entries of the log it has not applied.
        lag "Lag": i64, nullable;
        /// How far it is with the log's head, and whether it gets leases.
        state "State": EdgeState, required;
        /// The version of its program.
        version "Version": String, nullable;
        /// Where it linked from.
        address "Address": String, nullable;
        /// When it joined, ISO 8601 in UTC: the process, or if there is none, the edge.
        join_time "JoinTime": String, required;
    }
}

shape! {
    /// A token that lets edges in, without the token itself.
    pub struct EdgeToken {
        /// Names the token in requests.
        token_id "TokenId": String, required;
        /// What its maker said about it.
        comment "Comment": String, required;
        /// Whether it lets edges in.
        status "Status": EdgeTokenStatus, required;
        /// When it was made, ISO 8601 in UTC.
        create_time "CreateTime": String, required;
        /// From when on it lets nobody in, ISO 8601 in UTC.
        expire_time "ExpireTime": String, nullable;
    }
}

product! {
    Everfresh, "everfresh", "2026-11-01";

    /// Makes an API key. Its secret is answered here and never again.
    CreateKey {
        request CreateKeyRequest {
            /// What it is for.
            comment "Comment": String, optional .bytes(COMMENT_BYTES_MAX);
        }
        response CreateKeyResponse {
            /// Names the key in requests.
            secret_id "SecretId": String, required;
            /// Signs requests; keep it.
            secret_key "SecretKey": SecretText, required;
        }
    }

    /// Lists all API keys, without their secrets.
    DescribeKeys {
        request DescribeKeysRequest {}
        response DescribeKeysResponse {
            /// All keys.
            keys "Keys": Vec<Key>, required;
        }
    }

    /// Enables or disables an API key.
    ModifyKeyStatus {
        request ModifyKeyStatusRequest {
            /// Which key.
            secret_id "SecretId": String, required;
            /// What it shall be.
            status "Status": KeyStatus, required;
        }
        response ModifyKeyStatusResponse {}
    }

    /// Deletes an API key for good.
    DeleteKey {
        request DeleteKeyRequest {
            /// Which key.
            secret_id "SecretId": String, required;
        }
        response DeleteKeyResponse {}
    }

    /// Tells how far a purge job is on each edge, and waits for it if asked to.
    DescribeJobProgress {
        request DescribeJobProgressRequest {
            /// Which job, as CreatePurgeTask answered it.
            job_id "JobId": String, required;
            /// How long to wait for the job to end before answering, in milliseconds.
            wait_milliseconds "WaitMilliseconds": i64, default(0) .range(0, WAIT_MILLISECONDS_MAX);
        }
        response DescribeJobProgressResponse {
            /// Which job.
            job_id "JobId": String, required;
            /// How far it is, all its tasks together.
            status "Status": JobStatus, required;
            /// The log position of its first entry.
            first_seq "FirstSeq": i64, nullable;
            /// The log position of its last entry.
            last_seq "LastSeq": i64, nullable;
            /// How long it took, or is taking, from acceptance on, in milliseconds.
            elapsed_milliseconds "ElapsedMilliseconds": i64, required;
            /// In how many milliseconds at the latest the job ends, however many edges are silent, unless it waits for
            /// one with AcksOnly; null once it has ended.
            deadline_milliseconds "DeadlineMilliseconds": i64, nullable;
            /// What a request's field Everfresh-Min-Seq says to be answered only by who has applied the job; null without
            /// entries.
            min_seq "MinSeq": String, nullable;
            /// Each edge process that is a member.
            edges "Edges": Vec<EdgeProgress>, required;
        }
    }

    /// Lists the edge processes that the control plane knows.
    DescribeEdges {
        request DescribeEdgesRequest {}
        response DescribeEdgesResponse {
            /// All of them.
            edges "Edges": Vec<Edge>, required;
        }
    }

    /// Lets an edge have no lease any more: it serves nothing from its cache, and no task waits for it.
    DrainEdge {
        request DrainEdgeRequest {
            /// Which edge, by its name.
            edge_name "EdgeName": String, required;
        }
        response DrainEdgeResponse {}
    }

    /// Lets a drained edge have leases again.
    ResumeEdge {
        request ResumeEdgeRequest {
            /// Which edge, by its name.
            edge_name "EdgeName": String, required;
        }
        response ResumeEdgeResponse {}
    }

    /// Takes an edge's keys away: it is let in no more, unless it joins anew with a token.
    RemoveEdge {
        request RemoveEdgeRequest {
            /// Which edge, by its name.
            edge_name "EdgeName": String, required;
        }
        response RemoveEdgeResponse {}
    }

    /// Makes a token that lets edges in. It is answered here and never again.
    CreateEdgeToken {
        request CreateEdgeTokenRequest {
            /// What it is for.
            comment "Comment": String, optional .bytes(COMMENT_BYTES_MAX);
            /// After how many seconds it lets nobody in any more; never, if it is left out.
            expire_seconds "ExpireSeconds": i64, optional .range(1, TOKEN_SECONDS_MAX);
        }
        response CreateEdgeTokenResponse {
            /// Names the token in requests.
            token_id "TokenId": String, required;
            /// What an edge is given; keep it.
            token "Token": SecretText, required;
        }
    }

    /// Lists the tokens that let edges in, or did.
    DescribeEdgeTokens {
        request DescribeEdgeTokensRequest {}
        response DescribeEdgeTokensResponse {
            /// All of them.
            tokens "Tokens": Vec<EdgeToken>, required;
        }
    }

    /// Lets a token let nobody in any more. Edges that joined with it stay.
    RevokeEdgeToken {
        request RevokeEdgeTokenRequest {
            /// Which token.
            token_id "TokenId": String, required;
        }
        response RevokeEdgeTokenResponse {}
    }

    /// Changes a zone's purge quota of one type; what is left out stays.
    ModifyContentQuota {
        request ModifyContentQuotaRequest {
            /// Which zone.
            zone_id "ZoneId": String, required;
            /// Which type of purge.
            purge_type "Type": PurgeType, required;
            /// The most targets in one call.
            batch "Batch": i64, optional .range(0, 1_000_000);
            /// The most targets in one day.
            daily "Daily": i64, optional .range(0, 1_000_000_000);
        }
        response ModifyContentQuotaResponse {}
    }
}
