//! Troubles of the field: what goes wrong for people who inspect, stream and integrate. Each test was seen to fail on the program
//! before the program was changed. The table is in docs/states-and-faults.md.

mod brokers;
mod conformance;
mod decoding;
mod folders;
mod fuzzed;
mod inspect;
mod low_disk;
mod masks;
mod outputs;
mod part_names;
mod picture_range;
mod signals;
mod telemetry;
mod time_zone;
