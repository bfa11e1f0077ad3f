# GOLDEN
# Another known program put over a path that the manifest names: refused, though its bytes are known.
cp /opt/t/true /opt/t/pie; /opt/t/pie 2> /dev/null; echo copied over $?
cp /opt/t/true /tmp/t; mv /tmp/t /opt/t/exec_b; /opt/t/exec_b 2> /dev/null; echo moved over $?
rm /opt/t/spawn; ln /opt/t/probe /opt/t/spawn; /opt/t/spawn alloca 2> /dev/null; echo hard link $?
rm /usr/local/bin/status; ln -s /opt/t/true /usr/local/bin/status; /usr/local/bin/status; echo a symlink names another path $?
cp /usr/local/bin/greet /usr/local/bin/self-reader; /usr/local/bin/self-reader 2> /dev/null; echo script $?
