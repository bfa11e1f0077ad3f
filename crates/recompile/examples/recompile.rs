//! Recompiles one ELF file: `cargo run --release --example recompile -- FILE [OUT.wasm]`. Prints sizes, time and what was not covered.
use std::time::Instant;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let path = args.next().ok_or("usage: recompile FILE [OUT.wasm]")?;
    let file = std::fs::read(&path)?;
    let start = Instant::now();
    let object = megalith_recompile::recompile(&file)?;
    let text = object.meta.text.1 - object.meta.text.0;
    println!(
        "{path}: {} functions, {} resume points, {text} bytes of text -> {} bytes of wasm in {:?}",
        object.meta.functions.len(),
        object.meta.resume.len(),
        object.wasm.len(),
        start.elapsed()
    );
    for u in &object.meta.uncovered {
        println!("  {:#x}: {:02x?} {}", u.addr, u.bytes, u.reason);
    }
    if let Some(out) = args.next() {
        std::fs::write(out, &object.wasm)?;
    }
    wasmparser::Validator::new_with_features(wasmparser::WasmFeatures::all()).validate_all(&object.wasm)?;
    Ok(())
}
