;; Which question it answers: how does an interpreter that was published for
;; browsers become a command? The Ruby module on npm is a library: JavaScript
;; calls `ruby-init` and `rb-eval-string-protect` in it. This module does what
;; that JavaScript does, and exports `_start`, so that the two merged are an
;; ordinary WASI preview-1 command.
;;
;; It trusts the Ruby module's own allocator and the argument list of its host.
;; Strings cross as pointer and length; the interpreter wants the terminating
;; zero inside the length. It never frees: the process ends with the script.
;;
;; build.mjs replaces BOOT by the Ruby text that runs first.
(module
  (import "wasi_snapshot_preview1" "args_sizes_get"
    (func $args_sizes_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_get"
    (func $args_get (param i32 i32) (result i32)))
  (import "ruby" "memory" (memory 0))
  (import "ruby" "cabi_realloc"
    (func $cabi_realloc (param i32 i32 i32 i32) (result i32)))
  (import "ruby" "ruby-init: func(args: list<string>) -> ()"
    (func $ruby_init (param i32 i32)))
  (import "ruby" "rb-eval-string-protect: func(str: string) -> tuple<handle<rb-abi-value>, s32>"
    (func $eval (param i32 i32) (result i32)))

  ;; `-e _=0` stands for the program, so that the interpreter does not wait for
  ;; one; `--` ends its own options, so that every later argument is the user's.
  (data $options "ruby\00-EUTF-8\00--disable=gems\00-e_=0\00--\00")
  (data $boot "BOOT\00")

  (func $allocate (param $size i32) (result i32)
    (call $cabi_realloc (i32.const 0) (i32.const 0) (i32.const 8) (local.get $size)))

  ;; The length of the string at $at with its terminating zero.
  (func $length (param $at i32) (result i32)
    (local $end i32)
    (local.set $end (local.get $at))
    (loop $next
      (local.set $end (i32.add (local.get $end) (i32.const 1)))
      (br_if $next (i32.load8_u (i32.sub (local.get $end) (i32.const 1)))))
    (i32.sub (local.get $end) (local.get $at)))

  ;; Appends the string at $at to the list whose next free entry is $entry, in a
  ;; block of its own because the interpreter frees each by itself.
  (func $append (param $entry i32) (param $at i32)
    (local $size i32) (local $copy i32)
    (local.set $size (call $length (local.get $at)))
    (local.set $copy (call $allocate (local.get $size)))
    (memory.copy (local.get $copy) (local.get $at) (local.get $size))
    (i32.store (local.get $entry) (local.get $copy))
    (i32.store offset=4 (local.get $entry) (local.get $size)))

  (func (export "_start")
    (local $sizes i32) (local $count i32) (local $table i32)
    (local $list i32) (local $entry i32) (local $at i32) (local $index i32)
    (local.set $sizes (call $allocate (i32.const 8)))
    (if (call $args_sizes_get (local.get $sizes) (i32.add (local.get $sizes) (i32.const 4)))
      (then (unreachable)))
    (local.set $count (i32.load (local.get $sizes)))
    (local.set $table (call $allocate
      (i32.add (i32.const 4) (i32.shl (local.get $count) (i32.const 2)))))
    (if (call $args_get (local.get $table)
          (call $allocate (i32.add (i32.const 1) (i32.load offset=4 (local.get $sizes)))))
      (then (unreachable)))

    ;; Five fixed options, then the arguments without the program's name.
    (local.set $list (call $allocate
      (i32.shl (i32.add (local.get $count) (i32.const 5)) (i32.const 3))))
    (local.set $entry (local.get $list))
    (local.set $at (call $allocate (i32.const OPTIONS_SIZE)))
    (memory.init $options (local.get $at) (i32.const 0) (i32.const OPTIONS_SIZE))
    (loop $next
      (call $append (local.get $entry) (local.get $at))
      (local.set $entry (i32.add (local.get $entry) (i32.const 8)))
      (local.set $at (i32.add (local.get $at) (call $length (local.get $at))))
      (local.set $index (i32.add (local.get $index) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $index) (i32.const 5))))
    (local.set $index (i32.const 1))
    (block $done
      (loop $next
        (br_if $done (i32.ge_u (local.get $index) (local.get $count)))
        (call $append (local.get $entry)
          (i32.load (i32.add (local.get $table) (i32.shl (local.get $index) (i32.const 2)))))
        (local.set $entry (i32.add (local.get $entry) (i32.const 8)))
        (local.set $index (i32.add (local.get $index) (i32.const 1)))
        (br $next)))
    (call $ruby_init (local.get $list)
      (i32.shr_u (i32.sub (local.get $entry) (local.get $list)) (i32.const 3)))

    (local.set $at (call $allocate (i32.const BOOT_SIZE)))
    (memory.init $boot (local.get $at) (i32.const 0) (i32.const BOOT_SIZE))
    ;; The result is a handle and a state; a state other than zero means that the
    ;; boot text itself failed, which it never does for the user's program.
    (if (i32.load offset=4 (call $eval (local.get $at) (i32.const BOOT_SIZE)))
      (then (unreachable)))))
