/* The option table: one row an option. JSON keys, flags, --set, --help, docs/options.md, the
 * resolved dump and a checkpoint's identity are loops over these rows; a new option is a new row
 * and a member.
 */
#ifndef SC_CONFIG_OPTION_H
#define SC_CONFIG_OPTION_H

#include "superclip/config.h"

typedef enum sc_option_type {
    SC_OPT_BOOL,
    SC_OPT_INT,
    SC_OPT_UINT32,
    SC_OPT_REAL,
    SC_OPT_TEXT,
    SC_OPT_CLASS_TEXTS, /* an object class -> text or list of texts: file and --set only */
    SC_OPT_ACTION,      /* a flag that says what to do instead of training */
    SC_OPT_SET          /* --set key=value */
} sc_option_type;

typedef struct sc_option {
    const char *key;      /* config key, also for --set; NULL: an option of the run, flag only */
    const char *alias;    /* another accepted spelling of the key */
    const char *flag;     /* without "--"; NULL: file and --set only */
    const char *off_flag; /* the flag that says false, e.g. "no-amp" */
    sc_option_type type;
    size_t offset;       /* in sc_config when key is set, else in sc_options */
    const char *initial; /* default as the user would type it; NULL: null */
    double least, most;  /* numbers: closed range, or open below with `above` */
    bool above;
    bool nullable;
    bool identity;        /* changes the training: a checkpoint is bound to it */
    const char *choices;  /* "a|b|c" */
    const char *synonyms; /* "b=a": b means the same as a, and counts as a in the identity */
    const char *needs;    /* key that must be on for this one to have an effect */
    sc_action action;     /* what the flag says to do; with a value too (--plan-ranks N) */
    size_t second;        /* offset of a second value's text (--dump-steps N DIR); 0: none */
    const char *group;    /* heading in --help and docs */
    const char *value;    /* what the value is called in --help */
    const char *help;
} sc_option;

enum { SC_OPTION_MAX = 96 };
extern const sc_option sc_option_table[];
extern const int sc_option_count;

/* By config key or alias / by flag or off-flag without "--" (then *off tells); NULL: unknown. */
const sc_option *sc_option_by_key(const char *key);
const sc_option *sc_option_by_flag(const char *flag, size_t n, bool *off);
/* By a word that would be a flag if its underscores were dashes. */
const sc_option *sc_option_by_dashed(const char *word);
int sc_option_index(const sc_option *o);
/* Nearest known key / flag, or NULL. */
const char *sc_option_nearest_key(const char *word);
const char *sc_option_nearest_flag(const char *word);

/* What the option takes, for messages and documents: "an integer from 1 to 16384". */
void sc_option_expects(const sc_option *o, sc_text *out);

/* Values. `base` is the sc_config or sc_options the row's offset belongs to. Messages carry no
 * place: the caller puts it before them with sc_fail_prefix. */
sc_status sc_option_set_default(const sc_option *o, void *base);
sc_status sc_option_set_text(const sc_option *o, void *base, const char *text);
sc_status sc_option_set_json(const sc_option *o, void *base, const sc_json *v);
void sc_option_write(const sc_option *o, const void *base, sc_json_writer *w);
/* The same with synonyms and order that change nothing made equal. */
sc_status sc_option_write_identity(const sc_option *o, const sc_config *c, sc_json_writer *w);
void sc_option_clear(const sc_option *o, void *base);
/* On: true, or not null. */
bool sc_option_is_on(const sc_option *o, const void *base);
bool sc_option_is_default(const sc_option *o, const void *base);
bool sc_parse_bool(const char *text, bool *out);

/* A config while it is being put together: where each value came from. */
enum { SC_FROM_DEFAULT = 0, SC_FROM_FLAG = -1 }; /* else a line of the file */
typedef struct sc_draft {
    sc_config config;
    int from[SC_OPTION_MAX];
} sc_draft;
typedef struct sc_drafts {
    sc_draft *items;
    int count;
    const char *file; /* NULL: flags only */
} sc_drafts;
/* Defaults plus the file's values; `path` must outlive the drafts. Free in every case. */
sc_status sc_drafts_read(const char *path, sc_drafts *out);
void sc_drafts_free(sc_drafts *all);
void sc_config_clear(sc_config *c);
/* "FILE:12: key 'epochs'", "--epochs", or the config's own place for a default. */
void sc_draft_place(const sc_drafts *all, const sc_draft *d, const char *key, char *out, size_t n);
/* The message of the newest failure gets that place before it. */
sc_status sc_draft_fail(const sc_drafts *all, const sc_draft *d, const char *key, const char *fmt,
                        ...) SC_PRINTF(4, 5);

/* The object class -> texts, checked. On failure nothing needs freeing. */
sc_status sc_class_texts_of_json(const sc_json *object, sc_class_text **out, int *count);
/* A shallow copy in byte order of the names; free() it. NULL on failure. */
sc_class_text *sc_class_texts_sorted(const sc_class_text *t, int count);
void sc_class_texts_write(const sc_class_text *t, int count, const char *key, sc_json_writer *w);

/* After all values are set: class text files, combinations, names. */
sc_status sc_drafts_resolve(const sc_drafts *all, const sc_log *log);
sc_status sc_drafts_name(const sc_drafts *all);

#endif
