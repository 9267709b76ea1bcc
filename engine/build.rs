//! Copies the C headers of the linked Wasmtime (conf.h made for its features) beside the library.
use std::{env, fs, io, path::Path};

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

fn main() -> io::Result<()> {
    println!("cargo:rerun-if-env-changed=ENGINE_INCLUDE");
    println!("cargo:rerun-if-changed=build.rs");
    let Some(to) = env::var_os("ENGINE_INCLUDE") else { return Ok(()) };
    let from =
        env::var_os("DEP_WASMTIME_C_API_INCLUDE").expect("the C API tells where its headers are");
    copy(Path::new(&from), Path::new(&to))?;
    fs::copy("include/engine.h", Path::new(&to).join("engine.h"))?;
    Ok(())
}
