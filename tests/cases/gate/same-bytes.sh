# The same bytes under other names are the same program.
cp /bin/busybox /tmp/busybox2; /tmp/busybox2 echo copied
cp /bin/busybox /tmp/sha256sum; echo x | /tmp/sha256sum
mv /tmp/busybox2 /tmp/busybox3; /tmp/busybox3 echo renamed
cat /bin/busybox > /tmp/busybox4; chmod +x /tmp/busybox4; /tmp/busybox4 echo written
ln -s /bin/busybox /tmp/echo; /tmp/echo symlink
ln /tmp/busybox3 /tmp/busybox5; /tmp/busybox5 echo hard link
cp /opt/t/pie /tmp/pie; /tmp/pie
cp /usr/local/bin/greet /tmp/hello; /tmp/hello a copied script
cp /bin/busybox /tmp/busybox6; chmod -x /tmp/busybox6; /tmp/busybox6 echo not executable
