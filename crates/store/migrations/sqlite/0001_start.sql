-- The purge log's own row: which log this is, its last position, its first position still kept, and the version of the
-- configuration. One row, so that whoever appends to the log or changes the configuration does so in commit order.
CREATE TABLE log (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    epoch INTEGER NOT NULL,
    head INTEGER NOT NULL CHECK (head >= 0),
    first_retained INTEGER NOT NULL CHECK (first_retained >= 1),
    config_version INTEGER NOT NULL CHECK (config_version >= 1)
) STRICT;

-- `host` and `value` by scope: all –, –; host h, –; prefix h, path; url h, path and query; tag h or –, tag.
CREATE TABLE entries (
    seq INTEGER PRIMARY KEY,
    zone_id TEXT NOT NULL,
    scope TEXT NOT NULL,
    host TEXT,
    value TEXT,
    method TEXT NOT NULL,
    job_id TEXT,
    recorded_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE zones (
    zone_id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    alias TEXT NOT NULL,
    area TEXT NOT NULL,
    paused INTEGER NOT NULL,
    tags TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    modified_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE domains (
    name TEXT PRIMARY KEY,
    zone_id TEXT NOT NULL REFERENCES zones (zone_id) ON DELETE CASCADE,
    online INTEGER NOT NULL,
    origin TEXT NOT NULL,
    backup_origin TEXT,
    host_header TEXT,
    private_access INTEGER NOT NULL,
    private_parameters TEXT NOT NULL,
    protocol TEXT NOT NULL,
    http_port INTEGER NOT NULL,
    https_port INTEGER NOT NULL,
    ipv6 TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    modified_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX domains_by_zone ON domains (zone_id, name);

CREATE TABLE quota_overrides (
    zone_id TEXT NOT NULL REFERENCES zones (zone_id) ON DELETE CASCADE,
    kind TEXT NOT NULL,
    batch INTEGER NOT NULL,
    daily INTEGER NOT NULL,
    PRIMARY KEY (zone_id, kind)
) STRICT;

CREATE TABLE quota_used (
    zone_id TEXT NOT NULL REFERENCES zones (zone_id) ON DELETE CASCADE,
    kind TEXT NOT NULL,
    day INTEGER NOT NULL,
    used INTEGER NOT NULL,
    PRIMARY KEY (zone_id, kind, day)
) STRICT;

CREATE TABLE jobs (
    job_id TEXT PRIMARY KEY,
    first_seq INTEGER NOT NULL,
    last_seq INTEGER NOT NULL,
    kind TEXT NOT NULL,
    method TEXT NOT NULL,
    status TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    updated_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX jobs_pending ON jobs (first_seq) WHERE status = 'processing';
CREATE INDEX jobs_by_age ON jobs (created_ms);

-- A task's status is its job's unless it has one of its own (its zone was deleted meanwhile).
CREATE TABLE tasks (
    task_id INTEGER PRIMARY KEY,
    job_id TEXT NOT NULL REFERENCES jobs (job_id) ON DELETE CASCADE,
    zone_id TEXT NOT NULL,
    target TEXT NOT NULL,
    -- Host names, each between two line ends.
    domains TEXT NOT NULL,
    own_status TEXT,
    own_updated_ms INTEGER,
    fail_message TEXT,
    created_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX tasks_by_job ON tasks (job_id);
-- Newest first, ties by insertion: the order in which tasks are listed, so that a page needs no sorting.
CREATE INDEX tasks_by_zone_and_age ON tasks (zone_id, created_ms DESC, task_id);
CREATE INDEX tasks_by_age ON tasks (created_ms DESC, task_id);

CREATE TABLE members (
    member_id TEXT PRIMARY KEY,
    edge_name TEXT NOT NULL,
    fence_policy TEXT NOT NULL,
    acks_only INTEGER NOT NULL,
    joined_ms INTEGER NOT NULL,
    state TEXT NOT NULL,
    leaving_since_ms INTEGER
) STRICT;

CREATE TABLE api_keys (
    secret_id TEXT PRIMARY KEY,
    sealed BLOB NOT NULL,
    comment TEXT NOT NULL,
    enabled INTEGER NOT NULL,
    created_ms INTEGER NOT NULL
) STRICT;

-- A known text sealed under the master key, so that a wrong key is noticed when the store opens.
CREATE TABLE master_key_check (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    sealed BLOB NOT NULL
) STRICT;
