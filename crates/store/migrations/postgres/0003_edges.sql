-- What lets edges in, until it has become a key of theirs.
CREATE TABLE join_tokens (
    token_id TEXT COLLATE "C" PRIMARY KEY,
    sealed BYTEA NOT NULL,
    comment TEXT COLLATE "C" NOT NULL,
    created_ms BIGINT NOT NULL,
    expires_ms BIGINT,
    -- Kept, so that what was revoked is not taken in again.
    revoked_ms BIGINT
);

CREATE TABLE edge_keys (
    key_id TEXT COLLATE "C" PRIMARY KEY,
    edge_name TEXT COLLATE "C" NOT NULL,
    sealed BYTEA NOT NULL,
    -- Whether the edge keeps it over restarts.
    keeps BOOLEAN NOT NULL,
    token_id TEXT COLLATE "C" NOT NULL,
    joined_ms BIGINT NOT NULL
);
CREATE INDEX edge_keys_by_name ON edge_keys (edge_name);

-- Edges that are to have no lease, by their names.
CREATE TABLE drained_edges (
    edge_name TEXT COLLATE "C" PRIMARY KEY,
    since_ms BIGINT NOT NULL
);

ALTER TABLE members ADD COLUMN key_id TEXT COLLATE "C";
ALTER TABLE members ADD COLUMN edge_version TEXT COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE members ADD COLUMN address TEXT COLLATE "C" NOT NULL DEFAULT '';
