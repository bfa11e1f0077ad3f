# GOLDEN
# A program on a volume is hashed at every start.
cp /opt/t/pie /work/p; /work/p
printf x >> /work/p; /work/p 2> /dev/null; echo $?
rm /work/p
