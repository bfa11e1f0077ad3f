;; Grows its memory and touches every page. Exits with 9 when it is refused; with 0 at 512 MiB.
(module
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (func (export "_start") (local $pages i32) (local $at i32)
    (loop $more
      (local.set $pages (memory.grow (i32.const 16)))
      (if (i32.eq (local.get $pages) (i32.const -1)) (then (call $exit (i32.const 9))))
      (local.set $at (i32.shl (local.get $pages) (i32.const 16)))
      (loop $touch
        (i32.store (local.get $at) (i32.const 1))
        (local.set $at (i32.add (local.get $at) (i32.const 4096)))
        (br_if $touch (i32.lt_u (local.get $at) (i32.shl (memory.size) (i32.const 16)))))
      (br_if $more (i32.lt_u (memory.size) (i32.const 8192))))))
