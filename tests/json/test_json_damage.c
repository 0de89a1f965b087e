/* A config text with random bytes changed, removed, doubled or cut off is parsed or refused with
 * one line that names the file; under the sanitizers it never reads outside its bytes. The seed is
 * fixed: a failure comes again. */
#include "superclip/json.h"

#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char config[] =
    "// two configs\n"
    "[\n"
    "  {\n"
    "    \"name\": \"resnet18_\\u4e2d\\uD83D\\uDE00\", /* a\n comment */\n"
    "    \"image_encoder_name\": \"resnet18\",\n"
    "    \"learning_rate\": 1e-4, \"weight_decay\": 0.01, \"temperature\": 7.0E-02,\n"
    "    \"class_texts_dict\": {\"\xE7\xA7\x8D\xE6\xA4\x8D\": [\"a photo\", \"b\\n\\t\\\"\",], "
    "\"x\": \"y\"},\n"
    "    \"early_stopping_patience\": null, \"use_cv\": true, \"pretrained\": false,\n"
    "    \"n_splits\": -5, \"random_state\": 42,\n"
    "  },\n"
    "  {}, // trailing\n"
    "]\n";

enum { ROUNDS = 60000, LONGEST = 2 * sizeof config };

typedef struct draws {
    uint32_t round, n, words[4];
} draws;

static uint32_t draw(draws *d, uint32_t below)
{
    const uint32_t key[2] = {2026, 7};
    if (d->n % 4 == 0) {
        const uint32_t counter[4] = {d->round, d->n / 4, 0, 0};
        sc_philox4x32(key, counter, d->words);
    }
    return sc_below24(d->words[d->n++ % 4], below);
}

/* One change in place; returns the new length. */
static size_t change(draws *d, char *text, size_t n)
{
    static const char interesting[] = "{}[]\",:\\/*-+.eE0129ntfu \n\r\t\x80\xC2\xED\xFF";
    size_t at = n ? draw(d, (uint32_t)n) : 0;
    switch (draw(d, 6)) {
    case 0:
        text[at] = (char)draw(d, 256);
        return n ? n : 1;
    case 1:
        text[at] = interesting[draw(d, sizeof interesting)];
        return n ? n : 1;
    case 2: /* a bit */
        text[at] = (char)(text[at] ^ 1 << draw(d, 8));
        return n ? n : 1;
    case 3: { /* a run is removed */
        size_t len = 1 + draw(d, 8);
        len = len < n - at ? len : n - at;
        memmove(text + at, text + at + len, n - at - len);
        return n - len;
    }
    case 4: { /* a run is doubled */
        size_t len = 1 + draw(d, 16);
        len = len < n - at ? len : n - at;
        if (n + len > LONGEST)
            return n;
        memmove(text + at + len, text + at, n - at);
        return n + len;
    }
    default:
        return at;
    }
}

/* Reads every value, so that a dangling pointer would show. */
static size_t walk(const sc_json *v)
{
    size_t sum = sc_json_line(v) > 0;
    if (sc_json_key(v))
        sum += strlen(sc_json_key(v));
    if (sc_json_type_of(v) == SC_JSON_STRING)
        sum += strlen(sc_json_string(v));
    for (const sc_json *c = sc_json_first(v); c; c = sc_json_next(c))
        sum += walk(c);
    return sum;
}

static void damaged_configs_never_crash(void **state)
{
    (void)state;
    int accepted = 0;
    for (uint32_t round = 0; round < ROUNDS; round++) {
        draws d = {.round = round};
        char edited[LONGEST];
        memcpy(edited, config, sizeof config);
        size_t n = sizeof config - 1;
        for (uint32_t changes = 1 + draw(&d, 4); changes > 0; changes--)
            n = change(&d, edited, n);
        char *exact = malloc(n ? n : 1); /* so that one byte too far is seen */
        assert_non_null(exact);
        memcpy(exact, edited, n);
        sc_json_doc *doc;
        sc_message_clear();
        sc_status status = sc_json_parse("c.json", exact, n, &doc);
        free(exact);
        if (status == SC_OK) {
            accepted++;
            assert_true(walk(sc_json_root(doc)) > 0);
            sc_json_free(doc);
            continue;
        }
        if (status != SC_EUSAGE || strncmp(sc_message(), "c.json:", 7) != 0)
            fail_msg("round %u: status %d, %s", (unsigned)round, (int)status, sc_message());
    }
    assert_in_range(accepted, ROUNDS / 100, ROUNDS / 2); /* else the damage is no test */
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(damaged_configs_never_crash)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
