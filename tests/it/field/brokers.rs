//! Names, addresses, rights and retained messages at brokers as people have them; `check` does what `run` does.
