-- Prefetches: a job is one CreatePrefetchTask call. `headers` is a JSON list of [name, value]; `epoch` and `head` say what
-- an edge must have applied before it begins.
CREATE TABLE prefetch_jobs (
    job_id TEXT PRIMARY KEY,
    mode TEXT NOT NULL,
    headers TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    head INTEGER NOT NULL,
    created_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX prefetch_jobs_by_age ON prefetch_jobs (created_ms);

CREATE TABLE prefetch_tasks (
    task_id INTEGER PRIMARY KEY AUTOINCREMENT,
    job_id TEXT NOT NULL REFERENCES prefetch_jobs (job_id) ON DELETE CASCADE,
    zone_id TEXT NOT NULL,
    target TEXT NOT NULL,
    host TEXT NOT NULL,
    status TEXT NOT NULL,
    fail_message TEXT,
    created_ms INTEGER NOT NULL,
    updated_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX prefetch_tasks_by_job ON prefetch_tasks (job_id);
CREATE INDEX prefetch_tasks_pending ON prefetch_tasks (task_id) WHERE status = 'processing';
CREATE INDEX prefetch_tasks_by_zone_and_age ON prefetch_tasks (zone_id, created_ms DESC, task_id);
CREATE INDEX prefetch_tasks_by_age ON prefetch_tasks (created_ms DESC, task_id);
