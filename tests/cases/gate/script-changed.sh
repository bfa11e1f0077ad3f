# GOLDEN
# A changed script does not start, and neither does one whose interpreter was changed.
echo 'echo never' >> /usr/local/bin/greet; greet 2> /dev/null; echo $?
chain1 2> /dev/null; echo chain $?
cp /usr/local/bin/status /tmp/status; printf '#' >> /tmp/status; /tmp/status 2> /dev/null; echo copy $?
