;; Reads behind the end of its memory, which is not the end of its address space.
(module
  (memory (export "memory") 1)
  (func (export "_start") (drop (i64.load (i32.const 65529)))))
