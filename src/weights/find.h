/* Private to weights: the folders in which Python's tools and we keep published files. */
#ifndef SC_WEIGHTS_FIND_H
#define SC_WEIGHTS_FIND_H

#include "family.h"

typedef struct sc_search {
    const sc_published *row;
    const sc_family *family;
    sc_text places; /* every folder that was looked into */
    char *found;
    const char *sha; /* what the file's name promises of its digest; NULL: nothing */
    sc_status status;
} sc_search;

static inline bool sc_search_done(const sc_search *s)
{
    return s->found || s->status != SC_OK;
}

const char *sc_search_variable(const char *name); /* of the environment; NULL when empty */
char *sc_search_clip_folder(void);                /* heap; NULL: $HOME is not set */
char *sc_search_hub_snapshot(const char *model, char **searched); /* both heap, may be NULL */
void sc_search_note(sc_search *s, const char *folder);
/* folder/file, if it is there. */
void sc_search_file(sc_search *s, const char *folder, const char *file, const char *sha);
/* An explicit path: SC_EUSAGE when it is no file. */
sc_status sc_search_explicit(const char *key, const char *path, sc_found *out);
/* The end of a search: the file found, with its digest (of all files, where an index names them), or the
 * search's failure. Frees what the search holds. */
sc_status sc_search_end(sc_search *s, sc_found *out);

#endif
