/* Jumps by way of tables, as compilers write them. */
#include <stdint.h>
#include <stdio.h>

#include "probe.h"

uint64_t jump_helper(uint64_t x) {
    return x * 3 + 1;
}

/* A loop with a switch whose table's address stays in a register that calls preserve; what leads to the jump from above contains a call. */
uint64_t jump_kept(uint64_t rounds, uint64_t state);
__asm__(".intel_syntax noprefix\n.text\n.globl jump_kept\n.type jump_kept, @function\njump_kept:\n"
        " push rbx\n push rbp\n push r12\n"
        " lea rbp, [rip + jump_kept_table]\n mov rbx, rdi\n mov r12, rsi\n"
        "1: test bl, 1\n jz 2f\n"
        " mov rdi, r12\n call jump_helper\n mov r12, rax\n"
        "2: mov eax, r12d\n and eax, 7\n cmp eax, 4\n ja 8f\n movsxd rax, dword ptr [rbp + rax * 4]\n add rax, rbp\n jmp rax\n"
        "3: add r12, 5\n jmp 7f\n"
        "4: mov rdi, r12\n call jump_helper\n xor r12, rax\n jmp 7f\n"
        "5: rol r12, 7\n jmp 7f\n"
        "6: lea r12, [r12 + r12 * 2 + 1]\n"
        "7: dec rbx\n jnz 1b\n mov rax, r12\n pop r12\n pop rbp\n pop rbx\n ret\n"
        "8: not r12\n ror r12, 3\n jmp 7b\n"
        ".size jump_kept, . - jump_kept\n"
        ".section .rodata\n.p2align 2\njump_kept_table: .long 3b - jump_kept_table, 4b - jump_kept_table, 5b - jump_kept_table, "
        "6b - jump_kept_table, 8b - jump_kept_table\n.text\n.att_syntax\n");

static int jump_tables(int argc, char **argv) {
    (void)argc, (void)argv;
    for (uint64_t rounds = 1; rounds < 3000; rounds += 409)
        printf("%lu %016lx\n", rounds, jump_kept(rounds, rounds * 0x9e3779b97f4a7c15u));
    return 0;
}

const struct probe jump_probes[] = {{"jump-tables", jump_tables}, {0, 0}};
