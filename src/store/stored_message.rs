//! Where the message of an inspection is stored: in the table `output_message`, or in the row of the inspection if that
//! was committed when the log had schema version 1 or 2.

/// The payload of the output `:output`, as an SQL expression on a row of `inspection`. NULL if that output has no message.
///
/// Versions 1 and 2 had one output, `json`, and stored its whole text. The text ends in `,"historical":false}`. These 20
/// characters are cut off here, because `historical` is decided when the message is sent.
pub(super) const PAYLOAD: &str = r"
    coalesce((SELECT payload FROM output_message WHERE inspection_id = inspection.id AND output = :output),
             CASE WHEN :output = 'json' AND inspection.message <> ''
                  THEN CAST(substr(inspection.message, 1, length(inspection.message) - 20) AS BLOB) END)";
