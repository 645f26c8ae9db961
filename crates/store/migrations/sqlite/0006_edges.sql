-- What lets edges in, until it has become a key of theirs.
CREATE TABLE join_tokens (
    token_id TEXT PRIMARY KEY,
    sealed BLOB NOT NULL,
    comment TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    expires_ms INTEGER,
    -- Kept, so that what was revoked is not taken in again.
    revoked_ms INTEGER
) STRICT;

CREATE TABLE edge_keys (
    key_id TEXT PRIMARY KEY,
    edge_name TEXT NOT NULL,
    sealed BLOB NOT NULL,
    -- Whether the edge keeps it over restarts.
    keeps INTEGER NOT NULL,
    token_id TEXT NOT NULL,
    joined_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX edge_keys_by_name ON edge_keys (edge_name);

-- Edges that are to have no lease, by their names.
CREATE TABLE drained_edges (
    edge_name TEXT PRIMARY KEY,
    since_ms INTEGER NOT NULL
) STRICT;

ALTER TABLE members ADD COLUMN key_id TEXT;
ALTER TABLE members ADD COLUMN edge_version TEXT NOT NULL DEFAULT '';
ALTER TABLE members ADD COLUMN address TEXT NOT NULL DEFAULT '';
