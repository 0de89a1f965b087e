/* BERT's vocab.txt, one token a line, its number the line's; and the settings that Hugging Face
 * keeps in the tokenizer_config.json beside it.
 */
#include "vocab.h"

#include "superclip/json.h"
#include "text_priv.h"

#include <stdlib.h>
#include <string.h>

#define MAX_FILE_BYTES ((size_t)64 << 20)

const char *const vocab_specials[VOCAB_SPECIALS] = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"};

/* ---- vocab.txt ------------------------------------------------------------------------------ */

/* Lines as Python's text mode cuts them: at \n, \r\n and \r; no line behind the last end. */
static size_t line_length(const char *s, const char *end, size_t *step)
{
    size_t n = 0;
    while (s + n < end && s[n] != '\n' && s[n] != '\r')
        n++;
    *step = n + (s + n < end);
    if (s + n + 1 < end && s[n] == '\r' && s[n + 1] == '\n')
        ++*step;
    return n;
}

static sc_status read_lines(const char *path, size_t n, vocab *v)
{
    const char *end = v->text + n;
    size_t step, lines = 0;
    for (const char *s = v->text; s < end; s += step, lines++)
        line_length(s, end, &step);
    const size_t places = symbol_places(lines);
    v->map.places = sc_alloc(places, sizeof *v->map.places);
    if (!v->map.places)
        return SC_ENOMEM;
    v->map.mask = places - 1;
    for (const char *s = v->text; s < end; s += step, v->size++) {
        const size_t length = line_length(s, end, &step);
        if (!sc_utf8_valid(s, length))
            return sc_fail(SC_EFORMAT, "%s:%d: not UTF-8: the vocabulary is damaged", path,
                           v->size + 1);
        symbol_put(&v->map, s, length, v->size);
    }
    for (int i = 0; i < VOCAB_SPECIALS; i++) {
        v->special[i] = symbol_find(&v->map, vocab_specials[i], strlen(vocab_specials[i]));
        if (v->special[i] < 0 && i != VOCAB_MASK)
            return sc_fail(SC_EFORMAT,
                           "%s: has no line '%s': it is not the vocab.txt of a BERT model", path,
                           vocab_specials[i]);
    }
    return SC_OK;
}

/* ---- tokenizer_config.json ------------------------------------------------------------------ */

/* *out stays as it is when the key is absent or null. */
static sc_status take_bool(const sc_json_doc *doc, const char *key, bool *out)
{
    const sc_json *v = sc_json_get(sc_json_root(doc), key);
    if (!v || sc_json_type_of(v) == SC_JSON_NULL)
        return SC_OK;
    if (sc_json_type_of(v) != SC_JSON_BOOL)
        return sc_json_fail(doc, v, "must be true or false, not %s",
                            sc_json_type_name(sc_json_type_of(v)));
    *out = sc_json_bool(v);
    return SC_OK;
}

/* A special token under another name ("unk_token": "<unk>", or an object with its "content"). */
static sc_status check_special(const sc_json_doc *doc, const char *key, const char *name)
{
    const sc_json *v = sc_json_get(sc_json_root(doc), key), *text = v;
    if (v && sc_json_type_of(v) == SC_JSON_OBJECT)
        text = sc_json_get(v, "content");
    if (!text || sc_json_type_of(text) != SC_JSON_STRING || !strcmp(sc_json_string(text), name))
        return SC_OK;
    return sc_json_fail(doc, v, "'%s' is not supported: BERT's own token is '%s'",
                        sc_json_string(text), name);
}

static sc_status read_settings(const sc_json_doc *doc, vocab *v)
{
    static const char *const keys[VOCAB_SPECIALS] = {"pad_token", "unk_token", "cls_token",
                                                     "sep_token", "mask_token"};
    bool words = true;
    if (sc_json_type_of(sc_json_root(doc)) != SC_JSON_OBJECT)
        return sc_json_fail(doc, sc_json_root(doc), "must be an object");
    SC_TRY(take_bool(doc, "do_lower_case", &v->lower));
    v->strip_accents = v->lower;
    SC_TRY(take_bool(doc, "strip_accents", &v->strip_accents));
    SC_TRY(take_bool(doc, "tokenize_chinese_chars", &v->split_chinese));
    SC_TRY(take_bool(doc, "do_basic_tokenize", &words));
    if (!words)
        return sc_json_fail(doc, sc_json_get(sc_json_root(doc), "do_basic_tokenize"),
                            "false is not supported: texts are always cut into words");
    for (int i = 0; i < VOCAB_SPECIALS; i++)
        SC_TRY(check_special(doc, keys[i], vocab_specials[i]));
    return SC_OK;
}

static sc_status load_settings(const char *vocab_path, vocab *v)
{
    sc_json_doc *doc = NULL;
    char *path = text_beside(vocab_path, "tokenizer_config.json");
    sc_status status = path ? SC_OK : SC_ENOMEM;
    if (status == SC_OK && sc_file_exists(path)) {
        status = sc_json_read_file(path, &doc);
        if (status == SC_OK)
            status = read_settings(doc, v);
    }
    sc_json_free(doc);
    free(path);
    return status;
}

sc_status vocab_load(const char *path, vocab *out)
{
    size_t n = 0;
    *out = (vocab){.split_chinese = true};
    sc_status status = sc_read_file(path, MAX_FILE_BYTES, &out->text, &n);
    if (status == SC_OK)
        status = read_lines(path, n, out);
    if (status == SC_OK)
        status = load_settings(path, out);
    if (status != SC_OK)
        vocab_free(out);
    return status;
}

void vocab_free(vocab *v)
{
    free(v->map.places);
    free(v->text);
    *v = (vocab){0};
}
