//! Links the unwinder of the C compiler into the programs instead of loading libgcc_s.so: the loader needs 0.1 ms for
//! it, a twentieth of the start of a wrapped program.
//!
//! rustc asks the linker for `-lgcc_s` by name. This puts a linker script of that name in front of the system's
//! library, which asks for the static one. Every gcc that can link C programs has it.

use std::path::Path;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    let target = |name| env::var(format!("CARGO_CFG_TARGET_{name}")).unwrap_or_default();
    if target("OS") == "linux" && target("ENV") == "gnu" {
        let folder = env::var("OUT_DIR").map_err(io::Error::other)?;
        fs::write(Path::new(&folder).join("libgcc_s.so"), "INPUT(-lgcc_eh -lgcc)\n")?;
        // For the programs of this package only: who uses the library links as ever.
        println!("cargo::rustc-link-arg-bins=-L{folder}");
    }
    Ok(())
}
