;; Which question it answers: how are the interpreter's values named outside of
;; it? Under the early Canonical ABI the host hands out a handle for a pointer.
;; With one owner and one process, the pointer itself is the handle.
(module
  (func (export "resource_new_rb-abi-value") (param i32) (result i32) local.get 0)
  (func (export "resource_get_rb-abi-value") (param i32) (result i32) local.get 0)
  ;; No JavaScript value ever exists, so none can be dropped.
  (func (export "resource_drop_js-abi-value") (param i32) unreachable))
