//! Where the message of an inspection for an output is kept: in `output_message`, or beside the inspection if the
//! log was of version 1 or 2 when it was committed.

/// The payload, as an expression on a row of `inspection`; needs `:output`. NULL where that output has no message.
///
/// Versions 1 and 2 had one output, `json`, and kept its whole text, which ends in `,"historical":false}`: 20
/// characters that are left out here, since `historical` is decided when it is sent.
pub(super) const PAYLOAD: &str = r"
    coalesce((SELECT payload FROM output_message WHERE inspection_id = inspection.id AND output = :output),
             CASE WHEN :output = 'json' AND inspection.message <> ''
                  THEN CAST(substr(inspection.message, 1, length(inspection.message) - 20) AS BLOB) END)";
