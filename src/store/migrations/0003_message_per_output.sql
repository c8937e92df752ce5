-- Version 3 of the inspection log: a message for each output, and an outbox row for each of them.

-- What an output sends of an inspection, as its encoder made it at the commit. What is only known when it is sent
-- (is it historical?) is not in it: the output adds that.
CREATE TABLE output_message (
    inspection_id INTEGER NOT NULL REFERENCES inspection (id) ON DELETE CASCADE,
    output        TEXT NOT NULL, -- `json`: the verdict message of MQTT
    payload       BLOB NOT NULL,
    PRIMARY KEY (inspection_id, output)
) STRICT, WITHOUT ROWID;

-- Inspections of versions 1 and 2 keep their message in `inspection.message`: to move them would write the whole log
-- anew, which may be many gigabytes. Later rows leave that column empty. See `store/stored_message.rs`.

-- One row for each message that the broker has not acknowledged. A refused one stays, and waits behind the others.
ALTER TABLE outbox RENAME TO outbox_of_version_2;
CREATE TABLE outbox (
    inspection_id INTEGER NOT NULL REFERENCES inspection (id),
    output        TEXT NOT NULL,
    station       TEXT NOT NULL,
    refused_at_us INTEGER,
    refusal       TEXT,
    PRIMARY KEY (inspection_id, output)
) STRICT, WITHOUT ROWID;
INSERT INTO outbox (inspection_id, output, station, refused_at_us, refusal)
    SELECT inspection_id, 'json', station, refused_at_us, refusal FROM outbox_of_version_2;
DROP TABLE outbox_of_version_2;
CREATE INDEX outbox_by_station ON outbox (station, output, inspection_id);
CREATE INDEX outbox_by_refusal ON outbox (station, output, refused_at_us) WHERE refused_at_us IS NOT NULL;
