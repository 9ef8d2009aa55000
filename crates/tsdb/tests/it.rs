//! The store from outside, on disks in memory that crash and fail.

mod it {
    mod append;
    mod crash;
    mod ground;
    mod read;
}
