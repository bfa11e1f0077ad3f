;; Prints arguments and environment, NUL-terminated as they come, and exits with the number of arguments.
(module
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $args_sizes (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_get" (func $args (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_sizes_get" (func $environ_sizes (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_get" (func $environ (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 2)
  (func $ok (param i32) (if (local.get 0) (then unreachable)))
  ;; Writes the bytes at 0x8000 whose length lies at 4.
  (func $print
    (i32.store (i32.const 8) (i32.const 0x8000))
    (i32.store (i32.const 12) (i32.load (i32.const 4)))
    (call $ok (call $write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 16))))
  (func (export "_start") (local $n i32)
    (call $ok (call $args_sizes (i32.const 0) (i32.const 4)))
    (local.set $n (i32.load (i32.const 0)))
    (call $ok (call $args (i32.const 0x1000) (i32.const 0x8000)))
    ;; The first pointer is that of the first string.
    (if (i32.ne (i32.load (i32.const 0x1000)) (i32.const 0x8000)) (then unreachable))
    (call $print)
    (call $ok (call $environ_sizes (i32.const 0) (i32.const 4)))
    (call $ok (call $environ (i32.const 0x1000) (i32.const 0x8000)))
    (call $print)
    (call $exit (local.get $n))))
