# GOLDEN
# TIMEOUT: 120
# Two files are swapped under one name while it is started over and over: nothing but the sealed one ever runs.
cp /opt/t/true /tmp/good; cp /opt/t/true /tmp/evil; printf x >> /tmp/evil; cp /tmp/good /tmp/target
/opt/t/probe swap-race /tmp/target /tmp/good /tmp/evil
cp /usr/local/bin/status /tmp/good; printf '#!/bin/sh\nexit 99\n' > /tmp/evil; chmod +x /tmp/evil; cp /tmp/good /tmp/target
/opt/t/probe swap-race /tmp/target /tmp/good /tmp/evil
