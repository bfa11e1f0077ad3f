/* No libc: write and exit_group by hand. What a second engine runs from the sealed module. */
static long call3(long n, long a, long b, long c) {
    long r;
    __asm__ volatile("syscall" : "=a"(r) : "a"(n), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
    return r;
}

static const char text[] = "hello from a sealed module\n";

void _start(void) {
    call3(1, 1, (long)text, sizeof text - 1);
    call3(231, 0, 0, 0);
    for (;;)
        ;
}
