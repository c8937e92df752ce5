//! The `certiscope` program; everything is in the library.

fn main() {
    certiscope::main()
}
