/* Private to tools/sc_predict: its command line and what it prints. */
#ifndef SC_PREDICT_TOOL_H
#define SC_PREDICT_TOOL_H

#include "cli.h"
#include "superclip/infer.h"

typedef enum predict_request { PREDICT_RUN, PREDICT_HELP, PREDICT_VERSION } predict_request;
typedef struct predict_options {
    predict_request request;
    const char **checkpoints, **images; /* point into argv */
    int checkpoint_count, image_count;
    const char *list, *root;
    sc_infer_hints hints;
    const char *backend;
    int batch, threads; /* 0: chosen */
    bool no_amp;
    sc_decode_options decode;
    int top; /* 0: not given */
    bool csv, json;
    const char *csv_file, *json_file; /* NULL: standard output */
} predict_options;
sc_status predict_options_parse(int argc, char **argv, predict_options *out);
void predict_options_free(predict_options *o);
extern const char predict_help[];

/* The figures of the images whose class is known. */
typedef struct predict_figures {
    int64_t images, unreadable, labelled, correct;
    sc_eval_metrics metrics;
} predict_figures;

typedef struct predict_output predict_output;
typedef struct predict_bad {
    int64_t item;
    char *reason;
} predict_bad;
sc_status predict_output_open(const predict_options *o, const sc_image_list *list,
                              sc_checkpoint *const *checkpoints, const int *labels,
                              predict_output **out);
/* Images in order; p: [classes]. */
void predict_output_row(predict_output *out, int64_t item, const double *p);
/* What was begun is ended, files are written. */
sc_status predict_output_finish(predict_output *out, const predict_figures *f,
                                const predict_bad *bad, int64_t bad_count);
void predict_output_free(predict_output *out); /* NULL is fine */

#endif
