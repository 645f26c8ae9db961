-- What is decided about caching in a zone, in its written form; no row where nothing ever was. `keys_version` and
-- `keys_seq` say since which version of the configuration, and which entry of the log, its cache keys are as they are.
CREATE TABLE cache_configs (
    zone_id TEXT PRIMARY KEY REFERENCES zones (zone_id) ON DELETE CASCADE,
    document TEXT NOT NULL,
    keys_version INTEGER NOT NULL CHECK (keys_version >= 0),
    keys_seq INTEGER NOT NULL CHECK (keys_seq >= 0)
) STRICT;
