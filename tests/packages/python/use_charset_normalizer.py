"""charset-normalizer: the encodings of texts are found from their bytes alone."""
from charset_normalizer import detect, from_bytes, is_binary

TEXTS = {
    "utf_8": "Où est l'élève ? Größe, naïveté, señor — «ça va»? " * 8,
    "cp1251": "Съешь же ещё этих мягких французских булок, да выпей чаю. Широкая электрификация южных губерний. " * 6,
    "big5": "我們的電腦在這裡，大家都很高興。今天天氣很好，我們去公園玩。" * 8,
    "shift_jis": "これは日本語の文章です。文字コードを判定します。とても便利な道具です。" * 8,
    "utf_16": "Byte order marks say what follows. " * 4,
    "ascii": "Plain text, nothing else. " * 4,
}
for encoding, text in TEXTS.items():
    raw = text.encode(encoding)
    best = from_bytes(raw).best()
    print(encoding, "->", best.encoding, str(best) == text, best.bom, round(best.chaos, 2))
print(detect(b"\xef\xbb\xbfwith a signature")["encoding"])
print(is_binary(bytes(range(256)) * 4), is_binary(b"text " * 20))
print(len(from_bytes(b"")), from_bytes(b"\x00\xff\xfe\x00\x80" * 50).best())
