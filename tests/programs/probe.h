/* One static program with many small checks: `probe NAME`. Each prints what it saw, so that the same command run natively is the expected output. */
#ifndef PROBE_H
#define PROBE_H

typedef int (*probe_fn)(int argc, char **argv);
struct probe {
    const char *name;
    probe_fn run;
};

/* Each source file exports one table, closed by an entry without a name. */
extern const struct probe stack_probes[], signal_probes[], memory_probes[], float_probes[], process_probes[], speed_probes[], fuzz_probes[], share_probes[], limit_probes[], inline_probes[], hold_probes[], byte_probes[], jump_probes[];

#endif
