//! The one configuration of both sides. AOT code is only accepted by an engine that was configured alike, and its
//! safety leans on it (no bounds checks: the reservation and the guard are what stops an address).

use wasmtime::Config;

/// Bytes of host address space reserved for every linear memory. With it no 32-bit address needs a bounds check.
pub const RESERVATION: u64 = 1 << 32;
/// Inaccessible bytes after the reservation. Constant wasm offsets below this are not checked either.
pub const GUARD: u64 = 64 << 20;
/// Target triple for which this build compiles and which it runs.
pub const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Version of wasmtime; its two sides only understand each other when it is the same.
pub const WASMTIME: &str = "48.0.8";

/// The configuration without what only one side has (Cranelift's flags; memory creator and code memory).
pub(crate) fn config() -> Config {
    let mut c = Config::new();
    c.memory_reservation(RESERVATION)
        .memory_guard_size(GUARD)
        .memory_reservation_for_growth(0)
        .memory_may_move(false)
        .memory_init_cow(false)
        .guard_before_linear_memory(false)
        .signals_based_traps(true)
        .table_lazy_init(true)
        .generate_address_map(true)
        .debug_symbols(false)
        .wasm_tail_call(true)
        .wasm_simd(true)
        .wasm_relaxed_simd(false)
        .wasm_multi_memory(true)
        .wasm_multi_value(true)
        .wasm_bulk_memory(true)
        .wasm_threads(true)
        .wasm_extended_const(true)
        .wasm_branch_hinting(true)
        .wasm_memory64(false);
    c
}
