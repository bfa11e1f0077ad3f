/* The private system call of Megalith's kernel (`PolyfillOp` in crates/abi); ENOSYS elsewhere. Its first argument is the operation. */
#ifndef MEGALITH_CALL_H
#define MEGALITH_CALL_H

#define MEGALITH_SYSCALL 0x6d67
/* Marks the place where a snapshot is taken. 0: nobody takes one. Otherwise the process was resumed from the snapshot, and the
 * result is the address of the initial stack block of its exec (argc, argv, NULL, envp, NULL, auxv). */
#define MEGALITH_SNAPSHOT 1
/* After a resume: execs the same program with the same arguments without a snapshot. */
#define MEGALITH_COLD 2
/* 1: `sealed`; 0: `open`. */
#define MEGALITH_POLICY 3
/* Opens a file (path, flags) to be loaded as code; EACCES when it is not part of a sealed image. */
#define MEGALITH_OPEN_CODE 4
/* SHA-2's compression functions over whole blocks (state, data, number of blocks); the number that is done. */
#define MEGALITH_SHA256 5
#define MEGALITH_SHA512 6
/* The inode number of a directory of the image (path) below which everything is as it was at build time, if the caller may look at
 * all of it; otherwise 0. */
#define MEGALITH_UNCHANGED 7

#endif
