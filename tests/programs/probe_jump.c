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

/* Two switches on bytes that are compared where they lie in memory, as scanners have them: the second table follows the first at once, and only the
   comparisons say where the first ends. */
uint64_t jump_bytes(const uint8_t *kinds, uint64_t n);
__asm__(".intel_syntax noprefix\n.text\n.globl jump_bytes\n.type jump_bytes, @function\njump_bytes:\n"
        " xor r8d, r8d\n xor ecx, ecx\n"
        " cmp byte ptr [rdi], 2\n ja 3f\n movzx eax, byte ptr [rdi]\n lea rdx, [rip + jump_bytes_first]\n"
        " movsxd rax, dword ptr [rdx + rax * 4]\n add rax, rdx\n jmp rax\n"
        "1: add r8, 1\n jmp 4f\n"
        "2: add r8, 17\n jmp 4f\n"
        "3: add r8, 257\n"
        "4: lea rdx, [rip + jump_bytes_second]\n"
        "5: cmp byte ptr [rdi + rcx], 3\n ja 6f\n movzx eax, byte ptr [rdi + rcx]\n"
        " movsxd rax, dword ptr [rdx + rax * 4]\n add rax, rdx\n jmp rax\n"
        "6: rol r8, 5\n jmp 9f\n"
        "7: lea r8, [r8 + r8 * 2 + 1]\n jmp 9f\n"
        "8: xor r8, 0x5a5a\n"
        "9: inc rcx\n cmp rcx, rsi\n jb 5b\n mov rax, r8\n ret\n"
        ".size jump_bytes, . - jump_bytes\n"
        ".section .rodata\n.p2align 2\njump_bytes_first: .long 1b - jump_bytes_first, 2b - jump_bytes_first, 3b - jump_bytes_first\n"
        "jump_bytes_second: .long 7b - jump_bytes_second, 8b - jump_bytes_second, 6b - jump_bytes_second, 7b - jump_bytes_second\n"
        ".text\n.att_syntax\n");

/* A switch on -3 to -1, in two shapes: what is smaller leaves. One of the cases lies out of line, in a range of its own, before others in the table. */
#define FROM_END(name, check, jump) \
    uint64_t name(int32_t x, uint64_t state); \
    __asm__(".intel_syntax noprefix\n.text\n.globl " #name "\n.type " #name ", @function\n" #name ":\n.cfi_startproc\n" check jump \
            "2: lea rax, [rsi + rsi * 4 + 3]\n ret\n" \
            "3: mov rax, rsi\n not rax\n ret\n" \
            "8: mov eax, 77\n ret\n" \
            ".cfi_endproc\n.size " #name ", . - " #name "\n" \
            ".section .text.unlikely, \"ax\"\n.cfi_startproc\n1: mov rax, rsi\n ror rax, 9\n ret\n.cfi_endproc\n" \
            ".section .rodata\n.p2align 3\n" #name "_offsets: .long 1b - " #name "_offsets, 2b - " #name "_offsets, 3b - " #name "_offsets\n" \
            ".p2align 3\n" #name "_table: .quad 1b, 2b, 3b\n.text\n.att_syntax\n");
FROM_END(jump_from_end, " cmp edi, -3\n jb 8f\n lea eax, [rdi + 3]\n",
         " lea rdi, [rip + jump_from_end_offsets]\n movsxd rax, dword ptr [rdi + rax * 4]\n add rax, rdi\n jmp rax\n")
FROM_END(jump_from_end_later, " lea eax, [rdi + 3]\n cmp edi, -4\n jbe 8f\n", " jmp qword ptr [rax * 8 + jump_from_end_later_table]\n")

static int jump_tables(int argc, char **argv) {
    (void)argc, (void)argv;
    for (uint64_t rounds = 1; rounds < 3000; rounds += 409)
        printf("%lu %016lx\n", rounds, jump_kept(rounds, rounds * 0x9e3779b97f4a7c15u));
    for (uint64_t n = 1; n < 40; n += 3) {
        uint8_t kinds[40];
        for (int i = 0; i < 40; i++)
            kinds[i] = (uint8_t)(i * n % 6);
        kinds[0] = (uint8_t)(n % 5);
        printf("%lu %016lx\n", n, jump_bytes(kinds, n));
    }
    for (int x = -5; x < 2; x++)
        printf("%d %016lx %016lx\n", x, jump_from_end(x, 0x9e3779b97f4a7c15u), jump_from_end_later(x, 0x9e3779b97f4a7c15u));
    return 0;
}

/* Calls and tail jumps through variables that the file has functions' addresses in, before and after something else is put there. */
static uint64_t plus(uint64_t n, uint64_t x);
static uint64_t times(uint64_t n, uint64_t x);
__attribute__((used)) uint64_t (*jump_step)(uint64_t, uint64_t) = plus;
__attribute__((used)) uint64_t (*jump_last)(uint64_t, uint64_t) = times;

/* Registers that calls preserve are used across the call; the second one is a tail jump. */
uint64_t jump_through(uint64_t n, uint64_t x);
__asm__(".intel_syntax noprefix\n.text\n.globl jump_through\n.type jump_through, @function\njump_through:\n"
        " push rbx\n push rbp\n push rax\n mov rbx, rdi\n lea rbp, [rsi + rsi]\n"
        " call [rip + jump_step]\n"
        " mov rdi, rbx\n lea rsi, [rax + rbp]\n pop rax\n pop rbp\n pop rbx\n jmp [rip + jump_last]\n"
        ".size jump_through, . - jump_through\n.att_syntax\n");

/* Recursion by way of the variable only, some megabytes deep. */
static uint64_t plus(uint64_t n, uint64_t x) {
    return n ? jump_step(n - 1, x + n) * 3 + n : x;
}

static uint64_t times(uint64_t n, uint64_t x) {
    return x * 0x9e3779b97f4a7c15u ^ n;
}

static uint64_t minus(uint64_t n, uint64_t x) {
    return n ? x - jump_step(n - 1, x ^ n) : x;
}

/* Parts of registers are changed, and the rest is looked at. */
uint64_t jump_parts(uint64_t a, uint64_t b);
__asm__(".intel_syntax noprefix\n.text\n.globl jump_parts\n.type jump_parts, @function\njump_parts:\n"
        " mov rax, rdi\n or al, sil\n mov rcx, rax\n xor cx, si\n rol rax, 13\n xor al, byte ptr [rip + jump_part]\n"
        " lea rax, [rax + rcx * 2]\n or cl, 0x81\n js 1f\n not rax\n1: xor ch, cl\n add rax, rcx\n or ax, 0x8001\n ret\n"
        ".size jump_parts, . - jump_parts\n.data\njump_part: .byte 0xa5\n.text\n.att_syntax\n");

static int jump_variables(int argc, char **argv) {
    (void)argc, (void)argv;
    for (uint64_t n = 1; n < 100000; n = n * 7 + 3)
        printf("%lu %016lx %016lx\n", n, jump_through(n, n * 5), jump_parts(n * 0x9e3779b97f4a7c15u, n * 0xc2b2ae3d27d4eb4fu));
    jump_step = minus;
    for (uint64_t n = 1; n < 100000; n = n * 7 + 3)
        printf("%lu %016lx\n", n, jump_through(n, n * 5));
    jump_last = minus;
    jump_step = plus;
    printf("%016lx\n", jump_through(1000, 5));
    return 0;
}

const struct probe jump_probes[] = {{"jump-tables", jump_tables}, {"jump-variables", jump_variables}, {0, 0}};
