# GOLDEN
# Every way to start a program passes the same gate.
cp /opt/t/pie /tmp/bad; printf x >> /tmp/bad
for door in execve execveat empty-path proc-fd fexecve dirfd memfd memfd-changed nofollow; do
    /opt/t/probe exec $door /tmp/bad
    echo $?
done
/opt/t/probe exec memfd-changed /opt/t/pie; echo $?
/opt/t/probe exec memfd /opt/t/pie
