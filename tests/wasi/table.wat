;; An indirect call of nothing.
(module
  (table 4 funcref)
  (memory (export "memory") 1)
  (func (export "_start") (call_indirect (i32.const 2))))
