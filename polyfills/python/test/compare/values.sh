# warm: re:json:hashlib:logging:subprocess:tempfile:random:decimal:ssl:unittest:sqlite3:xml.etree.ElementTree:urllib.request
cp /test/values.py .
python3 values.py
python3 -c 'import sys; print(sorted(sys.modules), sorted(sys.path_importer_cache), sys.meta_path)'
