"""Golden files of the CLIP tokenizer, from a reference that follows its algorithm step by step.

    python tests/oracle/tokenizer.py        (needs ftfy and regex)

Writes tests/golden/tokenizer_*. A small merges file is trained here, so that no file of somebody else's is
needed. A golden line is `cut ids... : text in hex`. ftfy runs without its repair of wrongly decoded text,
which the C tokenizer leaves out on purpose.
"""
import collections
import gzip
import html
import json
import pathlib
import random
import unicodedata

import ftfy
import regex

GOLDEN = pathlib.Path(__file__).resolve().parent.parent / "golden"
START, END = "<|startoftext|>", "<|endoftext|>"
CONTEXT = 77
PATTERN = regex.compile(
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+",
    regex.IGNORECASE)

CORPUS = """an x-ray image of a hip implant with a cemented stem, a press-fit cup and three screws
a radiograph of the femur with a plate and cables; the cup is loose, the stem has not moved
the patient's hip after the revision: straight stem, modular neck, cement and bone graft
what isn't seen in the image cannot be learned, and what's learned isn't always seen
naïve café über Röntgenbild der Hüfte mit Schaft und Pfanne und Schrauben
髋关节 假体 X光 影像 股骨柄 髋臼杯 螺钉 рентген тазобедренного сустава протез"""


def byte_spelling():
    shown = list(range(0x21, 0x7F)) + list(range(0xA1, 0xAD)) + list(range(0xAE, 0x100))
    hidden = [b for b in range(256) if b not in shown]
    spelling = {b: chr(b) for b in shown}
    spelling.update({b: chr(0x100 + i) for i, b in enumerate(hidden)})
    return spelling


BYTES = byte_spelling()


def clean(text):
    text = ftfy.fix_text(text, fix_encoding=False)
    text = html.unescape(html.unescape(text)).strip()
    return " ".join(text.split()).lower()


def spell(word):
    symbols = [BYTES[b] for b in word.encode()]
    symbols[-1] += "</w>"
    return symbols


def join(symbols, left, right):
    out = []
    for s in symbols:
        if out and out[-1] == left and s == right and not joined_last:
            out[-1] = left + right
            joined_last = True
        else:
            out.append(s)
            joined_last = False
    return out


def train(corpus, count):
    words = collections.Counter(tuple(spell(w)) for w in PATTERN.findall(clean(corpus)))
    merges = []
    while len(merges) < count:
        pairs = collections.Counter()
        for word, n in words.items():
            for pair in zip(word, word[1:]):
                pairs[pair] += n
        best = max(pairs, key=lambda p: (pairs[p], p))
        merges.append(best)
        joined = collections.Counter()
        for word, n in words.items():
            joined[tuple(join(word, *best))] += n
        words = joined
    return merges


class Tokenizer:
    def __init__(self, merges):
        names = list(BYTES.values()) + [s + "</w>" for s in BYTES.values()]
        names += ["".join(m) for m in merges] + [START, END]
        self.ids = {name: i for i, name in enumerate(names)}
        self.ranks = {m: i for i, m in enumerate(merges)}

    def encode(self, text):
        ids = [self.ids[START]]
        for word in PATTERN.findall(clean(text)):
            if word in (START, END):
                ids.append(self.ids[word])
                continue
            symbols = spell(word)
            while len(symbols) > 1:
                known = [p for p in zip(symbols, symbols[1:]) if p in self.ranks]
                if not known:
                    break
                symbols = join(symbols, *min(known, key=self.ranks.get))
            ids += [self.ids[s] for s in symbols]
        ids.append(self.ids[END])
        cut = len(ids) > CONTEXT
        return cut, ids[:CONTEXT - 1] + [self.ids[END]] if cut else ids


FIXED = [
    "", " ", "a photo of a cat", "Hello, World!!  It's 2024 &amp;amp; naïve café", "a photo of a 中文 sign",
    "DON'T won't I'm you're they've he'd she'll it'S", "the<|endoftext|>end <|STARTOFTEXT|> !<|endoftext|>",
    "\u0130stanbul", "\u03a3\u03af\u03c3\u03c5\u03c6\u03bf\u03a3 \u03a3 \u0391\u03a3. \u0391\u03a3\u0391",
    "stra\u00dfe STRASSE \u1e9e", "e\u0301 \u00e9 A\u030a \u212b", "\ufb01ne \ufb02uff \ufb05 \u0149 \u01c5",
    "\uff21\uff22\uff0c\uff01\u3000\uff76\uff9e \uff71 \uffe5", "\u201cquoted\u201d \u2018it\u2019s\u201b \u02bc",
    "tab\tnew\nline\r\nnext\u2028para\u2029nbsp\u00a0em\u2003mongol\u180evt\x0bff\x0cus\x1f",
    "\x01bell\x07 \x1b[31;1mred\x1b[0m \x1b[x \ufeffbom \ufffc \u200d joiner \u206b",
    "\u0085 \u0093 \u0081 \u0099", "&lt;b&gt; &amp;lt; &copy &copyx &notit; &notin; &NotEqualTilde; &#39;",
    "&#x27; &#X41; &#0; &#128; &#1; &#xD800; &#1114112; &#99999999999999999999; &#; &#x; &#xg &#65 &#65;",
    "a < b &amp;amp; c", "no tag &amp;amp;amp;amp; here\n<p> &amp;amp;amp;amp; here\nand &amp;amp;amp;amp; on",
    "&EACUTE; &NTILDE; &SZLIG; &nTILDE; &AMP; &LTX; &frac12; &FRAC12; &;&&", "&#59; &#x3b; &semi;", "&CounterClockwiseContourIntegral; &CounterClockwiseContourIntegralx",
    "12 34\u00bd \u0663 \u2167 \u2460 x\u00b2", "\u0345 \u03b1\u0345 '\u017f \u212a", "....!!!??? --- ___ (a)[b]{c}",
    "word " * 100, "x" * 200, "\U0001f600\U0001f468\u200d\U0001f469 flags \U0001f1e9\U0001f1ea",
    "r\u00f6ntgenbild der h\u00fcfte, \u9acb\u5173\u8282\u5047\u4f53; \u0440\u0435\u043d\u0442\u0433\u0435\u043d",
]
BLOCKS = [(0x20, 0x7E)] * 6 + [
    (0xA0, 0x24F), (0x300, 0x344), (0x370, 0x3FF), (0x400, 0x4FF), (0x531, 0x556), (0x5D0, 0x5EA),
    (0x620, 0x669), (0x904, 0x96F), (0xE01, 0xE59), (0x10A0, 0x10FF), (0x1100, 0x11FF), (0x13A0, 0x13F5),
    (0x1E00, 0x1EFF), (0x1F00, 0x1FFF), (0x2000, 0x206F), (0x2100, 0x218F), (0x2460, 0x24EA), (0x3001, 0x30FF),
    (0x4E00, 0x9FA5), (0xA640, 0xA69F), (0xAC00, 0xD7A3), (0xF900, 0xFA6D), (0xFB00, 0xFB06), (0xFF01, 0xFFEE),
    (0x10400, 0x1044F), (0x1D400, 0x1D7FF), (0x1F300, 0x1F64F), (0x20000, 0x2009F)]
BREAKS = ["", "", " ", " ", "  ", "\n", "&amp;", "&nbsp;", "'s", "&eacute", "&#x3b1;", "&Gt;", "\u2019", "<"]


def random_texts(count):
    rng = random.Random(20)
    texts = []
    while len(texts) < count:
        text = ""
        for _ in range(rng.randrange(1, 9)):
            low, high = rng.choice(BLOCKS)
            chars = [chr(rng.randint(low, high)) for _ in range(rng.randrange(1, 8))]
            text += "".join(c for c in chars if unicodedata.category(c) not in ("Cn", "Cs"))
            text += rng.choice(BREAKS)
        texts.append(text)
    return texts


def save(name, tokenizer, texts):
    lines = []
    for text in texts:
        cut, ids = tokenizer.encode(text)
        lines.append("%d %s : %s\n" % (cut, " ".join(map(str, ids)), text.encode().hex()))
    (GOLDEN / name).write_text("".join(lines))


def main():
    merges = train(CORPUS, 200)
    lines = "#version: 0.2\n" + "".join("%s %s\n" % m for m in merges)
    (GOLDEN / "tokenizer_merges.txt").write_text(lines)
    with open(GOLDEN / "tokenizer_merges.txt.gz", "wb") as f:
        with gzip.GzipFile("", "wb", 9, f, mtime=0) as z:
            z.write(lines.encode())
    words = sorted({w for w in CORPUS.replace("\n", " ").split(" ") if w})
    rng = random.Random(21)
    corpus_texts = [" ".join(rng.choice(words) for _ in range(rng.randrange(1, 30))) for _ in range(60)]
    save("tokenizer_plain_ids.txt", Tokenizer([]), FIXED + random_texts(250))
    tokenizer = Tokenizer(merges)
    save("tokenizer_merges_ids.txt", tokenizer, FIXED + corpus_texts + random_texts(100))
    # Hugging Face's pair of files, with its numbers dealt anew so that a reader has to look them up.
    folder = GOLDEN / "tokenizer_hf"
    folder.mkdir(exist_ok=True)
    (folder / "merges.txt").write_text(lines)
    n = len(tokenizer.ids)
    tokenizer.ids = {name: (5 * i + 3) % n for name, i in tokenizer.ids.items()}
    assert len(set(tokenizer.ids.values())) == n
    (folder / "vocab.json").write_text(json.dumps(tokenizer.ids))
    save("tokenizer_hf_ids.txt", tokenizer, FIXED + corpus_texts)


if __name__ == "__main__":
    main()
