//! Skeleton; written in its own branch.
