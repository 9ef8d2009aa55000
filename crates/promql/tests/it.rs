//! The crate from outside: scripts in the test language, tallies, bad input.

mod it {
    mod conformance;
    mod scripts;
    mod tallies;
}
