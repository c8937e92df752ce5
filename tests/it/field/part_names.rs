//! Part names as scanners send them.
