"""Writes html_entities.inc: the named character references of the HTML standard, sorted by bytes, as C rows.

    python3 src/text/html_entities.py > src/text/html_entities.inc
"""
import html.entities


def c_string(data):
    return '"' + "".join(chr(b) if 32 <= b < 127 and b not in b'"\\?' else "\\%03o" % b for b in data) + '"'


rows = sorted((name.encode(), value.encode()) for name, value in html.entities.html5.items())
print("/* Named character references of the HTML standard. Written by html_entities.py. */")
line = ""
for name, value in rows:
    item = "{%s, %s}," % (c_string(name), c_string(value))
    if len(line) + 1 + len(item) > 100:
        print(line)
        line = item
    else:
        line = (line + " " + item).strip()
print(line)
