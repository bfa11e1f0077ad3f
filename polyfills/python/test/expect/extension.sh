echo text > ext.cpython-311-x86_64-linux-gnu.so
python3 -c 'import ext'
python3 -c 'import _ctypes' 2>&1 | tail -1
python3 -c '
try: import ext
except ImportError as e: print(e.name, e.path)'
