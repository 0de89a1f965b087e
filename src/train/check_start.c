/* Are the files of --init-from and --resume-from fit for a job? Asked before the run writes
 * anything.
 */
#include "trainer.h"

/* A graph of the job's parameters. Classes, texts and row sizes change none of them. */
static sc_status record(const sc_train_options *o, sc_graph **out)
{
    sc_model_spec spec = {.image_encoder = o->image_encoder,
                          .text_encoder = o->text_encoder,
                          .embed_dim = o->embed_dim,
                          .img_size = o->img_size,
                          .train_size = o->img_size,
                          .vocabulary = o->vocabulary,
                          .context = o->context,
                          .classes = 2,
                          .texts = 2,
                          .text_length = 1,
                          .temperature = o->temperature,
                          .loss = o->loss};
    spec.loss.tau0 = o->temperature;
    return sc_model_record(&spec, SC_MODEL_TRAIN, NULL, out);
}

static sc_status check_model(const sc_train_options *o, sc_pth *file)
{
    const char *key;
    const sc_object *dict = sc_state_dict_find(sc_pth_root(file), &key);
    if (!dict)
        return sc_fail(SC_EFORMAT, "%s: holds no model_state_dict and is no state dict itself",
                       sc_pth_path(file));
    sc_pth_list list = {.file = file};
    sc_graph *graph = NULL;
    sc_status status = sc_pth_list_dict(&list, key, dict);
    if (status == SC_OK)
        status = record(o, &graph);
    if (status == SC_OK) {
        const sc_tensor_reader r = sc_pth_list_reader(&list);
        status = sc_params_check(graph, &r);
        if (status == SC_EFORMAT)
            sc_fail_prefix(status, "%s", sc_pth_path(file));
    }
    sc_graph_free(graph);
    sc_pth_list_free(&list);
    return status;
}

sc_status sc_train_check_start(const sc_train_options *o, const char *unknown)
{
    sc_pth *file = NULL;
    sc_train_state state = {0};
    sc_status status = SC_OK;
    if (o->resume_from)
        status = sc_ckpt_read(o->resume_from, o, unknown, &file, &state);
    else if (o->init_from)
        status = sc_pth_open(o->init_from, &file);
    if (status == SC_OK && file)
        status = check_model(o, file);
    sc_train_state_free(&state);
    sc_pth_close(file);
    return status;
}
