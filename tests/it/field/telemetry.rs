//! Nothing leaves the station but the messages, however the program is started.
