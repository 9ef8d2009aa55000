//! `hmsops shim --dir DIR` alone, for the tests of this crate.

use std::path::Path;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [verb, flag, dir] = args.as_slice() else { std::process::exit(2) };
    if verb != "shim" || flag != "--dir" {
        std::process::exit(2);
    }
    std::process::exit(hmsops_act::shim::run(Path::new(dir)));
}
