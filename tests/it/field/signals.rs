//! A stop that is signalled twice commits nothing false; a signal that is ignored at the start stays ignored.
