//! One odd file name ends or mixes up no result of `inspect`.
