name=world
cat << END
hello $name $(echo sub) \$escaped `echo back`
END
cat << 'END'
raw $name $(echo no)
END
cat <<- END
	tabs are stripped
	END
cat << A; cat << B
first
A
second
B
f() { cat << IN
in a function: $1
IN
}
f x; f y | tr a-z A-Z
i=0
while [ $i -lt 3 ]; do
    cat << LOOP
loop $i
LOOP
    i=$((i + 1))
done
# Longer than a pipe: the shell needs a child to feed it.
big=$(seq 20000)
md5sum << END
$big
END
