-- How long leases are, in milliseconds: what is granted, and what tasks count with. The latter is longer for as long as a
-- lease of an earlier, longer time may hold. All 0 until a control plane has said what it is to be.
CREATE TABLE lease (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    granted_ms INTEGER NOT NULL CHECK (granted_ms >= 0),
    counted_ms INTEGER NOT NULL CHECK (counted_ms >= granted_ms),
    version INTEGER NOT NULL
) STRICT;
INSERT INTO lease (id, granted_ms, counted_ms, version) VALUES (1, 0, 0, 0);
