//! The formats against data that others wrote.

mod it {
    mod conformance;
}
