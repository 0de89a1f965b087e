"""Golden files of BERT's tokenizer by Hugging Face's Python one.

    python tests/oracle/bert_tokenizer.py           (needs "transformers<5", which has it; writes tests/golden)
    python tests/oracle/bert_tokenizer.py check     (how its Rust twin differs, character by character)

Writes tests/golden/tokenizer_bert/{vocab.txt,tokenizer_config.json} and tokenizer_bert_ids.txt. A line of that is
`cut ids... | cut ids... : text in hex`, cased, then with do_lower_case. The vocabulary is made here: special
tokens, single characters of many scripts (most of them, so that some are unknown) and pieces of the texts.
"""
import collections
import json
import logging
import pathlib
import random
import sys
import tempfile
import unicodedata

from transformers import BertTokenizer, BertTokenizerFast

logging.disable(logging.WARNING)
GOLDEN = pathlib.Path(__file__).resolve().parent.parent / "golden"
CONTEXT = 128
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = """a an the x ray radiograph of hip implant with cement ed stem press fit cup three screw s image un able aff
##s ##ed ##ing ##able ##aff ##un ##graph ##plant ##ement rontgen ##bild hufte schaft naive cafe caf ##e ##é
髋 关 节 假 体 股 骨 柄 臼 杯 影 像 ##光 рент ##ген протез""".split()
FIXED = [
    "", " ", "a photo of an unaffable hip implant", "一张髋关节假体的X光影像", "髋关节hip假体,带3个螺钉。", "Naïve Café RÖNTGENBILD der Hüfte",
    "[CLS] a [SEP] b[MASK]c [PAD][UNK] [cls] [Sep", "[C\u200bLS] x[S\u00adEP]", "a\u0301[\u0301CLS]", "a,b.c!d?e-f_g(h)[i]{j}",
    "\u2028line\u2029para\x85next\x0bvt\x0cff\x1fus\tt\nn\rr\r\nrn", "nul\ufffdrep\x01\x07\x7f\u200b\u200d\ufeff\u2060\U000e0001",
    "\u00a0nbsp\u3000wide\u2003em\u1680o\u202fn\u205fm\u180emongol", "e\u0301 \u00e9 A\u030a \u212b K\u212a \u1fef \u037e",
    "\u03a3\u03af\u03c3\u03c5\u03c6\u03bf\u03a3 \u03a3 \u0391\u03a3. \u0130stanbul I\u0307 \u01c5 stra\u00dfe \u1e9e \ufb01ne",
    "\ufa6e\ufa6f \U0002b820\U0002b91f\U0002b920 \U0002f800\U0002fa1f \u9fff\ua000 \u3400\u4dbf\u4dc0 \U00020000\U0002a6df",
    "\u3042\u30ab\u30bf \uff76\uff9e \uff21\uff22\uff0c\uff01 \uac00\u1100\u1161 \u0e01\u0e34 \u0939\u093f\u0928\u094d\u0926\u0940",
    "\u0645\u064e\u0631\u062d\u064e\u0628\u0627 \u05e9\u05b8\u05dc\u05d5\u05b9\u05dd \U0001f600\U0001f468\u200d\U0001f469 \U0001f1e9\U0001f1ea \u20e3 \U00011000",
    "\u2018q\u2019 \u201cw\u201d \u2014 \u2026 \u00ab\u00bb \u00bf\u00a1 \u00b7 \u3001\u3002\u300c\u300d $+<=>^`|~ \u00a7\u00b6 \u20ac \u00d7",
    "x" * 99, "x" * 100, "x" * 101, "\u0301" * 3 + "x" * 100, "x\u0301" * 60, "word " * 70, "hip " * 126, "hip " * 127, "\u9acb" * 130,
    "## ##s a##b", "unaffableaff unaffableq", "implants Implants IMPLANTS",
]
BLOCKS = [(0x20, 0x7E)] * 6 + [
    (0xA0, 0x24F), (0x300, 0x36F), (0x370, 0x3FF), (0x400, 0x52F), (0x531, 0x58F), (0x591, 0x5F4), (0x600, 0x6FF),
    (0x900, 0x97F), (0xE01, 0xE59), (0x10A0, 0x10FF), (0x1100, 0x11FF), (0x1E00, 0x1EFF), (0x1F00, 0x1FFF),
    (0x2000, 0x206F), (0x2100, 0x218F), (0x2460, 0x24EA), (0x3000, 0x30FF), (0x4E00, 0x9FA5), (0x4E00, 0x4FFF),
    (0xAC00, 0xD7A3), (0xF900, 0xFAFF), (0xFB00, 0xFB4F), (0xFE00, 0xFFFD), (0x10400, 0x1044F), (0x1D400, 0x1D7FF),
    (0x1F300, 0x1F64F), (0x20000, 0x2009F), (0x2B810, 0x2B830), (0x2F800, 0x2FA1F), (0xE000, 0xE010), (1, 0x1F), (0x7F, 0xA0)]
BREAKS = ["", "", "", " ", "  ", "\n", "\t", "[CLS]", "[SEP]", "\u2028", "\u3000", "\u03a3", "[", "]", "##"]


def random_texts(rng, count):
    for _ in range(count):
        text = ""
        for _ in range(rng.randrange(1, 5)):
            low, high = rng.choice(BLOCKS)
            text += "".join(chr(rng.randint(low, high)) for _ in range(rng.randrange(1, 5))) + rng.choice(BREAKS)
        yield text


def vocabulary(rng, texts):
    forms = [unicodedata.normalize("NFC", t) for t in texts] + [unicodedata.normalize("NFD", t.lower()) for t in texts]
    common = collections.Counter(c for t in forms for c in t)
    tokens = SPECIAL + WORDS + [c for c in map(chr, range(33, 127))]
    for c, n in sorted(common.items()):
        if not c.isspace() and unicodedata.category(c)[0] != "C":
            tokens += [t for t in (c, "##" + c) if n > 2 or rng.random() < 0.35]
    return list(dict.fromkeys(tokens))


def make(tokens, lower, kind=BertTokenizer):
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "vocab.txt"
        path.write_text("".join(t + "\n" for t in tokens))
        return kind(vocab_file=str(path), do_lower_case=lower)


def encode(tokenizer, text):
    whole = tokenizer(text, verbose=False)["input_ids"]
    ids = tokenizer(text, max_length=CONTEXT, truncation=True)["input_ids"]
    return "%d %s" % (len(whole) > CONTEXT, " ".join(map(str, ids)))


def golden():
    rng = random.Random(30)
    words = [w.replace("##", "") for w in WORDS]
    texts = FIXED + [" ".join(rng.choice(words) for _ in range(rng.randrange(1, 12))) for _ in range(100)]
    texts += random_texts(rng, 900)
    tokens = vocabulary(rng, texts)
    folder = GOLDEN / "tokenizer_bert"
    folder.mkdir(exist_ok=True)
    (folder / "vocab.txt").write_text("".join(t + "\n" for t in tokens))
    (folder / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": True, "model_max_length": 512}) + "\n")
    both = [make(tokens, lower) for lower in (False, True)]
    lines = ["%s : %s\n" % (" | ".join(encode(t, text) for t in both), text.encode().hex()) for text in texts]
    (GOLDEN / "tokenizer_bert_ids.txt").write_text("".join(lines))


def check():
    """Classes of characters that Python's and Rust's tokenizer cut differently between two letters."""
    tokens = SPECIAL + [p + chr(c) for c in range(33, 127) for p in ("", "##")]
    for lower in (False, True):
        slow, fast = make(tokens, lower), make(tokens, lower, BertTokenizerFast)
        differ = collections.defaultdict(list)
        for c in map(chr, [*range(0xD800), *range(0xE000, 0x110000)]):
            if slow.tokenize(f"a{c}b") != fast.tokenize(f"a{c}b"):
                differ[unicodedata.category(c)].append(f"{ord(c):04X}")
        for category, found in sorted(differ.items()):
            print("lower" if lower else "cased", category, len(found), *found[:5])


if __name__ == "__main__":
    check() if "check" in sys.argv[1:] else golden()
