/* Linked at the same address as every other ET_EXEC file. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static char table[4096] = "second program";
static int (*volatile print)(const char *) = puts;

int main(int argc, char **argv) {
    print(table);
    if (argc > 1) {
        /* Starts the other program, which lies at the same addresses, and then itself by exec. */
        fflush(stdout);
        execv(argv[1], argv + 1);
        return 126;
    }
    memset(table, 'x', 10);
    print(table);
    return 7;
}
