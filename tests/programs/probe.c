#include <stdio.h>
#include <string.h>

#include "probe.h"

static const struct probe *const tables[] = {stack_probes, signal_probes, memory_probes, float_probes, process_probes, speed_probes, fuzz_probes, share_probes, limit_probes, inline_probes, hold_probes, byte_probes, jump_probes};

int main(int argc, char **argv) {
    for (unsigned t = 0; t < sizeof tables / sizeof *tables; t++)
        for (const struct probe *p = tables[t]; p->name; p++) {
            if (argc < 2)
                puts(p->name);
            else if (!strcmp(argv[1], p->name)) {
                int status = p->run(argc - 1, argv + 1);
                fflush(stdout);
                return status;
            }
        }
    if (argc < 2)
        return 0;
    fprintf(stderr, "probe: no such check: %s\n", argv[1]);
    return 2;
}
