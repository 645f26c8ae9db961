//! Product `teo` 2022-09-01: the operations of EdgeOne's API that we implement, with all their fields.
//!
//! Faithful to EdgeOne: nothing foreign is added. Where its documents leave a choice, the doc of the field says ours.

mod caching;

pub use caching::*;

use crate::declare::{choice, product, shape};
use crate::error::ErrorCode;
use crate::wire::EmptyList;

/// The most filters in one request.
pub const FILTERS_MAX: usize = 20;
/// The most values in one filter.
pub const FILTER_VALUES_MAX: usize = 20;
/// The most tags on a zone.
pub const TAGS_MAX: usize = 50;
/// The most request fields of one prefetch.
pub const PREFETCH_HEADERS_MAX: usize = 20;
/// The longest alias of a zone, in bytes.
pub const ALIAS_BYTES_MAX: usize = 200;
/// The longest domain or zone name in a parameter, in bytes.
pub const NAME_BYTES_MAX: usize = 255;
/// The most domains named in one call.
pub const DOMAIN_NAMES_MAX: usize = 200;
/// The greatest `Offset`.
pub const OFFSET_MAX: i64 = i64::MAX;

choice! {
    /// What a purge's targets are.
    pub enum PurgeType {
        /// Single URLs.
        PurgeUrl = "purge_url",
        /// Directories.
        PurgePrefix = "purge_prefix",
        /// Whole hosts.
        PurgeHost = "purge_host",
        /// The whole zone; takes no targets.
        PurgeAll = "purge_all",
        /// Cache tags.
        PurgeCacheTag = "purge_cache_tag",
    }
}

choice! {
    /// What a purge does to a stored copy.
    pub enum PurgeMethod {
        /// Mark it expired: the next request asks the origin whether it is still good.
        Invalidate = "invalidate",
        /// Drop it: the next request fetches it anew.
        Delete = "delete",
    }
}

choice! {
    /// Which edges fetch ahead.
    pub enum PrefetchMode {
        /// Those that ask origins themselves: the parents where edges have parents, otherwise all.
        Default = "default",
        /// Every edge.
        Edge = "edge",
    }
}

choice! {
    /// Whether the media segments that a list names are fetched too.
    pub enum PrefetchMediaSegments {
        /// They are.
        On = "on",
        /// They are not.
        Off = "off",
    }
}

choice! {
    /// How far a task is.
    pub enum TaskStatus {
        /// Some edge may still answer with what it purged.
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

choice! {
    /// Why a task failed.
    pub enum FailType {
        /// It could not be carried out.
        TaskFailed = "taskFailed",
        /// The quota was exceeded.
        QuotaExceeded = "quotaExceeded",
        /// A manifest could not be fetched.
        DownloadManifestFailed = "downloadManifestFailed",
        /// The origin refused.
        AccessDenied = "accessDenied",
        /// The origin could not be fetched from.
        OriginPullFailed = "originPullFailed",
    }
}

choice! {
    /// What a quota is for.
    pub enum QuotaType {
        /// Purges of directories.
        PurgePrefix = "purge_prefix",
        /// Purges of URLs.
        PurgeUrl = "purge_url",
        /// Purges of hosts.
        PurgeHost = "purge_host",
        /// Purges of everything.
        PurgeAll = "purge_all",
        /// Purges of cache tags.
        PurgeCacheTag = "purge_cache_tag",
        /// Prefetches of URLs.
        PrefetchUrl = "prefetch_url",
    }
}

choice! {
    /// How a zone is connected.
    pub enum ZoneType {
        /// By CNAME records; the one kind that we make.
        Partial = "partial",
        /// By name servers.
        Full = "full",
        /// Without a domain.
        NoDomainAccess = "noDomainAccess",
        /// By DNSPod.
        DnsPodAccess = "dnsPodAccess",
        /// Pages.
        Pages = "pages",
        /// AI gateway.
        Ai = "ai",
    }
}

choice! {
    /// Where a zone is served.
    pub enum Area {
        /// Everywhere.
        Global = "global",
        /// In mainland China.
        Mainland = "mainland",
        /// Everywhere else.
        Overseas = "overseas",
    }
}

choice! {
    /// A zone's state of connection.
    pub enum ZoneStatus {
        /// Connected.
        Active = "active",
        /// Not connected yet.
        Pending = "pending",
        /// Its name servers were moved away.
        Moved = "moved",
        /// Blocked.
        Deactivated = "deactivated",
        /// No plan is bound.
        Initializing = "initializing",
    }
}

choice! {
    /// Whether a zone's CNAMEs are in place.
    pub enum CnameStatus {
        /// They are.
        Finished = "finished",
        /// Not yet.
        Pending = "pending",
    }
}

choice! {
    /// Whether a zone is served.
    pub enum ActiveStatus {
        /// It is.
        Active = "active",
        /// It is not.
        Inactive = "inactive",
        /// It was switched off.
        Paused = "paused",
    }
}

choice! {
    /// Whether a zone may be changed.
    pub enum LockStatus {
        /// It may.
        Enable = "enable",
        /// It is locked.
        Disable = "disable",
        /// Its plan is being moved.
        PlanMigrate = "plan_migrate",
    }
}

choice! {
    /// On or off.
    pub enum Switch {
        /// On.
        On = "on",
        /// Off.
        Off = "off",
    }
}

choice! {
    /// On or off, in words that one historic field uses.
    pub enum Enablement {
        /// On.
        Enabled = "enabled",
        /// Off.
        Disabled = "disabled",
    }
}

choice! {
    /// What a list of zones is sorted by.
    pub enum ZoneOrder {
        /// The zone's type.
        Type = "type",
        /// The area served.
        Area = "area",
        /// When it was made.
        CreateTime = "create-time",
        /// Its name.
        ZoneName = "zone-name",
        /// When it was last used.
        UseTime = "use-time",
        /// Whether it is served.
        ActiveStatus = "active-status",
    }
}

choice! {
    /// Which way a list is sorted.
    pub enum Direction {
        /// Smallest first.
        Asc = "asc",
        /// Greatest first.
        Desc = "desc",
    }
}

choice! {
    /// What a list of domains is sorted by.
    pub enum DomainOrder {
        /// When it was made.
        CreatedOn = "created_on",
        /// Its name.
        DomainName = "domain-name",
    }
}

choice! {
    /// How several filters combine.
    pub enum Match {
        /// All must match.
        All = "all",
        /// One must match.
        Any = "any",
    }
}

choice! {
    /// How an edge talks to the origin.
    pub enum OriginProtocol {
        /// As the client talks to the edge.
        Follow = "FOLLOW",
        /// Always HTTP.
        Http = "HTTP",
        /// Always HTTPS.
        Https = "HTTPS",
    }
}

choice! {
    /// Whether a domain is reached by IPv6.
    pub enum Ipv6Status {
        /// As the zone is.
        Follow = "follow",
        /// Yes.
        On = "on",
        /// No.
        Off = "off",
    }
}

choice! {
    /// What kind of origin a domain has.
    pub enum OriginType {
        /// An address or a name; the one kind that we serve.
        IpDomain = "IP_DOMAIN",
        /// Object storage.
        Cos = "COS",
        /// Object storage with the S3 protocol.
        AwsS3 = "AWS_S3",
        /// A group of origins.
        OriginGroup = "ORIGIN_GROUP",
        /// Video on demand.
        Vod = "VOD",
        /// Storage space.
        Space = "SPACE",
        /// A load balancer.
        Lb = "LB",
    }
}

choice! {
    /// A domain's state.
    pub enum DomainStatus {
        /// Served.
        Online = "online",
        /// Being deployed.
        Process = "process",
        /// Switched off.
        Offline = "offline",
        /// Not deployed yet.
        Init = "init",
    }
}

choice! {
    /// What a domain's state shall be.
    pub enum DomainSwitch {
        /// Served.
        Online = "online",
        /// Switched off.
        Offline = "offline",
    }
}

choice! {
    /// Whether somebody proved that a domain is theirs.
    pub enum IdentificationStatus {
        /// Not yet.
        Pending = "pending",
        /// They did.
        Finished = "finished",
    }
}

shape! {
    /// One condition of a list. Several filters combine with AND, several values of one with OR.
    pub struct AdvancedFilter {
        /// What is compared; each operation names its own.
        name "Name": String, required .bytes(64);
        /// What it is compared with.
        values "Values": Vec<String>, required .items(FILTER_VALUES_MAX, ErrorCode::TooManyFilterValues);
        /// Whether a part of the text suffices; only some names heed it.
        fuzzy "Fuzzy": bool, optional;
    }
}

shape! {
    /// The hosts that a purge by tag is limited to.
    pub struct CacheTag {
        /// Host names; none: every domain of the zone.
        domains "Domains": Vec<String>, required .items(DOMAIN_NAMES_MAX, ErrorCode::InvalidParameter);
    }
}

shape! {
    /// A request field of a prefetch.
    pub struct Header {
        /// Its name.
        name "Name": String, required .bytes(2048);
        /// Its value.
        value "Value": String, required .bytes(2048);
    }
}

shape! {
    /// Targets that were not accepted, and why.
    pub struct FailReason {
        /// Why, for people.
        reason "Reason": String, required;
        /// Which, as submitted.
        targets "Targets": Vec<String>, required;
    }
}

shape! {
    /// One target of a purge job.
    pub struct Task {
        /// The job it belongs to.
        job_id "JobId": String, required;
        /// The target, as submitted; for purge_all the zone's name.
        target "Target": String, required;
        /// What kind of target.
        task_type "Type": QuotaType, required;
        /// What is done to stored copies.
        method "Method": PurgeMethod, optional;
        /// How far it is.
        status "Status": TaskStatus, required;
        /// When it was accepted, ISO 8601 in UTC.
        create_time "CreateTime": String, required;
        /// When it ended, or changed last, ISO 8601 in UTC.
        update_time "UpdateTime": String, required;
        /// Why it failed.
        fail_type "FailType": FailType, optional;
        /// Why it failed, for people.
        fail_message "FailMessage": String, optional;
    }
}

shape! {
    /// How much may be purged.
    pub struct Quota {
        /// The most targets in one call.
        batch "Batch": i64, required;
        /// The most targets in one day.
        daily "Daily": i64, required;
        /// How many of them are left today.
        daily_available "DailyAvailable": i64, required;
        /// What it is for.
        quota_type "Type": QuotaType, required;
    }
}

shape! {
    /// A label on a zone.
    pub struct Tag {
        /// Its name.
        tag_key "TagKey": String, required .bytes(128);
        /// Its value.
        tag_value "TagValue": String, required .bytes(256);
    }
}

shape! {
    /// The DNS record that proves ownership.
    pub struct DnsVerification {
        /// The record's host.
        subdomain "Subdomain": String, required;
        /// The record's type.
        record_type "RecordType": String, required;
        /// The record's value.
        record_value "RecordValue": String, required;
    }
}

shape! {
    /// The file that proves ownership.
    pub struct FileVerification {
        /// Where it must be.
        path "Path": String, required;
        /// What it must hold.
        content "Content": String, required;
    }
}

shape! {
    /// The name servers that prove ownership.
    pub struct NsVerification {
        /// Their names.
        name_servers "NameServers": Vec<String>, required;
    }
}

shape! {
    /// How ownership of a domain is proven. We ask for no proof.
    pub struct OwnershipVerification {
        /// By a DNS record.
        dns_verification "DnsVerification": DnsVerification, nullable;
        /// By a file.
        file_verification "FileVerification": FileVerification, nullable;
        /// By name servers.
        ns_verification "NsVerification": NsVerification, nullable;
    }
}

shape! {
    /// What only zones connected by CNAME have.
    pub struct CnameDetail {
        /// Whether the zone shares its name with another one: 0 or 1.
        is_fake "IsFake": i64, required;
        /// How ownership is proven.
        ownership_verification "OwnershipVerification": OwnershipVerification, nullable;
    }
}

shape! {
    /// Name servers of a zone's own.
    pub struct VanityNameServers {
        /// Whether they are used.
        switch "Switch": Switch, required;
        /// Their names.
        servers "Servers": Vec<String>, optional .items(20, ErrorCode::InvalidParameter);
    }
}

shape! {
    /// The address of a zone's own name server.
    pub struct VanityNameServersIps {
        /// Its name.
        name "Name": String, required;
        /// Its IPv4 address.
        ipv4 "IPv4": String, required;
    }
}

shape! {
    /// A zone.
    pub struct Zone {
        /// Its id: `zone-` and twelve of `[0-9a-z]`.
        zone_id "ZoneId": String, required;
        /// Its name: a domain name.
        zone_name "ZoneName": String, required;
        /// Its alias.
        alias_zone_name "AliasZoneName": String, required;
        /// Where it is served.
        area "Area": Area, required;
        /// How it is connected.
        zone_type "Type": ZoneType, required;
        /// Its labels.
        tags "Tags": Vec<Tag>, required;
        /// Billing; always empty.
        resources "Resources": EmptyList, required;
        /// What only zones connected by CNAME have.
        cname_detail "CNAMEDetail": CnameDetail, nullable;
        /// When it was made, ISO 8601 in UTC.
        created_on "CreatedOn": String, required;
        /// When it was changed last, ISO 8601 in UTC.
        modified_on "ModifiedOn": String, required;
        /// Its state of connection.
        status "Status": ZoneStatus, required;
        /// Whether its CNAMEs are in place.
        cname_status "CnameStatus": CnameStatus, required;
        /// Whether it is served.
        active_status "ActiveStatus": ActiveStatus, required;
        /// Whether it may be changed.
        lock_status "LockStatus": LockStatus, required;
        /// Whether it is switched off.
        paused "Paused": bool, required;
        /// Historic: 0.
        is_fake "IsFake": i64, required;
        /// Historic: disabled.
        cname_speed_up "CnameSpeedUp": Enablement, required;
        /// How ownership is proven.
        ownership_verification "OwnershipVerification": OwnershipVerification, nullable;
        /// Historic: the name servers it had.
        original_name_servers "OriginalNameServers": Vec<String>, required;
        /// Historic: the name servers it has.
        name_servers "NameServers": Vec<String>, required;
        /// Name servers of its own.
        vanity_name_servers "VanityNameServers": VanityNameServers, nullable;
        /// The addresses of its own name servers.
        vanity_name_servers_ips "VanityNameServersIps": Vec<VanityNameServersIps>, nullable;
        /// How configuration takes effect; always empty.
        work_mode_infos "WorkModeInfos": EmptyList, required;
    }
}

shape! {
    /// A parameter for a private bucket.
    pub struct PrivateParameter {
        /// Its name.
        name "Name": String, required .bytes(128);
        /// Its value.
        value "Value": String, required .bytes(1024);
    }
}

shape! {
    /// Where a domain's content comes from.
    pub struct OriginInfo {
        /// What kind of origin.
        origin_type "OriginType": OriginType, required;
        /// Its address: IPv4, IPv6 or a name.
        origin "Origin": String, required .bytes(NAME_BYTES_MAX);
        /// The group of stand-ins. Heeded with OriginType ORIGIN_GROUP only, so that here it is kept and answered but
        /// edges do not turn to it.
        backup_origin "BackupOrigin": String, optional .bytes(NAME_BYTES_MAX);
        /// Whether a bucket is private.
        private_access "PrivateAccess": Switch, optional;
        /// How a private bucket is opened.
        private_parameters "PrivateParameters": Vec<PrivateParameter>, optional .items(20, ErrorCode::InvalidParameter);
        /// The Host header towards the origin; absent: the domain's name.
        host_header "HostHeader": String, optional .bytes(NAME_BYTES_MAX);
        /// Video on demand: what is served.
        vod_origin_scope "VodOriginScope": String, optional .bytes(64);
        /// Video on demand: which bucket.
        vod_bucket_id "VodBucketId": String, optional .bytes(256);
        /// Older name of VodOriginScope.
        vodeo_distribution_range "VodeoDistributionRange": String, optional .bytes(64).hidden();
        /// Older name of VodBucketId.
        vodeo_bucket_id "VodeoBucketId": String, optional .bytes(256).hidden();
        /// Video on demand: which application.
        vodeo_sub_app_id "VodeoSubAppId": i64, optional .hidden();
    }
}

shape! {
    /// Where a domain's content comes from, as answered.
    pub struct OriginDetail {
        /// What kind of origin.
        origin_type "OriginType": OriginType, required;
        /// Its address.
        origin "Origin": String, required;
        /// Its stand-in; empty: none.
        backup_origin "BackupOrigin": String, required;
        /// The name of the group of origins; empty: none.
        origin_group_name "OriginGroupName": String, required;
        /// The name of the group of stand-ins; empty: none.
        back_origin_group_name "BackOriginGroupName": String, required;
        /// Whether a bucket is private.
        private_access "PrivateAccess": Switch, required;
        /// How a private bucket is opened.
        private_parameters "PrivateParameters": Vec<PrivateParameter>, required;
        /// The Host header towards the origin.
        host_header "HostHeader": String, required;
        /// Video on demand: what is served.
        vod_origin_scope "VodOriginScope": String, required;
        /// Video on demand: which bucket.
        vod_bucket_id "VodBucketId": String, required;
        /// Older name of VodOriginScope.
        vodeo_distribution_range "VodeoDistributionRange": String, required .hidden();
        /// Older name of VodBucketId.
        vodeo_bucket_id "VodeoBucketId": String, required .hidden();
        /// Video on demand: which application; 0: none.
        vodeo_sub_app_id "VodeoSubAppId": i64, required .hidden();
    }
}

shape! {
    /// Whether both sides of a connection show certificates.
    pub struct MutualTls {
        /// Whether they do.
        switch "Switch": Switch, required;
        /// The certificates in use; always empty.
        cert_infos "CertInfos": EmptyList, required;
    }
}

shape! {
    /// How an edge checks an origin's certificate.
    pub struct OriginCertificateVerify {
        /// Against what it is checked.
        verification_mode "VerificationMode": String, required;
        /// The authorities that count; always empty.
        custom_ca_certs "CustomCACerts": EmptyList, required;
    }
}

shape! {
    /// How edges and origin prove themselves to each other.
    pub struct UpstreamCertInfo {
        /// Whether edges show a certificate.
        upstream_mutual_tls "UpstreamMutualTLS": MutualTls, nullable;
        /// How the origin's certificate is checked.
        upstream_certificate_verify "UpstreamCertificateVerify": OriginCertificateVerify, nullable;
    }
}

shape! {
    /// A domain's certificate.
    pub struct AccelerationDomainCertificate {
        /// Where it comes from.
        mode "Mode": String, nullable;
        /// The certificates in use; always empty.
        list "List": EmptyList, required;
        /// How clients are asked for certificates.
        client_cert_info "ClientCertInfo": MutualTls, nullable;
        /// How edges and origin prove themselves to each other.
        upstream_cert_info "UpstreamCertInfo": UpstreamCertInfo, nullable;
    }
}

shape! {
    /// A domain that is served.
    pub struct AccelerationDomain {
        /// The zone it belongs to.
        zone_id "ZoneId": String, required;
        /// Its name.
        domain_name "DomainName": String, required;
        /// Its state.
        domain_status "DomainStatus": DomainStatus, required;
        /// The name that its CNAME record shall point to.
        cname "Cname": String, required;
        /// Whether it is reached by IPv6.
        ipv6_status "IPv6Status": Ipv6Status, nullable;
        /// Whether somebody proved that it is theirs.
        identification_status "IdentificationStatus": IdentificationStatus, nullable;
        /// How ownership is proven.
        ownership_verification "OwnershipVerification": OwnershipVerification, nullable;
        /// Where its content comes from.
        origin_detail "OriginDetail": OriginDetail, nullable;
        /// How an edge talks to its origin.
        origin_protocol "OriginProtocol": OriginProtocol, nullable;
        /// The origin's port for HTTP.
        http_origin_port "HttpOriginPort": i64, nullable;
        /// The origin's port for HTTPS.
        https_origin_port "HttpsOriginPort": i64, nullable;
        /// Its certificate.
        certificate "Certificate": AccelerationDomainCertificate, nullable;
        /// When it was made, ISO 8601 in UTC.
        created_on "CreatedOn": String, required;
        /// When it was changed last, ISO 8601 in UTC.
        modified_on "ModifiedOn": String, required;
        /// Legal restrictions; always empty.
        compliance_restrictions "ComplianceRestrictions": EmptyList, required;
    }
}

product! {
    Teo, "teo", "2022-09-01";

    /// Purges stored content: each accepted target becomes a task of one job.
    CreatePurgeTask {
        request CreatePurgeTaskRequest {
            /// Which zone; `*` for targets of several zones, which needs rights on all and excludes purge_all.
            zone_id "ZoneId": String, required .bytes(64);
            /// What the targets are.
            purge_type "Type": PurgeType, required;
            /// What is done to stored copies. A purge of URLs always deletes; the others invalidate unless told.
            method "Method": PurgeMethod, optional;
            /// What to purge; needed for all types but purge_all.
            targets "Targets": Vec<String>, optional;
            /// Limits a purge by tag to some hosts; ignored with other types.
            cache_tag "CacheTag": CacheTag, optional;
            /// Whether non-ASCII characters are percent-encoded first. Targets are normalised so in any case.
            encode_url "EncodeUrl": bool, default(false) .hidden();
        }
        response CreatePurgeTaskResponse {
            /// The job's id.
            job_id "JobId": String, required;
            /// Targets that were not accepted; empty when all were.
            failed_list "FailedList": Vec<FailReason>, required;
        }
    }

    /// Lists purge tasks, newest first. Needs a time range or a job-id filter.
    DescribePurgeTasks {
        request DescribePurgeTasksRequest {
            /// Which zone; absent: all that the key may see.
            zone_id "ZoneId": String, optional .bytes(64);
            /// Tasks accepted at or after this time, ISO 8601; needs EndTime.
            start_time "StartTime": String, optional .bytes(64);
            /// Tasks accepted at or before this time, ISO 8601, at most 7 days later than StartTime.
            end_time "EndTime": String, optional .bytes(64);
            /// How many to skip.
            offset "Offset": i64, default(0) .range(0, OFFSET_MAX);
            /// The most tasks to answer.
            limit "Limit": i64, default(20) .range(0, 1000);
            /// Filters by job-id, target (fuzzy), domains (several values), statuses (several values) and type.
            filters "Filters": Vec<AdvancedFilter>, default(Vec::new()) .items(FILTERS_MAX, ErrorCode::TooManyFilters);
        }
        response DescribePurgeTasksResponse {
            /// How many tasks match, before paging.
            total_count "TotalCount": i64, required;
            /// The tasks.
            tasks "Tasks": Vec<Task>, required;
        }
    }

    /// Fetches URLs ahead of their readers.
    CreatePrefetchTask {
        request CreatePrefetchTaskRequest {
            /// Which zone; `*` for targets of several zones, which needs rights on all.
            zone_id "ZoneId": String, required .bytes(64);
            /// The URLs.
            targets "Targets": Vec<String>, optional;
            /// Which edges fetch.
            mode "Mode": PrefetchMode, default(PrefetchMode::Default);
            /// Whether non-ASCII characters are percent-encoded first. Targets are normalised so in any case.
            encode_url "EncodeUrl": bool, default(false) .hidden();
            /// The request fields to fetch with.
            headers "Headers": Vec<Header>, default(Vec::new()) .items(PREFETCH_HEADERS_MAX, ErrorCode::InvalidParameter);
            /// Whether the media segments that a list names are fetched too; only off is implemented.
            prefetch_media_segments "PrefetchMediaSegments": PrefetchMediaSegments, default(PrefetchMediaSegments::Off);
        }
        response CreatePrefetchTaskResponse {
            /// The job's id.
            job_id "JobId": String, required;
            /// Targets that were not accepted; empty when all were.
            failed_list "FailedList": Vec<FailReason>, required;
        }
    }

    /// Lists prefetch tasks, newest first. Needs a time range or a job-id filter.
    DescribePrefetchTasks {
        request DescribePrefetchTasksRequest {
            /// Which zone; absent: all that the key may see.
            zone_id "ZoneId": String, optional .bytes(64);
            /// Tasks accepted at or after this time, ISO 8601; needs EndTime.
            start_time "StartTime": String, optional .bytes(64);
            /// Tasks accepted at or before this time, ISO 8601, at most 7 days later than StartTime.
            end_time "EndTime": String, optional .bytes(64);
            /// How many to skip.
            offset "Offset": i64, default(0) .range(0, OFFSET_MAX);
            /// The most tasks to answer.
            limit "Limit": i64, default(20) .range(0, 1000);
            /// Filters by job-id, target, domains (several values) and statuses (several values).
            filters "Filters": Vec<AdvancedFilter>, default(Vec::new()) .items(FILTERS_MAX, ErrorCode::TooManyFilters);
        }
        response DescribePrefetchTasksResponse {
            /// How many tasks match, before paging.
            total_count "TotalCount": i64, required;
            /// The tasks.
            tasks "Tasks": Vec<Task>, required;
        }
    }

    /// Tells a zone's purge quotas.
    DescribeContentQuota {
        request DescribeContentQuotaRequest {
            /// Which zone.
            zone_id "ZoneId": String, required .bytes(64);
        }
        response DescribeContentQuotaResponse {
            /// One quota for each type of purge.
            purge_quota "PurgeQuota": Vec<Quota>, nullable;
            /// The quotas of prefetches.
            prefetch_quota "PrefetchQuota": Vec<Quota>, nullable;
        }
    }

    /// Makes a zone, active at once.
    CreateZone {
        request CreateZoneRequest {
            /// How it is connected; only partial is implemented.
            zone_type "Type": ZoneType, default(ZoneType::Partial);
            /// Its name: a domain name of two or more labels.
            zone_name "ZoneName": String, required .bytes(NAME_BYTES_MAX);
            /// Where it is served.
            area "Area": Area, default(Area::Overseas);
            /// Which plan; ignored.
            plan_id "PlanId": String, optional .bytes(64);
            /// Its alias: up to 200 of `[0-9A-Za-z._-]`.
            alias_zone_name "AliasZoneName": String, optional .bytes(ALIAS_BYTES_MAX);
            /// Its labels.
            tags "Tags": Vec<Tag>, default(Vec::new()) .items(TAGS_MAX, ErrorCode::InvalidParameter);
            /// Ignored.
            allow_duplicates "AllowDuplicates": bool, optional .hidden();
            /// Ignored.
            jump_start "JumpStart": bool, optional .hidden();
        }
        response CreateZoneResponse {
            /// The new zone's id.
            zone_id "ZoneId": String, required;
            /// How ownership is proven; always null.
            ownership_verification "OwnershipVerification": OwnershipVerification, nullable;
        }
    }

    /// Lists zones.
    DescribeZones {
        request DescribeZonesRequest {
            /// How many to skip.
            offset "Offset": i64, default(0) .range(0, OFFSET_MAX);
            /// The most zones to answer.
            limit "Limit": i64, default(20) .range(0, 100);
            /// Filters by zone-name (fuzzy), zone-id, zone-type, status, tag-key, tag-value and alias-zone-name (fuzzy).
            filters "Filters": Vec<AdvancedFilter>, default(Vec::new()) .items(FILTERS_MAX, ErrorCode::TooManyFilters);
            /// What the list is sorted by.
            order "Order": ZoneOrder, default(ZoneOrder::CreateTime);
            /// Which way it is sorted.
            direction "Direction": Direction, default(Direction::Desc);
        }
        response DescribeZonesResponse {
            /// How many zones match, before paging.
            total_count "TotalCount": i64, required;
            /// The zones.
            zones "Zones": Vec<Zone>, required;
        }
    }

    /// Changes a zone; what is left out stays.
    ModifyZone {
        request ModifyZoneRequest {
            /// Which zone.
            zone_id "ZoneId": String, required .bytes(64);
            /// How it is connected; only partial is implemented.
            zone_type "Type": ZoneType, optional;
            /// Name servers of its own; not implemented.
            vanity_name_servers "VanityNameServers": VanityNameServers, optional;
            /// Its alias: up to 200 of `[0-9A-Za-z._-]`.
            alias_zone_name "AliasZoneName": String, optional .bytes(ALIAS_BYTES_MAX);
            /// Where it is served.
            area "Area": Area, optional;
            /// Its name.
            zone_name "ZoneName": String, optional .bytes(NAME_BYTES_MAX);
        }
        response ModifyZoneResponse {}
    }

    /// Switches a zone off or on. While it is off, edges answer 503 for its hosts; its cache stays.
    ModifyZoneStatus {
        request ModifyZoneStatusRequest {
            /// Which zone.
            zone_id "ZoneId": String, required .bytes(64);
            /// True switches it off.
            paused "Paused": bool, required;
        }
        response ModifyZoneStatusResponse {}
    }

    /// Deletes a zone with its domains, cache and tasks. Refused while one of its domains is online.
    DeleteZone {
        request DeleteZoneRequest {
            /// Which zone.
            zone_id "ZoneId": String, required .bytes(64);
        }
        response DeleteZoneResponse {}
    }

    /// Adds a domain to a zone.
    CreateAccelerationDomain {
        request CreateAccelerationDomainRequest {
            /// Which zone.
            zone_id "ZoneId": String, required .bytes(64);
            /// The domain's name, under the zone's.
            domain_name "DomainName": String, required .bytes(NAME_BYTES_MAX);
            /// Where its content comes from.
            origin_info "OriginInfo": OriginInfo, required;
            /// How an edge talks to its origin: HTTP, or FOLLOW, which comes to the same; HTTPS is not implemented.
            origin_protocol "OriginProtocol": OriginProtocol, default(OriginProtocol::Follow);
            /// The origin's port for HTTP.
            http_origin_port "HttpOriginPort": i64, default(80) .range(1, 65535);
            /// The origin's port for HTTPS.
            https_origin_port "HttpsOriginPort": i64, default(443) .range(1, 65535);
            /// Whether it is reached by IPv6.
            ipv6_status "IPv6Status": Ipv6Status, default(Ipv6Status::Follow);
            /// Ignored.
            shared_cname "SharedCNAME": String, optional .bytes(NAME_BYTES_MAX);
        }
        response CreateAccelerationDomainResponse {
            /// How ownership is proven; always null.
            ownership_verification "OwnershipVerification": OwnershipVerification, nullable;
        }
    }

    /// Lists a zone's domains.
    DescribeAccelerationDomains {
        request DescribeAccelerationDomainsRequest {
            /// Which zone.
            zone_id "ZoneId": String, required .bytes(64);
            /// How many to skip.
            offset "Offset": i64, default(0) .range(0, OFFSET_MAX);
            /// The most domains to answer.
            limit "Limit": i64, default(20) .range(0, 200);
            /// Filters by domain-name, origin-type, origin, backup-origin, domain-cname and share-cname.
            filters "Filters": Vec<AdvancedFilter>, default(Vec::new()) .items(FILTERS_MAX, ErrorCode::TooManyFilters);
            /// What the list is sorted by.
            order "Order": DomainOrder, default(DomainOrder::DomainName);
            /// Which way it is sorted.
            direction "Direction": Direction, default(Direction::Asc);
            /// How several filters combine.
            matching "Match": Match, default(Match::All);
        }
        response DescribeAccelerationDomainsResponse {
            /// How many domains match, before paging.
            total_count "TotalCount": i64, required;
            /// The domains.
            acceleration_domains "AccelerationDomains": Vec<AccelerationDomain>, required;
        }
    }

    /// Changes a domain; what is left out stays.
    ModifyAccelerationDomain {
        request ModifyAccelerationDomainRequest {
            /// Which zone.
            zone_id "ZoneId": String, required .bytes(64);
            /// Which domain.
            domain_name "DomainName": String, required .bytes(NAME_BYTES_MAX);
            /// Where its content comes from.
            origin_info "OriginInfo": OriginInfo, optional;
            /// How an edge talks to its origin: HTTP, or FOLLOW, which comes to the same; HTTPS is not implemented.
            origin_protocol "OriginProtocol": OriginProtocol, optional;
            /// The origin's port for HTTP.
            http_origin_port "HttpOriginPort": i64, optional .range(1, 65535);
            /// The origin's port for HTTPS.
            https_origin_port "HttpsOriginPort": i64, optional .range(1, 65535);
            /// Whether it is reached by IPv6.
            ipv6_status "IPv6Status": Ipv6Status, optional;
        }
        response ModifyAccelerationDomainResponse {}
    }

    /// Switches domains on or off.
    ModifyAccelerationDomainStatuses {
        request ModifyAccelerationDomainStatusesRequest {
            /// Which zone.
            zone_id "ZoneId": String, required .bytes(64);
            /// Which domains.
            domain_names "DomainNames": Vec<String>, required .items(DOMAIN_NAMES_MAX, ErrorCode::InvalidParameter).bytes(NAME_BYTES_MAX);
            /// What they shall be.
            status "Status": DomainSwitch, required;
            /// Whether resources that depend on them change too.
            force "Force": bool, default(false);
        }
        response ModifyAccelerationDomainStatusesResponse {}
    }

    /// Deletes domains; all or none.
    DeleteAccelerationDomains {
        request DeleteAccelerationDomainsRequest {
            /// Which zone.
            zone_id "ZoneId": String, required .bytes(64);
            /// Which domains.
            domain_names "DomainNames": Vec<String>, required .items(DOMAIN_NAMES_MAX, ErrorCode::InvalidParameter).bytes(NAME_BYTES_MAX);
            /// Whether resources that depend on them go too.
            force "Force": bool, default(false);
        }
        response DeleteAccelerationDomainsResponse {}
    }

    /// Changes a zone's settings; parts that are left out stay.
    ModifyL7AccSetting {
        request ModifyL7AccSettingRequest {
            /// Which zone.
            zone_id "ZoneId": String, required .bytes(64);
            /// What to change.
            zone_config "ZoneConfig": ZoneConfig, required;
        }
        response ModifyL7AccSettingResponse {}
    }

    /// Tells a zone's settings.
    DescribeL7AccSetting {
        request DescribeL7AccSettingRequest {
            /// Which zone.
            zone_id "ZoneId": String, required .bytes(64);
        }
        response DescribeL7AccSettingResponse {
            /// The settings.
            zone_setting "ZoneSetting": ZoneConfigParameters, nullable;
        }
    }

    /// Makes rules, below those there are; all or none.
    CreateL7AccRules {
        request CreateL7AccRulesRequest {
            /// Which zone.
            zone_id "ZoneId": String, required .bytes(64);
            /// The rules, top to bottom.
            rules "Rules": Vec<RuleEngineItem>, required .items(RULES_PER_CALL_MAX, ErrorCode::InvalidParameter);
        }
        response CreateL7AccRulesResponse {
            /// Their ids.
            rule_ids "RuleIds": Vec<String>, required;
        }
    }

    /// Tells a zone's rules, top to bottom.
    DescribeL7AccRules {
        request DescribeL7AccRulesRequest {
            /// Which zone.
            zone_id "ZoneId": String, required .bytes(64);
            /// Filters by rule-id (several values).
            filters "Filters": Vec<AdvancedFilter>, default(Vec::new()) .items(FILTERS_MAX, ErrorCode::TooManyFilters);
            /// The most rules to answer.
            limit "Limit": i64, default(20) .range(0, 1000);
            /// How many to skip.
            offset "Offset": i64, default(0) .range(0, OFFSET_MAX);
        }
        response DescribeL7AccRulesResponse {
            /// How many rules match, before paging.
            total_count "TotalCount": i64, required;
            /// The rules.
            rules "Rules": Vec<RuleEngineItem>, required;
        }
    }

    /// Replaces a rule at its place.
    ModifyL7AccRule {
        request ModifyL7AccRuleRequest {
            /// Which zone.
            zone_id "ZoneId": String, required .bytes(64);
            /// The rule, with its id.
            rule "Rule": RuleEngineItem, required;
        }
        response ModifyL7AccRuleResponse {}
    }

    /// Puts a zone's rules into another order.
    ModifyL7AccRulePriority {
        request ModifyL7AccRulePriorityRequest {
            /// Which zone.
            zone_id "ZoneId": String, required .bytes(64);
            /// The ids of all its rules, in the new order, top to bottom.
            rule_ids "RuleIds": Vec<String>, required .items(RULES_PER_CALL_MAX, ErrorCode::InvalidParameter).bytes(64);
        }
        response ModifyL7AccRulePriorityResponse {}
    }

    /// Deletes rules; all or none.
    DeleteL7AccRules {
        request DeleteL7AccRulesRequest {
            /// Which zone.
            zone_id "ZoneId": String, required .bytes(64);
            /// Which rules.
            rule_ids "RuleIds": Vec<String>, required .items(RULES_PER_CALL_MAX, ErrorCode::InvalidParameter).bytes(64);
        }
        response DeleteL7AccRulesResponse {}
    }
}
