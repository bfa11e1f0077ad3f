# GOLDEN
# TIMEOUT: 300
# System calls with hostile arguments neither end the container nor hang it. `cargo xtask fuzz` runs more of them.
/opt/t/probe syscall-fuzz 1 60 200
