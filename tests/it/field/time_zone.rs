//! Times are shown in a zone that is named, and a zone that is not known is reported.
