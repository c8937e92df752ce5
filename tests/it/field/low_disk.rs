//! A disk that other programs fill does not cost the inspection log.
