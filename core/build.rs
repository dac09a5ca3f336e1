//! Rebuilds the crate when a schema file is added or removed: `include_dir` alone notices changed files only.

fn main() {
    println!("cargo::rerun-if-changed=../schemas/events");
    println!("cargo::rerun-if-changed=../schemas/earlier");
}
