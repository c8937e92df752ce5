//! Masks mark what their author marked, or are named.
