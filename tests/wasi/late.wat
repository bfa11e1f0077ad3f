;; A data segment whose place is not a plain constant: the entry point copies it in. Prints it.
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.add (i32.const 10) (i32.const 6)) "copied in\n")
  (data (i32.const 0) "\10\00\00\00\0a\00\00\00")
  (func (export "_start")
    (if (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)) (then unreachable))))
