-- The same tables as on SQLite, in one step, and what several control planes need besides.
-- The purge log's own row: which log this is, its last position, its first position still kept, and the version of the
-- configuration. One row, so that whoever appends to the log or changes the configuration does so in commit order.
CREATE TABLE log (
    id BIGINT PRIMARY KEY CHECK (id = 1),
    epoch BIGINT NOT NULL,
    head BIGINT NOT NULL CHECK (head >= 0),
    first_retained BIGINT NOT NULL CHECK (first_retained >= 1),
    config_version BIGINT NOT NULL CHECK (config_version >= 1),
    -- The highest position that an edge had applied and the log lacked: no lease is granted while there is one.
    lost_seq BIGINT
);

-- Written by each instance before it grants leases, so that a server that is the primary no more grants none.
CREATE TABLE instances (
    instance_id TEXT COLLATE "C" PRIMARY KEY,
    beat BIGINT NOT NULL,
    seen_at TIMESTAMPTZ NOT NULL
);

-- `host` and `value` by scope: all –, –; host h, –; prefix h, path; url h, path and query; tag h or –, tag.
CREATE TABLE entries (
    seq BIGINT PRIMARY KEY,
    zone_id TEXT COLLATE "C" NOT NULL,
    scope TEXT COLLATE "C" NOT NULL,
    host TEXT COLLATE "C",
    value TEXT COLLATE "C",
    method TEXT COLLATE "C" NOT NULL,
    job_id TEXT COLLATE "C",
    recorded_ms BIGINT NOT NULL
);

CREATE TABLE zones (
    zone_id TEXT COLLATE "C" PRIMARY KEY,
    name TEXT COLLATE "C" NOT NULL UNIQUE,
    alias TEXT COLLATE "C" NOT NULL,
    area TEXT COLLATE "C" NOT NULL,
    paused BOOLEAN NOT NULL,
    tags TEXT COLLATE "C" NOT NULL,
    created_ms BIGINT NOT NULL,
    modified_ms BIGINT NOT NULL
);

CREATE TABLE domains (
    name TEXT COLLATE "C" PRIMARY KEY,
    zone_id TEXT COLLATE "C" NOT NULL REFERENCES zones (zone_id) ON DELETE CASCADE,
    online BOOLEAN NOT NULL,
    origin TEXT COLLATE "C" NOT NULL,
    backup_origin TEXT COLLATE "C",
    host_header TEXT COLLATE "C",
    private_access BOOLEAN NOT NULL,
    private_parameters TEXT COLLATE "C" NOT NULL,
    protocol TEXT COLLATE "C" NOT NULL,
    http_port BIGINT NOT NULL,
    https_port BIGINT NOT NULL,
    ipv6 TEXT COLLATE "C" NOT NULL,
    created_ms BIGINT NOT NULL,
    modified_ms BIGINT NOT NULL
);
CREATE INDEX domains_by_zone ON domains (zone_id, name);

CREATE TABLE quota_overrides (
    zone_id TEXT COLLATE "C" NOT NULL REFERENCES zones (zone_id) ON DELETE CASCADE,
    kind TEXT COLLATE "C" NOT NULL,
    batch BIGINT NOT NULL,
    daily BIGINT NOT NULL,
    PRIMARY KEY (zone_id, kind)
);

CREATE TABLE quota_used (
    zone_id TEXT COLLATE "C" NOT NULL REFERENCES zones (zone_id) ON DELETE CASCADE,
    kind TEXT COLLATE "C" NOT NULL,
    day BIGINT NOT NULL,
    used BIGINT NOT NULL,
    PRIMARY KEY (zone_id, kind, day)
);

CREATE TABLE jobs (
    job_id TEXT COLLATE "C" PRIMARY KEY,
    first_seq BIGINT NOT NULL,
    last_seq BIGINT NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    method TEXT COLLATE "C" NOT NULL,
    status TEXT COLLATE "C" NOT NULL,
    created_ms BIGINT NOT NULL,
    updated_ms BIGINT NOT NULL
);
CREATE INDEX jobs_pending ON jobs (first_seq) WHERE status = 'processing';
CREATE INDEX jobs_by_age ON jobs (created_ms);

-- A task's status is its job's unless it has one of its own (its zone was deleted meanwhile).
CREATE TABLE tasks (
    task_id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job_id TEXT COLLATE "C" NOT NULL REFERENCES jobs (job_id) ON DELETE CASCADE,
    zone_id TEXT COLLATE "C" NOT NULL,
    target TEXT COLLATE "C" NOT NULL,
    -- Host names, each between two line ends.
    domains TEXT COLLATE "C" NOT NULL,
    own_status TEXT COLLATE "C",
    own_updated_ms BIGINT,
    fail_message TEXT COLLATE "C",
    created_ms BIGINT NOT NULL
);
CREATE INDEX tasks_by_job ON tasks (job_id);
-- Newest first, ties by insertion: the order in which tasks are listed, so that a page needs no sorting.
CREATE INDEX tasks_by_zone_and_age ON tasks (zone_id, created_ms DESC, task_id);
CREATE INDEX tasks_by_age ON tasks (created_ms DESC, task_id);

CREATE TABLE members (
    member_id TEXT COLLATE "C" PRIMARY KEY,
    edge_name TEXT COLLATE "C" NOT NULL,
    fence_policy TEXT COLLATE "C" NOT NULL,
    acks_only BOOLEAN NOT NULL,
    joined_ms BIGINT NOT NULL,
    state TEXT COLLATE "C" NOT NULL,
    leaving_since_ms BIGINT,
    -- Whether the edge asks a parent edge rather than origins.
    has_parent BOOLEAN NOT NULL
);

-- What instances heard of the members that are linked to them, for the other instances. Not worth a log record: members
-- say it again.
CREATE UNLOGGED TABLE heard (
    member_id TEXT COLLATE "C" PRIMARY KEY,
    -- Changes with each sign of life.
    beat BIGINT NOT NULL,
    epoch BIGINT,
    acknowledged BIGINT
);

CREATE TABLE api_keys (
    secret_id TEXT COLLATE "C" PRIMARY KEY,
    sealed BYTEA NOT NULL,
    comment TEXT COLLATE "C" NOT NULL,
    enabled BOOLEAN NOT NULL,
    created_ms BIGINT NOT NULL
);

-- A known text sealed under the master key, so that a wrong key is noticed when the store opens.
CREATE TABLE master_key_check (
    id BIGINT PRIMARY KEY CHECK (id = 1),
    sealed BYTEA NOT NULL
);
-- What is decided about caching in a zone, in its written form; no row where nothing ever was. `keys_version` and
-- `keys_seq` say since which version of the configuration, and which entry of the log, its cache keys are as they are.
CREATE TABLE cache_configs (
    zone_id TEXT COLLATE "C" PRIMARY KEY REFERENCES zones (zone_id) ON DELETE CASCADE,
    document TEXT COLLATE "C" NOT NULL,
    keys_version BIGINT NOT NULL CHECK (keys_version >= 0),
    keys_seq BIGINT NOT NULL CHECK (keys_seq >= 0)
);
-- Prefetches: a job is one CreatePrefetchTask call. `headers` is a JSON list of [name, value]; `epoch` and `head` say what
-- an edge must have applied before it begins.
CREATE TABLE prefetch_jobs (
    job_id TEXT COLLATE "C" PRIMARY KEY,
    mode TEXT COLLATE "C" NOT NULL,
    headers TEXT COLLATE "C" NOT NULL,
    epoch BIGINT NOT NULL,
    head BIGINT NOT NULL,
    created_ms BIGINT NOT NULL
);
CREATE INDEX prefetch_jobs_by_age ON prefetch_jobs (created_ms);

CREATE TABLE prefetch_tasks (
    task_id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job_id TEXT COLLATE "C" NOT NULL REFERENCES prefetch_jobs (job_id) ON DELETE CASCADE,
    zone_id TEXT COLLATE "C" NOT NULL,
    target TEXT COLLATE "C" NOT NULL,
    host TEXT COLLATE "C" NOT NULL,
    status TEXT COLLATE "C" NOT NULL,
    fail_message TEXT COLLATE "C",
    created_ms BIGINT NOT NULL,
    updated_ms BIGINT NOT NULL
);
CREATE INDEX prefetch_tasks_by_job ON prefetch_tasks (job_id);
CREATE INDEX prefetch_tasks_pending ON prefetch_tasks (task_id) WHERE status = 'processing';
CREATE INDEX prefetch_tasks_by_zone_and_age ON prefetch_tasks (zone_id, created_ms DESC, task_id);
CREATE INDEX prefetch_tasks_by_age ON prefetch_tasks (created_ms DESC, task_id);

-- What edges told of prefetches to the instances that they are linked to, for the others.
CREATE UNLOGGED TABLE prefetch_told (
    told_no BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    task_id BIGINT NOT NULL,
    member_id TEXT COLLATE "C" NOT NULL,
    failure TEXT COLLATE "C"
);
CREATE INDEX prefetch_told_by_task ON prefetch_told (task_id);

-- What SQLite calls so.
CREATE FUNCTION instr(whole TEXT, part TEXT) RETURNS BIGINT
    LANGUAGE SQL IMMUTABLE STRICT PARALLEL SAFE AS 'SELECT strpos(whole, part)::BIGINT';
