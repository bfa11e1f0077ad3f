;; Copies standard input to standard output.
(module
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func $ok (param i32) (if (local.get 0) (then unreachable)))
  (func (export "_start") (local $at i32) (local $end i32)
    (block $done (loop $more
      (i32.store (i32.const 0) (i32.const 1024))
      (i32.store (i32.const 4) (i32.const 32768))
      (call $ok (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
      (br_if $done (i32.eqz (i32.load (i32.const 8))))
      (local.set $at (i32.const 1024))
      (local.set $end (i32.add (i32.const 1024) (i32.load (i32.const 8))))
      (loop $rest
        (i32.store (i32.const 0) (local.get $at))
        (i32.store (i32.const 4) (i32.sub (local.get $end) (local.get $at)))
        (call $ok (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
        (local.set $at (i32.add (local.get $at) (i32.load (i32.const 8))))
        (br_if $rest (i32.lt_u (local.get $at) (local.get $end))))
      (br $more)))))
