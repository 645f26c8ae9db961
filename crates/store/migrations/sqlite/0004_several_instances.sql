-- The highest position that an edge had applied and the log lacked: no lease is granted while there is one.
ALTER TABLE log ADD COLUMN lost_seq INTEGER;
-- Whether the edge asks a parent edge rather than origins.
ALTER TABLE members ADD COLUMN has_parent INTEGER NOT NULL DEFAULT 0;
