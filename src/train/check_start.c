/* Are the files that a job begins with fit for it? Asked before the run writes anything. */
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

static sc_status check_model(const sc_graph *g, sc_pth *file)
{
    const char *key;
    const sc_object *dict = sc_state_dict_find(sc_pth_root(file), &key);
    if (!dict)
        return sc_fail(SC_EFORMAT, "%s: holds no model_state_dict and is no state dict itself",
                       sc_pth_path(file));
    sc_pth_list list = {.file = file};
    sc_status status = sc_pth_list_dict(&list, key, dict);
    if (status == SC_OK) {
        const sc_tensor_reader r = sc_pth_list_reader(&list);
        status = sc_params_check(g, &r);
        if (status == SC_EFORMAT)
            sc_fail_prefix(status, "%s", sc_pth_path(file));
    }
    sc_pth_list_free(&list);
    return status;
}

static sc_status check_resume(const sc_train_options *o, const sc_graph *g)
{
    sc_pth *file = NULL;
    sc_train_state state = {0};
    sc_status status = sc_ckpt_read(o->resume_from, o, &file, &state);
    if (status == SC_OK)
        status = check_model(g, file);
    sc_train_state_free(&state);
    sc_pth_close(file);
    return status;
}

sc_status sc_train_check_start(const sc_train_options *o)
{
    sc_graph *graph = NULL;
    sc_status status = record(o, &graph);
    if (status == SC_OK)
        status = o->resume_from ? check_resume(o, graph) : sc_check_start_weights(o, graph);
    sc_graph_free(graph);
    return status;
}
