//! Standard output and standard error that cannot be written stop no work.
