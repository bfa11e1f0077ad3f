/* A static PIE: every pointer in its data is relocated. */
#include <stdio.h>

static const char *const words[] = {"position", "independent", "and", "static"};
static int add(int a, int b) { return a + b; }
static int sub(int a, int b) { return a - b; }
static int (*const ops[])(int, int) = {add, sub, add};
static __thread int local = 40;

int main(int argc, char **argv) {
    (void)argv;
    for (unsigned i = 0; i < 4; i++)
        printf("%s%c", words[i], i == 3 ? '\n' : ' ');
    local += 2;
    printf("%d %d %d %d\n", ops[0](argc, 2), ops[1](10, 3), ops[2](1, 1), local);
    return 0;
}
