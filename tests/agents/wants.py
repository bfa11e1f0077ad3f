import written

print(written.VALUE)
