/* Writes of single bytes to registers: who reads the rest of the register finds what was there before, however far behind it comes. */
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#include "probe.h"

/* Each takes a pointer to four bytes in rdi and an old value in rsi, and returns what it made of both in rax. */
#define BYTES(name, code)                                                                                                          \
    uint64_t name(const unsigned char *bytes, uint64_t old);                                                                       \
    __asm__(".intel_syntax noprefix\n.text\n.globl " #name "\n.type " #name ", @function\n" #name ":\n" code "\n ret\n"              \
            ".size " #name ", . - " #name "\n.att_syntax\n");

BYTES(bytes_nothing, "xor eax, eax")
BYTES(bytes_return, "mov rax, rsi\n mov al, [rdi]")
BYTES(bytes_only, "mov rax, rsi\n mov al, [rdi]\n mov cl, [rdi + 1]\n cmp al, cl\n sete al\n movzx eax, al")
BYTES(bytes_far, "mov rax, rsi\n mov al, [rdi]\n cmp al, 5\n ja 1f\n add al, 3\n jmp 2f\n 1: mov al, [rdi + 1]\n 2: test al, al\n jz 3f\n"
                 " rol rax, 8\n 3:")
BYTES(bytes_loop, "mov rax, rsi\n mov ecx, 3\n 1: mov al, [rdi + rcx]\n xor al, 0x55\n mov [rip + bytes_cell], al\n dec ecx\n jns 1b\n bswap rax")
BYTES(bytes_word, "mov rax, rsi\n mov al, [rdi]\n mov cx, ax\n movzx eax, cx")
BYTES(bytes_high, "mov rax, rsi\n mov al, [rdi]\n mov ah, [rdi + 1]\n movzx ecx, ah\n movzx eax, al\n shl ecx, 8\n or eax, ecx")
BYTES(bytes_high_read, "mov rax, rsi\n mov al, [rdi]\n movzx eax, ah")
BYTES(bytes_half, "mov rax, rsi\n mov al, [rdi]\n mov eax, eax")
BYTES(bytes_address, "lea rax, [rip + bytes_table]\n mov al, al\n mov dl, [rdi]\n and edx, 63\n movzx eax, byte ptr [rax + rdx]")
BYTES(bytes_index, "mov rcx, rsi\n and ecx, 0x3f\n mov cl, [rdi]\n and cl, 0x3f\n lea rax, [rip + bytes_table]\n movzx eax, byte ptr [rax + rcx]")
BYTES(bytes_count, "mov rcx, rsi\n mov cl, [rdi]\n mov rax, rsi\n rol rax, cl\n xor rax, rcx")
BYTES(bytes_set, "mov rax, rsi\n test byte ptr [rdi], 1\n setnz al\n xor rax, 0x100")
BYTES(bytes_set_only, "mov rax, rsi\n test byte ptr [rdi], 1\n setnz al\n and al, 1\n movzx eax, al")
BYTES(bytes_push, "mov rax, rsi\n mov al, [rdi]\n push rax\n pop rcx\n mov rax, rcx")
BYTES(bytes_kept, "push rbx\n mov rbx, rsi\n mov bl, [rdi]\n call bytes_nothing\n mov rax, rbx\n pop rbx")
BYTES(bytes_kept_byte, "push rbx\n mov rbx, rsi\n mov bl, [rdi]\n call bytes_nothing\n test bl, bl\n setz al\n pop rbx")
BYTES(bytes_argument, "mov rdx, rsi\n mov dl, [rdi]\n mov rsi, rdx\n call bytes_return")
BYTES(bytes_through, "push r12\n mov r12, rsi\n mov r12b, [rdi]\n mov rsi, r12\n call bytes_far\n xor rax, r12\n pop r12")
BYTES(bytes_callee_saves, "push rbx\n mov rbx, rsi\n mov bl, [rdi + 2]\n call bytes_kept\n add rax, rbx\n pop rbx")
BYTES(bytes_exchange, "mov rax, rsi\n mov al, [rdi]\n mov rcx, rsi\n not rcx\n mov cl, [rdi + 1]\n xchg al, cl\n rol rcx, 9\n xor rax, rcx")
BYTES(bytes_compare, "mov rax, rsi\n mov al, [rdi]\n mov rcx, rsi\n mov cl, [rdi + 1]\n mov dl, [rdi + 2]\n mov [rip + bytes_cell], dl\n"
                     " cmpxchg [rip + bytes_cell], cl\n rol rax, 5\n add rax, rcx")
BYTES(bytes_string, "mov rax, rsi\n mov rsi, rdi\n lodsb\n ror rax, 8")
BYTES(bytes_string_only, "mov rax, rsi\n mov rsi, rdi\n lodsb\n add al, [rsi]\n movzx eax, al")
BYTES(bytes_signs, "mov rax, rsi\n mov al, [rdi]\n movsx rcx, al\n cbw\n cwde\n cdqe\n lea rax, [rax + rcx * 4]")
BYTES(bytes_multiply, "mov rax, rsi\n mov al, [rdi]\n mul byte ptr [rdi + 1]")
BYTES(bytes_divide, "mov rax, rsi\n movzx eax, word ptr [rdi]\n and ax, 0x1fff\n mov cl, [rdi + 2]\n or cl, 0x80\n div cl\n mov ecx, eax\n mov rax, rsi\n mov al, ch")
BYTES(bytes_conditional, "mov rax, rsi\n mov rcx, rsi\n not rcx\n mov al, [rdi]\n mov cl, [rdi + 1]\n cmp al, cl\n cmova rax, rcx")
BYTES(bytes_system_call, "mov rbx, rbx\n push rbx\n mov rbx, rsi\n mov bl, [rdi]\n mov rax, 39\n syscall\n mov rax, rbx\n pop rbx")

/* What is known to be a byte, or two, is written to in part. */
BYTES(low_add, "movzx eax, byte ptr [rdi]\n add al, [rdi + 1]\n mov rcx, rax\n shl rcx, 8\n or rax, rcx")
BYTES(low_shift, "movzx eax, byte ptr [rdi]\n shr al, 4\n mov rcx, rax\n ror rcx, 4\n add al, 0xfd\n xor rax, rcx")
BYTES(low_rotate, "movzx eax, byte ptr [rdi]\n rol al, 3\n sbb al, 5\n not al\n neg al\n lea rax, [rax + rax * 2]\n sar al, 2\n bswap rax")
BYTES(low_word, "movzx eax, word ptr [rdi]\n add ax, 0x7fff\n adc al, 0\n lea rcx, [rax + rax * 4]\n shr ax, 3\n mov al, [rdi + 2]\n inc ax\n bswap rax\n xor rax, rcx")
BYTES(low_multiply, "movzx eax, byte ptr [rdi]\n mul byte ptr [rdi + 1]\n add al, 1\n bswap rax")
BYTES(low_divide, "movzx eax, word ptr [rdi]\n and eax, 0x1fff\n mov cl, [rdi + 2]\n or cl, 0x80\n div cl\n add al, 9\n rol rax, 7")
BYTES(low_exchange, "movzx eax, byte ptr [rdi]\n mov rcx, rsi\n xchg al, cl\n add al, 7\n mov rdx, rax\n xchg rcx, rax\n xor al, 3\n rol rax, 9\n xor rax, rdx")
BYTES(low_high, "movzx eax, byte ptr [rdi]\n mov ah, [rdi + 1]\n add al, 3\n bswap rax\n movzx ecx, byte ptr [rdi + 2]\n add ch, 9\n sub cl, 1\n add rax, rcx")
BYTES(low_set, "movzx eax, byte ptr [rdi]\n test byte ptr [rdi + 1], 1\n setnz al\n dec al\n rol rax, 12")
BYTES(low_blocks, "movzx eax, byte ptr [rdi]\n cmp byte ptr [rdi + 1], 7\n jb 1f\n sub al, 0x21\n cmp byte ptr [rdi + 2], 9\n ja 2f\n add al, 0x70\n 2: bswap rax\n ret\n"
                  " 1: mov rax, rsi\n dec al")

unsigned char bytes_cell, bytes_table[256] __attribute__((aligned(256)));

#define NAMES(DO)                                                                                                                 \
    DO(bytes_return) DO(bytes_only) DO(bytes_far) DO(bytes_loop) DO(bytes_word) DO(bytes_high) DO(bytes_high_read) DO(bytes_half) \
    DO(bytes_address) DO(bytes_index) DO(bytes_count) DO(bytes_set) DO(bytes_set_only) DO(bytes_push) DO(bytes_kept)              \
    DO(bytes_kept_byte) DO(bytes_argument) DO(bytes_through) DO(bytes_callee_saves) DO(bytes_exchange) DO(bytes_compare)          \
    DO(bytes_string) DO(bytes_string_only) DO(bytes_signs) DO(bytes_multiply) DO(bytes_divide) DO(bytes_conditional)              \
    DO(bytes_system_call) DO(low_add) DO(low_shift) DO(low_rotate) DO(low_word) DO(low_multiply) DO(low_divide) DO(low_exchange)  \
    DO(low_high) DO(low_set) DO(low_blocks)

static int byte_registers(int argc, char **argv) {
    (void)argc, (void)argv;
    for (int i = 0; i < 256; i++)
        bytes_table[i] = i * 7 + 3;
    uint64_t random = 88172645463325252u;
    static const unsigned char edges[] = {0, 1, 5, 6, 0x7f, 0x80, 0xfe, 0xff};
    uint64_t sums[64] = {0};
    for (int round = 0; round < 4096; round++) {
        unsigned char bytes[4];
        for (int i = 0; i < 4; i++) {
            random ^= random << 13, random ^= random >> 7, random ^= random << 17;
            bytes[i] = random & 0x100 ? edges[random & 7] : random;
        }
        int k = 0;
#define RUN(name) sums[k] = (sums[k] << 5 | sums[k] >> 59) ^ name(bytes, random * 0x9e3779b97f4a7c15u), k++;
        NAMES(RUN)
    }
    int k = 0;
#define SHOW(name) printf("%s %016lx\n", #name, sums[k++]);
    NAMES(SHOW)
    return 0;
}

const struct probe byte_probes[] = {{"byte-registers", byte_registers}, {0, 0}};
