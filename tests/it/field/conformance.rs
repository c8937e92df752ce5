//! Variants of picture files, made by the test, decode as the reference decoders decode them.
