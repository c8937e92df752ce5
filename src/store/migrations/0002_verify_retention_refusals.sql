-- Version 2 of the inspection log: what `verify` compares, numbers that outlive their rows, retention, refusals.

-- What else must be equal for the same bits to come out again.
ALTER TABLE parameters ADD COLUMN bundle_sha256 TEXT NOT NULL DEFAULT ''; -- of bundle.toml, which vouches for the rest
ALTER TABLE parameters ADD COLUMN batch INTEGER NOT NULL DEFAULT 0;       -- draws of a whole model call
ALTER TABLE parameters ADD COLUMN threads INTEGER NOT NULL DEFAULT 0;     -- of one model call
ALTER TABLE parameters ADD COLUMN cpu TEXT NOT NULL DEFAULT '';
ALTER TABLE parameters ADD COLUMN region TEXT;                            -- `x,y,width,height` in frame pixels; NULL: all

ALTER TABLE boot ADD COLUMN bundle_folder TEXT NOT NULL DEFAULT '';
-- The last number given: rows may be deleted, their numbers are never given again.
ALTER TABLE boot ADD COLUMN last_seq INTEGER NOT NULL DEFAULT 0;
UPDATE boot SET last_seq = coalesce((SELECT max(seq) FROM inspection
                                     WHERE inspection.boot_id = boot.boot_id AND inspection.station = boot.station), 0);

ALTER TABLE inspection ADD COLUMN evidence_bytes INTEGER; -- NULL: none was kept; 0: it was removed again
CREATE INDEX inspection_by_time ON inspection (captured_at_us);
CREATE INDEX inspection_by_part ON inspection (part_id);
CREATE INDEX inspection_by_evidence ON inspection (evidence) WHERE evidence IS NOT NULL;
CREATE INDEX inspection_with_evidence ON inspection (id, evidence_bytes) WHERE evidence IS NOT NULL;

-- A row that the broker does not take stays, and waits behind the others.
ALTER TABLE outbox ADD COLUMN refused_at_us INTEGER;
ALTER TABLE outbox ADD COLUMN refusal TEXT;
CREATE INDEX outbox_by_refusal ON outbox (station, refused_at_us) WHERE refused_at_us IS NOT NULL;
