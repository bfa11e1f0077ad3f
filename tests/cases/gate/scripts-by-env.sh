# Scripts whose interpreter env(1) finds: the gate does it without running env, and nobody sees a difference.
by-env a 'b c'
PATH=/nowhere /usr/local/bin/by-env; echo $?
by-env-in-one; echo $?
by-env-missing; echo $?
by-env-chain x
cd /tmp && cp /bin/busybox sh && PATH=/tmp:$PATH by-env copied
