//! Every file of a folder is read or counted, by every command.
