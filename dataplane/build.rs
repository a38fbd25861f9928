//! Compiles the XDP program (`bpf/steer.bpf.c`) with clang; `port/xdp/program.rs` embeds the object.

use std::env;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

const SOURCE: &str = "bpf/steer.bpf.c";

fn main() -> ExitCode {
    println!("cargo::rerun-if-changed={SOURCE}");
    println!("cargo::rerun-if-env-changed=CLANG");
    let clang = env::var("CLANG").unwrap_or_else(|_| "clang".into());
    let object = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("steer.bpf.o");
    let machine = env::var("CARGO_CFG_TARGET_ARCH").expect("cargo sets the target");
    let result = Command::new(&clang)
        .args(["-O2", "-g", "-Wall", "-Werror", "-target", "bpf"])
        // Debian keeps <asm/types.h> in the machine's own directory, which clang does not search for this target.
        .arg(format!("-I/usr/include/{machine}-linux-gnu"))
        .args(["-c", SOURCE, "-o"])
        .arg(&object)
        .status();
    match result {
        Ok(status) if status.success() => return ExitCode::SUCCESS,
        Ok(status) => println!(
            "cargo::error={clang} could not compile {SOURCE} ({status}); it needs <bpf/bpf_helpers.h> (Debian: libbpf-dev)"
        ),
        Err(error) => println!(
            "cargo::error=running {clang} to compile {SOURCE}: {error}; install clang (Debian: apt install clang libbpf-dev) \
             or name it in CLANG"
        ),
    }
    ExitCode::FAILURE
}
