/* Folders of images for the packing tests: made in /tmp, removed at the end. */
#ifndef TEST_FOLDER_H
#define TEST_FOLDER_H

#include "superclip/data.h"

/* A new temporary folder; heap. */
char *folder_new(void);
void folder_remove(char *folder);
/* A file (its folders made) under folder. */
void folder_put(const char *folder, const char *name, const void *data, size_t n);
/* One golden image, copied under another name. */
void folder_copy_golden(const char *folder, const char *name, const char *golden);
/* 3 classes and 14 golden images of all formats, sizes mixed. */
void folder_images(const char *folder);
enum { FOLDER_IMAGES = 14, FOLDER_CLASSES = 3 };

typedef struct log_lines {
    int count;
    char text[8192];
    sc_log log;
} log_lines;
void log_lines_init(log_lines *l);

/* Defaults for tests: src/dst inside folder, 32 pixels, no log output. `src` and `dst` live in the
 * options. */
typedef struct pack_setup {
    sc_pack_options o;
    char src[300], dst[300];
    log_lines lines;
} pack_setup;
void pack_setup_init(pack_setup *s, const char *folder);
/* scan, begin, parts (in this process), finish. */
sc_status pack_all(const sc_pack_options *o, int parts);
/* Whole file; heap. */
char *file_of(const char *folder, const char *name, size_t *n);
/* Entries of a folder that hold `word`. */
int count_names(const char *folder, const char *word);

#endif
