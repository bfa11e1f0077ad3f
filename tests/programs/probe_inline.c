/* What a recompiler that puts small functions, and the beginnings of larger ones, into their callers must not change. */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "probe.h"

#define SMALL __attribute__((noinline, noclone, noipa))

/*
 * Functions in assembly, each called directly by a guard of its own. A guard sets the preserved registers to known values, calls, notes what came
 * back in rax, rdx, rcx, r10, r11, xmm0, xmm1, xmm9 and the flags, and returns how the preserved registers and rsp differ from before: 0 if all is well.
 */
struct came_back {
    uint64_t rax, rdx, rcx, r10, r11, xmm0, xmm1, xmm9, carry;
};
struct came_back came_back;
uint64_t guard_rsp, cell, counter, table[64];
void *function_table[4];

__asm__(
    ".intel_syntax noprefix\n"
    ".text\n"
    ".macro FUNCTION name\n"
    ".p2align 4\n"
    ".globl \\name\n"
    ".type \\name, @function\n"
    "\\name:\n"
    ".endm\n"
    ".macro END name\n"
    ".size \\name, . - \\name\n"
    ".endm\n"
    ".macro GUARD name\n"
    "FUNCTION guard_\\name\n"
    "  push rbx\n push rbp\n push r12\n push r13\n push r14\n push r15\n sub rsp, 8\n"
    "  mov guard_rsp[rip], rsp\n"
    "  movabs rbx, 0x1111111122222222\n movabs rbp, 0x3333333344444444\n movabs r12, 0x5555555566666666\n"
    "  movabs r13, 0x7777777788888888\n movabs r14, 0x99999999aaaaaaaa\n movabs r15, 0xbbbbbbbbcccccccc\n"
    "  mov r10d, 10\n mov r11d, 11\n mov ecx, 12\n mov edx, 13\n mov eax, 14\n"
    "  pxor xmm0, xmm0\n pxor xmm1, xmm1\n pxor xmm9, xmm9\n cvtsi2sd xmm0, rdi\n cvtsi2sd xmm1, rsi\n cvtsi2sd xmm9, rdi\n"
    "  cmp rdi, rsi\n"
    "  call \\name\n"
    "  mov came_back[rip], rax\n mov came_back[rip + 8], rdx\n mov came_back[rip + 16], rcx\n mov came_back[rip + 24], r10\n"
    "  mov came_back[rip + 32], r11\n movq came_back[rip + 40], xmm0\n movq came_back[rip + 48], xmm1\n movq came_back[rip + 56], xmm9\n"
    "  setc byte ptr came_back[rip + 64]\n"
    "  movabs rcx, 0x1111111122222222\n xor rbx, rcx\n mov rax, rbx\n"
    "  movabs rcx, 0x3333333344444444\n xor rbp, rcx\n or rax, rbp\n"
    "  movabs rcx, 0x5555555566666666\n xor r12, rcx\n or rax, r12\n"
    "  movabs rcx, 0x7777777788888888\n xor r13, rcx\n or rax, r13\n"
    "  movabs rcx, 0x99999999aaaaaaaa\n xor r14, rcx\n or rax, r14\n"
    "  movabs rcx, 0xbbbbbbbbcccccccc\n xor r15, rcx\n or rax, r15\n"
    "  mov rcx, rsp\n xor rcx, guard_rsp[rip]\n or rax, rcx\n"
    "  add rsp, 8\n pop r15\n pop r14\n pop r13\n pop r12\n pop rbp\n pop rbx\n"
    "  ret\n"
    "END guard_\\name\n"
    ".endm\n"

    /* Whole functions. */
    "FUNCTION i_saves\n push rbx\n push r12\n lea rbx, [rdi + rdi * 2]\n mov r12, rsi\n add rbx, r12\n mov rax, rbx\n pop r12\n pop rbx\n ret\nEND i_saves\n"
    "FUNCTION i_frame\n push rbp\n mov rbp, rsp\n sub rsp, 32\n mov [rbp - 8], rdi\n mov [rbp - 16], rsi\n mov rax, [rbp - 8]\n imul rax, [rbp - 16]\n leave\n ret\nEND i_frame\n"
    "FUNCTION i_two\n test rdi, rdi\n js 1f\n lea rax, [rdi + 1]\n ret\n 1: neg rdi\n mov rax, rdi\n ret\nEND i_two\n"
    "FUNCTION i_tail\n add rdi, 5\n jmp i_saves\nEND i_tail\n"
    "FUNCTION i_tails\n test dil, 1\n jne 1f\n jmp i_tail\n 1: jmp i_frame\nEND i_tails\n"
    /* The second result is there before the jump. Too large to be put into its callers. */
    "FUNCTION i_passes\n .rept 12\n add rdi, rsi\n rol rdi, 3\n .endr\n lea rdx, [rdi + rsi]\n jmp i_passed\nEND i_passes\n"
    "FUNCTION i_passed\n lea rax, [rdx + rdi]\n ret\nEND i_passed\n"
    "FUNCTION i_nest1\n push rbx\n mov rbx, rdi\n call i_nest2\n add rax, rbx\n pop rbx\n ret\nEND i_nest1\n"
    "FUNCTION i_nest2\n push rbx\n lea rbx, [rdi + 7]\n call i_nest3\n sub rax, rbx\n pop rbx\n ret\nEND i_nest2\n"
    "FUNCTION i_nest3\n push rbx\n push rbp\n lea rbp, [rsi * 4]\n call i_nest4\n mov rbx, rax\n call i_two\n lea rax, [rax + rbx]\n xor rax, rbp\n pop rbp\n pop rbx\n ret\nEND i_nest3\n"
    "FUNCTION i_nest4\n mov rax, [rsp + 8]\n add rax, [rsp + 16]\n inc qword ptr counter[rip]\n add rdi, rax\n ret\nEND i_nest4\n"
    "FUNCTION i_pointer\n push rbx\n mov rbx, rdi\n and edi, 3\n call [function_table + rdi * 8]\n add rax, rbx\n pop rbx\n ret\nEND i_pointer\n"
    "FUNCTION i_wide\n mov rax, rdi\n mul rsi\n add rax, 3\n ret\nEND i_wide\n"
    "FUNCTION i_floats\n addsd xmm0, xmm1\n mulsd xmm1, xmm1\n addsd xmm9, xmm9\n ret\nEND i_floats\n"
    "FUNCTION i_state\n add r10, rdi\n lea r11, [r11 + r10 * 2]\n xor ecx, edx\n ret\nEND i_state\n"
    "FUNCTION i_here\n mov rax, [rsp]\n lea rcx, i_heres[rip]\n sub rax, rcx\n ret\nEND i_here\n"
    /* A caller whose own state lives in registers that calls usually clobber. */
    "FUNCTION i_heres\n mov r10, rdi\n mov r11, rsi\n movq xmm8, rdi\n movq xmm15, rsi\n call i_here\n mov rdx, rax\n call i_saves\n add rdx, rax\n call i_here\n add rdx, rax\n"
    " add rdx, r10\n xor rdx, r11\n movq rcx, xmm8\n add rdx, rcx\n movq rcx, xmm15\n sub rdx, rcx\n mov rax, rdx\n ret\nEND i_heres\n"
    /* Flags as results, read by all of their callers. */
    "FUNCTION i_carry\n mov rax, rdi\n add rax, rsi\n ret\nEND i_carry\n"
    "FUNCTION i_carries\n call i_carry\n mov ecx, 0\n adc rcx, 0\n shl rdi, 1\n call i_carry\n setc dl\n movzx edx, dl\n lea rdx, [rdx + rcx * 2]\n call i_carry\n jnc 1f\n add rdx, 100\n 1: sbb r10, r10\n ret\nEND i_carries\n"
    /* The carry of the caller goes in, and out again. */
    "FUNCTION i_through\n adc rdi, rsi\n mov rax, rdi\n ret\nEND i_through\n"
    "FUNCTION i_throughs\n mov rcx, rsi\n add rcx, -5\n call i_through\n mov rdi, rax\n call i_through\n mov rdi, rax\n call i_through\n adc rax, 0\n ret\nEND i_throughs\n"
    /* Stack arguments, written by the callee. */
    "FUNCTION i_arguments\n mov rax, [rsp + 8]\n add [rsp + 16], rax\n mov qword ptr [rsp + 8], 77\n ret\nEND i_arguments\n"
    "FUNCTION i_argued\n push rsi\n push rdi\n call i_arguments\n pop rdx\n pop rcx\n push rcx\n push rdx\n call i_arguments\n add rax, [rsp]\n add rax, [rsp + 8]\n add rsp, 16\n ret\nEND i_argued\n"
    /* What lies below rsp is the callee's: its red zone. */
    "FUNCTION i_red\n mov [rsp - 8], rdi\n mov [rsp - 128], rsi\n mov rax, [rsp - 8]\n sub rax, [rsp - 128]\n mov cell[rip], rax\n ret\nEND i_red\n"
    "FUNCTION i_reds\n call i_red\n mov rdi, rax\n call i_red\n mov rdi, [rsp - 136]\n sub rdi, rsi\n add rax, rdi\n ret\nEND i_reds\n"
    /* Changes its return address: the call behind the call is left out. */
    "FUNCTION i_skips\n test dil, 1\n je 1f\n add qword ptr [rsp], 5\n 1: lea rax, [rdi + 9]\n ret\nEND i_skips\n"
    "FUNCTION i_skipped\n mov r10, rsi\n movq xmm9, rdi\n call i_skips\n call i_counts\n mov rdx, rax\n inc rdi\n call i_skips\n call i_counts\n add rdx, rax\n add rdx, r10\n ret\nEND i_skipped\n"
    "FUNCTION i_counts\n add rax, 1000\n inc qword ptr counter[rip]\n ret\nEND i_counts\n"
    /* Returns by way of another function. */
    "FUNCTION i_pushes\n lea rcx, i_counts[rip]\n mov rax, rdi\n push rcx\n ret\nEND i_pushes\n"
    "FUNCTION i_sideways\n mov rax, rdi\n test dil, 2\n je 1f\n lea rcx, i_counts[rip]\n xchg rcx, [rsp]\n push rcx\n mov rcx, [rsp]\n mov rdx, [rsp + 8]\n mov [rsp], rdx\n mov [rsp + 8], rcx\n 1: ret\nEND i_sideways\n"
    "FUNCTION i_jumps_back\n mov rax, rdi\n pop rcx\n jmp rcx\nEND i_jumps_back\n"
    "FUNCTION i_repushes\n mov rax, rdi\n pop rcx\n push rcx\n ret\nEND i_repushes\n"
    "FUNCTION i_pops_arguments\n mov rax, [rsp + 8]\n ret 8\nEND i_pops_arguments\n"
    "FUNCTION i_popped\n push rdi\n call i_pops_arguments\n push rsi\n push rax\n call i_pops_arguments\n pop rdx\n ret\nEND i_popped\n"
    /* Swaps preserved registers and swaps them back in a second call. */
    "FUNCTION i_swap\n xchg rbx, r15\n xchg rbp, r14\n ret\nEND i_swap\n"
    "FUNCTION i_swapped\n call i_swap\n mov rdx, rbx\n mov rcx, rbp\n call i_swap\n mov rax, rbx\n sub rax, rdx\n ret\nEND i_swapped\n"
    /* Restores rbx from where a pointer may have changed it. */
    "FUNCTION i_stores\n mov [rdi], rsi\n ret\nEND i_stores\n"
    "FUNCTION i_spoils\n push rbx\n push rdi\n lea rdi, [rsp]\n call i_stores\n pop rax\n mov rbx, rax\n pop rbx\n ret\nEND i_spoils\n"
    /* A loop, and half registers. */
    "FUNCTION i_loops\n and edi, 15\n xor eax, eax\n 1: add rax, rsi\n imul rax, rax, 31\n dec edi\n jns 1b\n ret\nEND i_loops\n"
    "FUNCTION i_halves\n mov al, dil\n mov ah, cl\n mov dx, ax\n rol edx, 3\n ret\nEND i_halves\n"
    "FUNCTION i_recurses\n and edi, 63\n je 1f\n push rbx\n mov ebx, edi\n dec edi\n call i_recurses\n add rax, rbx\n pop rbx\n ret\n 1: mov eax, esi\n ret\nEND i_recurses\n"
    "FUNCTION i_twice\n call 1f\n 1: inc qword ptr counter[rip]\n mov rax, counter[rip]\n and eax, 1\n ret\nEND i_twice\n"
    /* Hands values over in preserved registers, to code that keeps none of them, and does not need them afterwards. */
    "FUNCTION i_takes\n lea rax, [rbx + r12 * 2]\n xor rax, rbp\n mov ebx, 1\n mov ebp, 2\n mov r12d, 3\n ret\nEND i_takes\n"
    "FUNCTION i_hands\n push rbx\n push rbp\n push r12\n lea rbx, [rdi + 5]\n mov rbp, rsi\n mov r12, rdi\n call i_takes\n pop r12\n pop rbp\n pop rbx\n ret\nEND i_hands\n"
    "GUARD i_saves\nGUARD i_frame\nGUARD i_two\nGUARD i_tail\nGUARD i_tails\nGUARD i_passes\nGUARD i_nest1\nGUARD i_pointer\nGUARD i_wide\nGUARD i_floats\nGUARD i_state\nGUARD i_heres\n"
    "GUARD i_carry\nGUARD i_carries\nGUARD i_throughs\nGUARD i_argued\nGUARD i_reds\nGUARD i_skipped\nGUARD i_pushes\nGUARD i_sideways\nGUARD i_jumps_back\nGUARD i_repushes\n"
    "GUARD i_popped\nGUARD i_swapped\nGUARD i_spoils\nGUARD i_loops\nGUARD i_halves\nGUARD i_recurses\nGUARD i_twice\nGUARD i_hands\n"

    /* What larger functions do when they have not returned early: more instructions than are ever put into callers. */
    ".macro LATE\n"
    "  mov rax, counter[rip]\n add rax, rdi\n rol rax, 5\n xor rax, rsi\n mov counter[rip], rax\n"
    "  .rept 12\n  lea rcx, [rdi + rax]\n xor rax, rcx\n rol rax, 7\n add rax, rsi\n .endr\n"
    "  mov cell[rip], rax\n"
    "  push rax\n call i_saves\n pop rcx\n xor rax, rcx\n"
    ".endm\n"
    "FUNCTION b_usual\n push rbx\n push rbp\n mov ebx, edi\n test edi, 1\n je 1f\n mov rbp, rsi\n LATE\n add rax, rbx\n sub rax, rbp\n 1: pop rbp\n pop rbx\n ret\nEND b_usual\n"
    "FUNCTION b_two_ways\n push rbx\n push r12\n mov rbx, rsi\n test edi, 1\n je 1f\n mov r12, rdi\n test edi, 2\n je 2f\n LATE\n add rax, rbx\n sub rax, r12\n"
    " 1: pop r12\n pop rbx\n ret\n 2: mov eax, 5\n pop r12\n pop rbx\n ret\nEND b_two_ways\n"
    "FUNCTION b_four\n push r15\n push r14\n push r13\n push rbx\n mov r15, rdi\n mov r14d, 1\n test edi, 1\n je 1f\n xor r13, r13\n LATE\n add rax, r15\n add rax, r14\n"
    " 1: pop rbx\n pop r13\n pop r14\n pop r15\n ret\nEND b_four\n"
    "FUNCTION b_again\n push rbx\n push rbx\n mov rbx, rdi\n test edi, 1\n je 1f\n LATE\n add rax, [rsp]\n 1: pop rcx\n pop rbx\n ret\nEND b_again\n"
    "FUNCTION b_changed\n mov rcx, rbx\n mov ebx, edi\n push rbx\n test edi, 1\n je 1f\n push rcx\n LATE\n pop rcx\n 1: pop rdx\n mov rbx, rcx\n ret\nEND b_changed\n"
    "FUNCTION b_argument\n mov r8, rdi\n lea rdi, [rdi + rsi]\n test r8d, 1\n je 1f\n LATE\n ret\n 1: mov rax, rdi\n ret\nEND b_argument\n"
    "FUNCTION b_upper\n mov edi, edi\n movzx esi, si\n test edi, 1\n je 1f\n LATE\n ret\n 1: mov rax, rsi\n ret\nEND b_upper\n"
    "FUNCTION b_stores\n inc qword ptr cell[rip]\n test edi, 1\n je 1f\n mov r9, cell[rip]\n LATE\n add rax, r9\n ret\n 1: mov rax, cell[rip]\n ret\nEND b_stores\n"
    "FUNCTION b_exchange\n mov rdx, rdi\n xchg cell[rip], rdx\n test edi, 1\n je 1f\n LATE\n add rax, rdx\n ret\n 1: mov rax, rdx\n ret\nEND b_exchange\n"
    "FUNCTION b_locked\n mov edx, 1\n lock xadd cell[rip], rdx\n test edi, 1\n je 1f\n mov r9, rdx\n LATE\n add rax, r9\n ret\n 1: mov rax, rdx\n ret\nEND b_locked\n"
    "FUNCTION b_bit\n bts qword ptr cell[rip], 3\n sbb edx, edx\n btc qword ptr cell[rip], 3\n btc qword ptr cell[rip], 4\n test edi, 1\n je 1f\n mov r9, rdx\n LATE\n add rax, r9\n ret\n 1: mov eax, edx\n ret\nEND b_bit\n"
    "FUNCTION b_masked\n mov r8, rdi\n pcmpeqb xmm2, xmm2\n movq xmm3, rsi\n paddq xmm3, xmm3\n movq xmm4, table[rip]\n paddq xmm3, xmm4\n lea rdi, table[rip]\n movq xmm2, xmm2\n maskmovdqu xmm3, xmm2\n mov rdi, r8\n"
    " test edi, 1\n je 1f\n LATE\n add rax, table[rip]\n ret\n 1: mov rax, table[rip]\n ret\nEND b_masked\n"
    "FUNCTION b_string\n mov r8, rsi\n mov r9, rdi\n lea rsi, table[rip]\n lodsq\n test r9d, 1\n je 1f\n mov rdi, r9\n mov rsi, r8\n LATE\n add rax, r8\n ret\n 1: sub rsi, offset table\n mov rdx, rsi\n ret\nEND b_string\n"
    "FUNCTION b_filled\n mov r9, rdi\n lea rdi, table[rip]\n mov rax, r9\n stosq\n mov rdi, r9\n test r9d, 1\n je 1f\n LATE\n add rax, table[rip]\n ret\n 1: ret\nEND b_filled\n"
    "FUNCTION b_backwards\n std\n test edi, 1\n je 1f\n lea rsi, table[rip + 16]\n lodsq\n cld\n LATE\n add rax, rsi\n sub rax, offset table\n ret\n 1: lea rsi, table[rip + 8]\n lodsq\n cld\n mov rax, rsi\n sub rax, offset table\n ret\nEND b_backwards\n"
    "FUNCTION b_x87\n fld1\n fadd st(0), st(0)\n test edi, 1\n je 1f\n LATE\n fistp qword ptr cell[rip]\n add rax, cell[rip]\n ret\n 1: fistp qword ptr cell[rip]\n mov rax, cell[rip]\n ret\nEND b_x87\n"
    "FUNCTION b_double\n addsd xmm0, xmm0\n addsd xmm0, xmm1\n ucomisd xmm0, xmm1\n test edi, 1\n je 1f\n LATE\n mulsd xmm0, xmm0\n mulsd xmm9, xmm9\n ret\n 1: addsd xmm9, xmm0\n ret\nEND b_double\n"
    "FUNCTION b_chain\n add r10, 3\n test edi, 1\n je 1f\n LATE\n add rax, r10\n add rax, r11\n ret\n 1: lea rax, [r10 + r11]\n ret\nEND b_chain\n"
    "FUNCTION b_carry\n mov eax, 0\n adc rax, 0\n mov edx, eax\n test edi, 1\n je 1f\n mov r9, rdx\n LATE\n add rax, r9\n ret\n 1: ret\nEND b_carry\n"
    "FUNCTION b_loop\n push rbx\n mov rbx, rdi\n xor eax, eax\n 1: cmp table[rax * 8], rdi\n je 2f\n inc eax\n cmp eax, 8\n jb 1b\n LATE\n sub rax, rbx\n 2: pop rbx\n ret\nEND b_loop\n"
    "FUNCTION b_calls_itself\n push rbx\n mov rbx, rdi\n test rdi, rdi\n je 1f\n sub rdi, 1\n and edi, 31\n call b_calls_itself\n mov rdi, rbx\n mov rsi, rax\n LATE\n add rax, rbx\n pop rbx\n ret\n 1: mov eax, esi\n pop rbx\n ret\nEND b_calls_itself\n"
    "FUNCTION b_address\n mov rax, [rsp]\n sub rax, offset guard_b_address\n test edi, 1\n je 1f\n mov r9, [rsp]\n LATE\n add rax, r9\n sub rax, offset guard_b_address\n 1: ret\nEND b_address\n"
    "FUNCTION b_skips\n test edi, 1\n je 1f\n LATE\n add qword ptr [rsp], 5\n ret\n 1: mov rax, rsi\n ret\nEND b_skips\n"
    "FUNCTION b_skipped\n call b_skips\n call i_counts\n add rax, 7\n ret\nEND b_skipped\n"
    "FUNCTION b_in_beginning\n mov edx, 5\n test edi, 4\n je 1f\n add rdx, rsi\n call b_usual\n LATE\n add rax, rdx\n ret\n 1: sub rsp, 24\n mov [rsp], rdi\n call b_two_ways\n add rax, [rsp]\n add rsp, 24\n ret\nEND b_in_beginning\n"
    "FUNCTION b_tail\n test edi, 2\n je 1f\n jmp b_usual\n 1: lea rax, [rsi + 1]\n ret\nEND b_tail\n"
    "FUNCTION b_shared_end\n test edi, 1\n je b_shared_return\n push rbp\n LATE\n pop rbp\n b_shared_return: ret\nEND b_shared_end\n"
    "FUNCTION b_reads_red\n mov rax, [rsp - 40]\n and eax, 0\n push rbx\n push rbp\n test edi, 1\n je 1f\n LATE\n 1: pop rbp\n pop rbx\n mov rdx, [rsp - 8]\n mov rcx, [rsp - 16]\n ret\nEND b_reads_red\n"
    /* A fault in the beginning, with registers pushed and changed. */
    "FUNCTION b_faults\n push rbx\n push r12\n mov rbx, rsi\n xor r12d, r12d\n cmp byte ptr [rdi], 0\n je 1f\n movzx edi, byte ptr [rdi]\n LATE\n add rax, rbx\n 1: pop r12\n pop rbx\n ret\nEND b_faults\n"
    "GUARD b_usual\nGUARD b_two_ways\nGUARD b_four\nGUARD b_again\nGUARD b_changed\nGUARD b_argument\nGUARD b_upper\nGUARD b_stores\nGUARD b_exchange\nGUARD b_locked\nGUARD b_bit\n"
    "GUARD b_masked\nGUARD b_string\nGUARD b_filled\nGUARD b_backwards\nGUARD b_x87\nGUARD b_double\nGUARD b_chain\nGUARD b_carry\nGUARD b_loop\nGUARD b_calls_itself\nGUARD b_address\n"
    "GUARD b_skipped\nGUARD b_in_beginning\nGUARD b_tail\nGUARD b_shared_end\nGUARD b_reads_red\nGUARD b_faults\n"

    /* Two small functions that call one another, on a stack of their own: r_even(levels), and on_stack(top, function, argument). */
    "FUNCTION r_even\n test rdi, rdi\n je 1f\n push rdi\n dec rdi\n call r_odd\n pop rdi\n lea rax, [rax + rdi * 2]\n ret\n 1: xor eax, eax\n ret\nEND r_even\n"
    "FUNCTION r_odd\n test rdi, rdi\n je 1f\n push rdi\n dec rdi\n call r_even\n pop rdi\n sub rax, rdi\n ret\n 1: mov eax, 1\n ret\nEND r_odd\n"
    "FUNCTION on_stack\n push rbp\n mov rbp, rsp\n mov rsp, rdi\n mov rdi, rdx\n call rsi\n mov rsp, rbp\n pop rbp\n ret\nEND on_stack\n"
    ".att_syntax prefix\n");

#define WHOLE(X)                                                                                                                                    \
    X(i_saves) X(i_frame) X(i_two) X(i_tail) X(i_tails) X(i_passes) X(i_nest1) X(i_pointer) X(i_wide) X(i_floats) X(i_state) X(i_heres) X(i_carry) X(i_carries) \
    X(i_throughs) X(i_argued) X(i_reds) X(i_skipped) X(i_pushes) X(i_sideways) X(i_jumps_back) X(i_repushes) X(i_popped) X(i_swapped) X(i_spoils)   \
    X(i_loops) X(i_halves) X(i_recurses) X(i_twice) X(i_hands)
#define BEGINNINGS(X)                                                                                                                               \
    X(b_usual) X(b_two_ways) X(b_four) X(b_again) X(b_changed) X(b_argument) X(b_upper) X(b_stores) X(b_exchange) X(b_locked) X(b_bit) X(b_masked)  \
    X(b_string) X(b_filled) X(b_backwards) X(b_x87) X(b_double) X(b_chain) X(b_carry) X(b_loop) X(b_calls_itself) X(b_address) X(b_skipped)         \
    X(b_in_beginning) X(b_tail) X(b_shared_end) X(b_reads_red)

#define DECLARE(name) uint64_t guard_##name(uint64_t, uint64_t), name(uint64_t, uint64_t);
WHOLE(DECLARE) BEGINNINGS(DECLARE) DECLARE(b_faults)
uint64_t i_counts(void);
uint64_t r_even(uint64_t), on_stack(void *top, uint64_t (*function)(uint64_t), uint64_t argument);

struct guarded {
    const char *name;
    uint64_t (*run)(uint64_t, uint64_t);
};
#define ENTRY(name) {#name, guard_##name},
static const struct guarded whole_list[] = {WHOLE(ENTRY){0, 0}}, beginnings_list[] = {BEGINNINGS(ENTRY){0, 0}};

static uint64_t mix(uint64_t h, uint64_t x) {
    h ^= x;
    h *= 0x9e3779b97f4a7c15;
    return h ^ h >> 29;
}

/* Runs each function `rounds` times and prints one line for it. */
static void run_all(const struct guarded *list, int rounds) {
    function_table[0] = i_saves, function_table[1] = i_frame, function_table[2] = i_two, function_table[3] = i_tails;
    for (; list->name; list++) {
        uint64_t h = 0, wrong = 0, x = 88172645463325252;
        counter = cell = 0;
        for (int i = 0; i < 64; i++)
            table[i] = i * 3;
        for (int i = 0; i < rounds; i++) {
            x ^= x << 13, x ^= x >> 7, x ^= x << 17;
            uint64_t a = i % 5 ? x : (uint64_t)(i % 40), b = i % 3 ? x >> 20 : -(uint64_t)i;
            /* Taken and not taken in turn at first, then at random. */
            a = i < rounds / 2 ? (a & ~1ull) | (i & 1) : a;
            memset(&came_back, 0, sizeof came_back);
            wrong |= list->run(a, b);
            h = mix(mix(mix(h, came_back.rax), came_back.rdx), came_back.xmm0);
            h = mix(mix(mix(h, came_back.r10), came_back.r11), came_back.xmm1);
            h = mix(mix(mix(h, cell), counter), came_back.xmm9);
            if (!strcmp(list->name, "i_carry"))
                h = mix(h, came_back.carry);
        }
        printf("%s: %016lx, preserved registers %s\n", list->name, h, wrong ? "LOST" : "kept");
        fflush(stdout);
    }
}

static int whole(int argc, char **argv) {
    (void)argc, (void)argv;
    run_all(whole_list, 1000);
    return 0;
}

static int beginnings(int argc, char **argv) {
    (void)argc, (void)argv;
    run_all(beginnings_list, 100000);
    return 0;
}

/* Faults. */

static sigjmp_buf recover;
static void *volatile fault_address;

static void faulted(int sig, siginfo_t *info, void *context) {
    (void)sig, (void)context;
    fault_address = info->si_addr;
    siglongjmp(recover, 1);
}

static void catch_faults(void) {
    /* On a stack of its own: on the other each fault that is not returned from may cost a page. */
    stack_t ss = {.ss_sp = malloc(65536), .ss_size = 65536};
    sigaltstack(&ss, 0);
    struct sigaction sa = {.sa_sigaction = faulted, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigaction(SIGSEGV, &sa, 0);
}

static int beginning_faults(int argc, char **argv) {
    (void)argc, (void)argv;
    catch_faults();
    unsigned char *page = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    mprotect(page + 4096, 4096, PROT_NONE);
    volatile uint64_t h = 0, wrong = 0;
    volatile int faults = 0;
    for (volatile int i = 0; i < 3000; i++) {
        page[4095] = i % 3;
        if (!sigsetjmp(recover, 1)) {
            wrong |= guard_b_faults((uintptr_t)page + 4095 + (i % 7 == 0), i);
            h = mix(h, came_back.rax);
        } else {
            faults++;
            h = mix(h, fault_address - (void *)page);
        }
    }
    printf("%d faults, %016lx, %016lx, counter %016lx\n", faults, (uint64_t)h, (uint64_t)wrong, counter);
    return 0;
}

/* Signals. */

static volatile uint64_t ticks, given, pocket, limit;
static volatile int leave_at;
static sigjmp_buf leave;

SMALL static uint64_t step(uint64_t h, uint64_t x) {
    return (h ^ x) * 0x100000001b3;
}

SMALL static uint64_t take(void) {
    return __atomic_exchange_n(&pocket, 0, __ATOMIC_SEQ_CST);
}

/* A small loop that only a signal ends. */
SMALL static void wait_for(volatile uint64_t *word, uint64_t value) {
    while (*word < value)
        ;
}

/* Another, which nothing but siglongjmp ends. */
SMALL static uint64_t spin(volatile uint64_t *word) {
    uint64_t n = 0;
    while (*word != ~0ull)
        n++;
    return n;
}

static void tick(int sig) {
    uint64_t n = ++ticks;
    __atomic_add_fetch(&pocket, n, __ATOMIC_SEQ_CST);
    given += n;
    step(n, sig);
    if (sig == SIGALRM && n % 4 == 0)
        raise(SIGUSR1);
    if (leave_at && n >= (uint64_t)leave_at) {
        leave_at = 0;
        siglongjmp(leave, 1);
    }
}

static void every_millisecond(int on) {
    struct itimerval it = {{0, on ? 1000 : 0}, {0, on ? 1000 : 0}};
    setitimer(ITIMER_REAL, &it, 0);
}

static int signals(int argc, char **argv) {
    (void)argc, (void)argv;
    struct sigaction sa = {.sa_handler = tick, .sa_flags = SA_RESTART};
    sigaction(SIGALRM, &sa, 0);
    sigaction(SIGUSR1, &sa, 0);
    every_millisecond(1);
    uint64_t h = 0, taken = 0, i = 0;
    double d = 1;
    /* 30 ticks at least; what is computed does not depend on where they fall. */
    for (; i < 3000000 || ticks < 30; i++) {
        taken += take();
        if (i < 3000000) {
            h = step(h, i);
            d = d * 1.0000001 + (double)(h & 3);
        }
    }
    for (int k = 0; k < 10; k++) {
        uint64_t now = ticks;
        wait_for(&ticks, now + 2);
        h = step(h, k);
        taken += take();
    }
    volatile int jumps = 0;
    volatile uint64_t before = h;
    for (volatile int k = 0; k < 20; k++) {
        if (!sigsetjmp(leave, 1)) {
            leave_at = ticks + 2;
            spin(&limit);
            puts("spin returned");
        } else
            jumps++;
    }
    every_millisecond(0);
    taken += take();
    printf("sum %016lx, double %.6f, %s, handler's %s, %d jumps\n", (uint64_t)before, d, before == h ? "kept" : "LOST", given == taken ? "all there" : "LOST", jumps);
    return 0;
}

SMALL static int nap(long ms) {
    struct timespec t = {ms / 1000, ms % 1000 * 1000000};
    return nanosleep(&t, 0) ? errno : 0;
}

SMALL static int watch(int fd, int ms) {
    struct pollfd p = {fd, POLLIN, 0};
    return poll(&p, 1, ms) < 0 ? -errno : p.revents;
}

SMALL static long get(int fd) {
    char c;
    return read(fd, &c, 1);
}

static void nothing(int sig) {
    (void)sig;
    ticks++;
}

static int interrupted(int argc, char **argv) {
    (void)argc, (void)argv;
    struct sigaction sa = {.sa_handler = nothing};
    sigaction(SIGALRM, &sa, 0);
    int ends[2], naps = 0, polls = 0, reads = 0;
    if (pipe(ends))
        return 1;
    every_millisecond(1);
    for (int i = 0; i < 20; i++) {
        naps += nap(20000) == EINTR;
        polls += watch(ends[0], 20000) == -EINTR;
        reads += get(ends[0]) == -1 && errno == EINTR;
    }
    every_millisecond(0);
    printf("%d naps, %d polls, %d reads interrupted, %s\n", naps, polls, reads, ticks >= 60 ? "by signals" : "by NOTHING");
    printf("%d %d\n", nap(1), watch(ends[0], 1));
    return 0;
}

/* Deep recursion, and jumps out of frames that are not there. */

static jmp_buf far;
static volatile int deepest;

SMALL static int hop3(int n) {
    deepest += n;
    if (n & 1)
        longjmp(far, n + 1);
    return n;
}
SMALL static int hop2(int n) {
    int r = hop3(n + 2);
    deepest--;
    return r;
}
SMALL static int hop1(int n) {
    return hop2(n) + hop2(n + 2);
}
/* setjmp below, longjmp above, the frames in between small. */
SMALL static int land(int n) {
    int v = setjmp(far);
    if (v)
        return -v;
    return hop1(n);
}

static int recursion(int argc, char **argv) {
    (void)argc, (void)argv;
    long sum = 0;
    for (int i = 0; i < 3000; i++)
        sum = sum * 3 + land(i);
    printf("jumps %lx, deepest %d\n", sum, deepest);
    printf("on the stack: %lx\n", r_even(400000));
    size_t size = 64u << 20;
    char *stack = mmap(0, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    for (int i = 0; i < 3; i++)
        printf("1000000 levels: %lx\n", on_stack(stack + size, r_even, 1000000 + i));
    return 0;
}

/* Processes. */

static volatile int forks;

SMALL static pid_t do_fork(void) {
    forks++;
    return fork();
}

SMALL static int do_spawn(char *const *argv) {
    pid_t pid = vfork();
    if (pid == 0) {
        execv(argv[0], argv);
        _exit(127);
    }
    return pid;
}

SMALL static int do_wait(pid_t pid) {
    int status = -1;
    waitpid(pid, &status, 0);
    return WEXITSTATUS(status);
}

static int processes(int argc, char **argv) {
    (void)argc;
    if (argv[1]) {
        /* The one that was spawned. */
        printf("spawned %s\n", argv[1]);
        return atoi(argv[1]) + 1;
    }
    uint64_t h = 1;
    double d = 0.5;
    for (int i = 0; i < 20; i++) {
        h = step(h, i);
        d = d * 1.5 + i;
        fflush(stdout);
        pid_t pid = do_fork();
        if (pid == 0) {
            pid_t below = do_fork();
            if (below == 0)
                _exit((int)(step(h, 3) & 63));
            int status = do_wait(below);
            printf("child %d: %016lx %.4f, forks %d, below %d\n", i, step(h, 7), d, forks, status);
            fflush(stdout);
            _exit((int)(h & 63));
        }
        printf("child %d: status %d, forks %d\n", i, do_wait(pid), forks);
        char number[8];
        snprintf(number, sizeof number, "%d", i);
        char *const command[] = {"/proc/self/exe", "inline-processes", number, 0};
        fflush(stdout);
        pid = do_spawn(command);
        printf("spawned: status %d, %016lx\n", do_wait(pid), h);
    }
    return 0;
}

/* Repeated string instructions with constant counts: each a function of (rdi, rsi, rax). */

#define COUNTS(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15) X(16) X(17) X(31) X(64) X(100)
__asm__(
    ".intel_syntax noprefix\n"
    ".macro REPEATED what, n\n"
    "FUNCTION m_\\what\\()_\\n\n mov ecx, \\n\n rep \\what\n mov out[rip], rdi\n mov out[rip + 8], rsi\n mov out[rip + 16], rcx\n ret\nEND m_\\what\\()_\\n\n"
    "FUNCTION p_\\what\\()_\\n\n push \\n\n pop rcx\n rep \\what\n mov out[rip], rdi\n mov out[rip + 8], rsi\n mov out[rip + 16], rcx\n ret\nEND p_\\what\\()_\\n\n"
    "FUNCTION d_\\what\\()_\\n\n std\n mov ecx, \\n\n rep \\what\n cld\n mov out[rip], rdi\n mov out[rip + 8], rsi\n mov out[rip + 16], rcx\n ret\nEND d_\\what\\()_\\n\n"
    ".endm\n"
    ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,31,64,100\n"
    "REPEATED stosb, \\n\nREPEATED stosw, \\n\nREPEATED stosd, \\n\nREPEATED stosq, \\n\nREPEATED movsb, \\n\nREPEATED movsw, \\n\nREPEATED movsd, \\n\nREPEATED movsq, \\n\n"
    ".endr\n"
    /* repeat(function, rdi, rsi, rax): the function notes what is in its registers at the end. */
    "FUNCTION repeat\n push rbx\n mov r8, rdi\n mov rdi, rsi\n mov rsi, rdx\n mov rax, rcx\n call r8\n pop rbx\n ret\nEND repeat\n"
    /* Counts that only look constant. */
    "FUNCTION q_low\n mov ecx, 9\n mov cl, 2\n rep stosb\n mov rax, rcx\n mov out[rip], rdi\n mov out[rip + 16], rax\n ret\nEND q_low\n"
    "FUNCTION q_swapped\n mov ecx, 9\n mov r8d, 3\n xchg rcx, r8\n rep stosb\n mov rax, r8\n mov out[rip], rdi\n mov out[rip + 16], rax\n ret\nEND q_swapped\n"
    "FUNCTION q_shifted\n push 3\n pop rcx\n shl ecx, 1\n rep stosb\n mov rax, rcx\n mov out[rip], rdi\n mov out[rip + 16], rax\n ret\nEND q_shifted\n"
    "FUNCTION q_added\n push 3\n add qword ptr [rsp], 4\n pop rcx\n rep stosb\n mov rax, rcx\n mov out[rip], rdi\n mov out[rip + 16], rax\n ret\nEND q_added\n"
    "FUNCTION q_again\n mov ecx, 5\n rep stosb\n rep stosb\n mov ecx, 2\n rep stosw\n mov rax, rcx\n mov out[rip], rdi\n mov out[rip + 16], rax\n ret\nEND q_again\n"
    "FUNCTION q_loop\n mov edx, 4\n mov ecx, 3\n 1: rep stosb\n inc rdi\n mov ecx, edx\n dec edx\n jne 1b\n mov rax, rcx\n mov out[rip], rdi\n mov out[rip + 16], rax\n ret\nEND q_loop\n"
    "FUNCTION q_joined\n mov ecx, 2\n test sil, 1\n je 1f\n mov ecx, 6\n 1: rep stosb\n mov rax, rcx\n mov out[rip], rdi\n mov out[rip + 16], rax\n ret\nEND q_joined\n"
    "FUNCTION q_pop_elsewhere\n push 5\n test sil, 1\n je 1f\n mov qword ptr [rsp], 7\n 1: pop rcx\n rep stosb\n mov rax, rcx\n mov out[rip], rdi\n mov out[rip + 16], rax\n ret\nEND q_pop_elsewhere\n"
    "FUNCTION q_count_address\n mov ecx, 4\n lea rdi, [rdi + rcx]\n rep stosd\n lea rax, [rcx + rdi]\n mov out[rip], rdi\n mov out[rip + 16], rax\n ret\nEND q_count_address\n"
    "FUNCTION q_counts_itself\n mov ecx, 4\n mov eax, ecx\n rep stosb\n mov ecx, 3\n mov rax, rcx\n rep stosq\n mov out[rip], rdi\n mov out[rip + 16], rax\n ret\nEND q_counts_itself\n"
    "FUNCTION q_over_itself\n mov ecx, 8\n mov [rdi], rcx\n mov rsi, rdi\n inc rdi\n rep movsb\n mov rax, rcx\n mov out[rip], rdi\n mov out[rip + 16], rax\n ret\nEND q_over_itself\n"
    "FUNCTION q_inner\n push rdi\n mov ecx, 6\n rep stosb\n pop rdi\n ret\nEND q_inner\n"
    "FUNCTION q_calls\n call q_inner\n add rdi, 3\n inc eax\n call q_inner\n lea rsi, [rdi - 2]\n mov ecx, 11\n rep movsb\n call q_inner\n mov rax, rcx\n mov out[rip], rdi\n mov out[rip + 16], rax\n ret\nEND q_calls\n"
    ".att_syntax prefix\n");

typedef void repeated(void);
void repeat(repeated *, void *rdi, void *rsi, uint64_t rax);
/* rdi, rsi and what is left of rcx. */
uint64_t out[3];
#define DECLARE_WHAT(what, n) void m_##what##_##n(void), p_##what##_##n(void), d_##what##_##n(void);
#define DECLARE_ALL(n) DECLARE_WHAT(stosb, n) DECLARE_WHAT(stosw, n) DECLARE_WHAT(stosd, n) DECLARE_WHAT(stosq, n) DECLARE_WHAT(movsb, n) DECLARE_WHAT(movsw, n) DECLARE_WHAT(movsd, n) DECLARE_WHAT(movsq, n)
COUNTS(DECLARE_ALL)
#define TRICKS(X) X(q_low) X(q_swapped) X(q_shifted) X(q_added) X(q_again) X(q_loop) X(q_joined) X(q_pop_elsewhere) X(q_count_address) X(q_counts_itself) X(q_over_itself) X(q_calls)
#define DECLARE_TRICK(name) void name(void);
TRICKS(DECLARE_TRICK)

static const struct {
    const char *name;
    repeated *run;
    int size, n, moves, down;
} repeats[] = {
#define ROW_WHAT(what, n, size, moves) {"m_" #what "_" #n, m_##what##_##n, size, n, moves, 0}, {"p_" #what "_" #n, p_##what##_##n, size, n, moves, 0}, {"d_" #what "_" #n, d_##what##_##n, size, n, moves, 1},
#define ROWS(n) ROW_WHAT(stosb, n, 1, 0) ROW_WHAT(stosw, n, 2, 0) ROW_WHAT(stosd, n, 4, 0) ROW_WHAT(stosq, n, 8, 0) ROW_WHAT(movsb, n, 1, 1) ROW_WHAT(movsw, n, 2, 1) ROW_WHAT(movsd, n, 4, 1) ROW_WHAT(movsq, n, 8, 1)
    COUNTS(ROWS)};

static unsigned char area[4096];

static void fill_area(unsigned char *at, size_t n) {
    for (size_t i = 0; i < n; i++)
        at[i] = (unsigned char)(i * 7 + (i >> 3));
}

static uint64_t hash(const unsigned char *at, size_t n) {
    uint64_t h = n;
    for (size_t i = 0; i < n; i++)
        h = mix(h, at[i]);
    return h;
}

static int repeated_strings(int argc, char **argv) {
    (void)argc, (void)argv;
    for (unsigned k = 0; k < sizeof repeats / sizeof *repeats; k++) {
        uint64_t h = 0;
        for (int overlap = -9; overlap <= 9; overlap++) {
            fill_area(area, sizeof area);
            repeat(repeats[k].run, area + 2000, area + 2000 + overlap, 0xfedcba9876543210 + overlap);
            h = mix(mix(mix(mix(h, out[0] - (uintptr_t)area), out[1] - (uintptr_t)area), out[2]), hash(area, sizeof area));
        }
        printf("%s %016lx\n", repeats[k].name, h);
    }
#define RUN_TRICK(name)                                                                                                                             \
    for (int i = 0; i < 2; i++) {                                                                                                                   \
        fill_area(area, sizeof area);                                                                                                               \
        repeat(name, area + 2000, area + 1000 + i, 0xfedcba9876543210 + i);                                                                    \
        printf("%s %ld %ld %016lx\n", #name, out[0] - (uintptr_t)area, out[2] > 4096 ? out[2] - (uintptr_t)area : out[2], hash(area, sizeof area)); \
    }
    TRICKS(RUN_TRICK)
    return 0;
}

/* Into a page that is not there: what was written before, and the address of the fault. */
static int repeated_faults(int argc, char **argv) {
    (void)argc, (void)argv;
    catch_faults();
    unsigned char *pages = mmap(0, 3 * 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    unsigned char *middle = pages + 4096;
    mprotect(middle, 4096, PROT_READ | PROT_WRITE);
    for (volatile unsigned k = 0; k < sizeof repeats / sizeof *repeats; k++) {
        volatile uint64_t h = 0;
        volatile int faults = 0;
        /* The destination, then the source, runs off the page. */
        for (volatile int source = 0; source <= repeats[k].moves; source++)
            for (volatile int before = 0; before <= 21; before++) {
                fill_area(middle, 4096);
                fill_area(area, sizeof area);
                unsigned char *volatile edge = repeats[k].down ? middle - repeats[k].size + before : middle + 4096 - before;
                memset(out, 0, sizeof out);
                if (!sigsetjmp(recover, 1)) {
                    repeat(repeats[k].run, source ? area + 2000 : edge, source ? edge : area + 2001, 0x1122334455667788);
                    h = mix(h, out[2]);
                } else {
                    __asm__ volatile("cld");
                    faults++;
                    h = mix(h, fault_address - (void *)pages);
                }
                h = mix(mix(h, hash(middle, 4096)), hash(area, sizeof area));
            }
        printf("%s %d faults %016lx\n", repeats[k].name, faults, (uint64_t)h);
    }
    return 0;
}

const struct probe inline_probes[] = {{"inline-whole", whole},
                                      {"inline-beginnings", beginnings},
                                      {"inline-beginning-faults", beginning_faults},
                                      {"inline-signals", signals},
                                      {"inline-interrupted", interrupted},
                                      {"inline-recursion", recursion},
                                      {"inline-processes", processes},
                                      {"inline-repeats", repeated_strings},
                                      {"inline-repeat-faults", repeated_faults},
                                      {0, 0}};
