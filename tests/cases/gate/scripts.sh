# Scripts of the image: chains of interpreters, arguments, a script that reads itself.
greet a b
/usr/local/bin/greet
chain1 x
chain2 x y
awkward arg
self-reader
status 7; echo $?
cd /usr/local/bin && ./greet here && ln -s /usr/local/bin/greet /tmp/other && /tmp/other
