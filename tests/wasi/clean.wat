;; Exits with 1 when anything but its data is in its memory; then fills it. The memory lies over where executables have theirs.
(module
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 80)
  (data (i32.const 0x400000) "data")
  (func (export "_start") (local $at i32)
    (if (i32.ne (i32.load (i32.const 0x400000)) (i32.const 0x61746164)) (then (call $exit (i32.const 1))))
    (i32.store (i32.const 0x400000) (i32.const 0))
    (drop (memory.grow (i32.const 16)))
    (loop $next
      (if (i64.ne (i64.load (local.get $at)) (i64.const 0)) (then (call $exit (i32.const 1))))
      (i64.store (local.get $at) (i64.const -1))
      (local.set $at (i32.add (local.get $at) (i32.const 8)))
      (br_if $next (i32.lt_u (local.get $at) (i32.shl (memory.size) (i32.const 16)))))))
