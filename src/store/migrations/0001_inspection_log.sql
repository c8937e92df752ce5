-- Version 1 of the inspection log. Times are microseconds since 1970-01-01 UTC; blobs are little endian.

-- Everything that was fixed before a frame was seen. Few rows: one per configuration that ever ran.
CREATE TABLE parameters (
    id              INTEGER PRIMARY KEY,
    model           TEXT NOT NULL,
    model_sha256    TEXT NOT NULL,
    channels        INTEGER NOT NULL,
    height          INTEGER NOT NULL,
    width           INTEGER NOT NULL,
    k               INTEGER NOT NULL,
    sigma           REAL NOT NULL,
    threshold       REAL NOT NULL,
    alpha           REAL NOT NULL,
    target_radius   REAL NOT NULL,
    required_radius REAL NOT NULL,
    max_draws       INTEGER NOT NULL,
    deadline_ms     INTEGER,
    prior           BLOB NOT NULL CHECK (length(prior) % 24 = 0), -- f64: weight, u, v of each Beta
    provider        TEXT NOT NULL,
    precision       TEXT NOT NULL,
    onnxruntime     TEXT NOT NULL,
    recipe          TEXT
) STRICT;

-- One start of the agent, once for each station that it ran.
CREATE TABLE boot (
    boot_id       TEXT NOT NULL,
    station       TEXT NOT NULL,
    started_at_us INTEGER NOT NULL,
    version       TEXT NOT NULL,
    configuration TEXT NOT NULL,
    parameters_id INTEGER NOT NULL REFERENCES parameters (id),
    PRIMARY KEY (boot_id, station)
) STRICT, WITHOUT ROWID;

CREATE TABLE inspection (
    id              INTEGER PRIMARY KEY AUTOINCREMENT, -- order of commitment; never used twice
    boot_id         TEXT NOT NULL,
    station         TEXT NOT NULL,
    seq             INTEGER NOT NULL CHECK (seq > 0),
    captured_at_us  INTEGER NOT NULL,
    source_seq      INTEGER NOT NULL,
    part_id         TEXT,
    meas_id         TEXT,
    verdict         TEXT NOT NULL CHECK (verdict IN ('normal', 'anomalous', 'abstain')),
    reason          TEXT CHECK ((reason IS NOT NULL) = (verdict = 'abstain')),
    fault           TEXT,
    -- The certificate; all NULL where no draw could be made.
    side            TEXT CHECK (side IN ('normal', 'anomalous')),
    radius          REAL,
    draws           INTEGER,
    above           INTEGER,
    not_a_number    INTEGER,
    score           REAL,
    score_lower     REAL,
    score_upper     REAL,
    empirical_score REAL,
    frame_radius    REAL,
    -- What a recomputation needs.
    seed            BLOB NOT NULL CHECK (length(seed) = 32),
    scores          BLOB NOT NULL CHECK (length(scores) % 4 = 0),  -- f32, every draw in issue order
    batches         BLOB NOT NULL CHECK (length(batches) % 4 = 0), -- u32, draws of each model call
    frame_width     INTEGER,
    frame_height    INTEGER,
    capture_ms      REAL,
    queue_ms        REAL,
    infer_ms        REAL,
    total_ms        REAL,
    evidence        TEXT,
    parameters_id   INTEGER NOT NULL REFERENCES parameters (id),
    message         TEXT NOT NULL, -- the `verdict` message as it goes on the wire
    UNIQUE (boot_id, station, seq),
    FOREIGN KEY (boot_id, station) REFERENCES boot (boot_id, station)
) STRICT;
CREATE INDEX inspection_by_station ON inspection (station, id);

-- What the broker has not acknowledged yet.
CREATE TABLE outbox (
    inspection_id INTEGER PRIMARY KEY REFERENCES inspection (id),
    station       TEXT NOT NULL
) STRICT;
CREATE INDEX outbox_by_station ON outbox (station, inspection_id);
