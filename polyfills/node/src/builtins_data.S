// The archive that compile_builtins.c made.
    .section .rodata
    .global builtins_start, builtins_end
    .balign 16
builtins_start:
    .incbin "builtins.bin"
    .byte 0
builtins_end:
    .section .note.GNU-stack,"",@progbits
