/* encoder_step: one pair of encoders with given parameters on given images, for encoders_check.py.
 *
 *   encoder_step IMAGE_ENCODER TEXT_ENCODER IN OUT fp32|bf16
 *
 * IN and OUT are safetensors. IN: the parameters of the whole model under their names and its
 * inputs: images [n,S,S,3] u8, tokens [C,L], text_end [C], text_class [C] and labels [n] i32. OUT:
 * eval_features and train_features [n,E], class_features [C,E], losses [3] and grad.NAME of one
 * training pass. Features are those behind the projection, of length 1.
 */
#include "superclip/model.h"
#include "superclip/weights.h"

#include <stdlib.h>
#include <string.h>

#define WORDS "text_encoder.backbone.embeddings.word_embeddings.weight"

typedef struct machine {
    sc_device *d;
    sc_comm *comm;
    sc_params *p;
    sc_graph *g[2];         /* train, eval */
    sc_program *program[2]; /* the same */
    sc_tensor_set in, out;
} machine;

static const sc_tensor *input(const machine *m, const char *name)
{
    static const sc_tensor none = {0};
    const sc_tensor *t = sc_tensor_set_find(&m->in, name);
    return t ? t : &none;
}

static sc_status build(machine *m, const char *image, const char *text, sc_precision_mode precision)
{
    const bool bert = sc_tensor_set_find(&m->in, WORDS) != NULL;
    const sc_tensor *words = input(m, bert ? WORDS : "text_encoder.token_embedding.weight");
    const sc_device_options device = {2, precision, NULL};
    const sc_tensor *images = input(m, "images"), *tokens = input(m, "tokens");
    const sc_tensor *projection = input(m, "image_encoder.projection.weight");
    const sc_model_spec spec = {
        .image_encoder = image,
        .text_encoder = text,
        .embed_dim = (int)projection->shape.d[0],
        .img_size = (int)images->shape.d[1],
        .train_size = (int)images->shape.d[1],
        .vocabulary = (int)words->shape.d[0],
        .context = bert ? 128 : 77,
        .classes = (int)tokens->shape.d[0],
        .texts = (int)tokens->shape.d[0],
        .text_length = (int)tokens->shape.d[1],
        .temperature = 0.07,
        .loss = {.superclip = true, .class_weight = 1, .contrastive_weight = 1, .tau0 = 0.07}};
    const int64_t rows = images->shape.d[0];
    SC_TRY(sc_backend_cpu()->open(&device, &m->d));
    SC_TRY(sc_model_record(&spec, SC_MODEL_TRAIN, NULL, &m->g[0]));
    SC_TRY(sc_model_record(&spec, SC_MODEL_EVAL, NULL, &m->g[1]));
    SC_TRY(sc_params_create(m->d, m->g[0], &m->p));
    m->comm = sc_comm_single();
    if (!m->comm)
        return SC_ENOMEM;
    const sc_program_desc desc[2] = {
        {.graph = m->g[0], .rows_local = rows, .rows = &rows, .training = true},
        {.graph = m->g[1], .rows_local = rows, .rows = &rows}};
    return sc_programs_compile(m->d, m->p, m->comm, desc, 2, m->program);
}

/* Every tensor of IN that is no input of the graphs. */
static sc_status import(machine *m)
{
    sc_tensor_set params = {0};
    sc_status status = SC_OK;
    for (size_t i = 0; i < m->in.count && status == SC_OK; i++) {
        sc_tensor t = m->in.items[i];
        if (strchr(t.name, '.') || strcmp(t.name, "temperature") == 0) {
            sc_tensor copy;
            status = sc_tensor_new(t.name, t.dtype, t.shape, &copy);
            if (status != SC_OK)
                break;
            memcpy(copy.data, t.data, sc_tensor_bytes(&t));
            status = sc_tensor_set_add(&params, &copy);
        }
    }
    if (status == SC_OK)
        status = sc_params_import(m->p, &params);
    sc_tensor_set_free(&params);
    return status;
}

static sc_status write_images(machine *m, sc_program *p)
{
    const sc_tensor *images = input(m, "images"), *tokens = input(m, "tokens");
    size_t rows = (size_t)images->shape.d[0], classes = (size_t)tokens->shape.d[0];
    sc_augment *draws = sc_alloc(rows, sizeof *draws); /* zeros: no change */
    float *one = sc_alloc(classes, sizeof *one);
    sc_status status = SC_ENOMEM;
    if (!draws || !one)
        goto done;
    for (size_t i = 0; i < classes; i++)
        one[i] = 1;
    SC_TRY_GOTO(sc_program_write(p, "images", images->data));
    SC_TRY_GOTO(sc_program_write(p, "draws", draws));
    SC_TRY_GOTO(sc_program_write(p, "labels", input(m, "labels")->data));
    status = sc_program_write(p, "class_weights", one);
done:
    free(draws);
    free(one);
    return status;
}
static sc_status keep(machine *m, sc_program *p, const char *from, const char *name)
{
    sc_shape shape;
    sc_tensor t;
    SC_TRY(sc_program_shape(p, from, &shape));
    SC_TRY(sc_tensor_new(name, SC_F32, shape, &t));
    sc_status status = sc_program_read(p, from, t.data);
    if (status == SC_OK)
        status = sc_tensor_set_add(&m->out, &t);
    if (status != SC_OK)
        sc_tensor_free(&t);
    return status;
}

/* Evaluation first: a training pass moves the running statistics. */
static sc_status evaluate(machine *m)
{
    sc_program *p = m->program[1];
    const sc_tensor *tokens = input(m, "tokens");
    size_t classes = (size_t)tokens->shape.d[0];
    size_t width = (size_t)input(m, "image_encoder.projection.weight")->shape.d[0];
    float *features = sc_alloc(classes * width, sizeof *features); /* zeros: not looked at */
    if (!features)
        return SC_ENOMEM;
    sc_status status = sc_program_write(p, "class_features", features);
    free(features);
    SC_TRY(status);
    SC_TRY(write_images(m, p));
    SC_TRY(sc_program_forward(p));
    return keep(m, p, "image_features", "eval_features");
}
static sc_status train(machine *m)
{
    static const char *const inputs[] = {"tokens", "text_end", "text_class"};
    sc_program *p = m->program[0];
    sc_tensor_set gradients;
    SC_TRY(write_images(m, p));
    for (int i = 0; i < 3; i++)
        SC_TRY(sc_program_write(p, inputs[i], input(m, inputs[i])->data));
    SC_TRY(sc_program_forward(p));
    SC_TRY(sc_program_backward(p));
    SC_TRY(keep(m, p, "image_features", "train_features"));
    SC_TRY(keep(m, p, "class_features", "class_features"));
    SC_TRY(keep(m, p, "losses", "losses"));
    SC_TRY(sc_params_export_gradients(m->p, &gradients));
    sc_status status = SC_OK;
    for (size_t i = 0; i < gradients.count && status == SC_OK; i++) {
        sc_tensor t, *from = &gradients.items[i];
        char *name = sc_format("grad.%s", from->name);
        status = name ? sc_tensor_new(name, from->dtype, from->shape, &t) : SC_ENOMEM;
        free(name);
        if (status != SC_OK)
            break;
        memcpy(t.data, from->data, sc_tensor_bytes(from));
        status = sc_tensor_set_add(&m->out, &t);
    }
    sc_tensor_set_free(&gradients);
    return status;
}

static void close_machine(machine *m)
{
    for (int i = 0; i < 2; i++) {
        sc_program_free(m->program[i]);
        sc_graph_free(m->g[i]);
    }
    sc_params_free(m->p);
    if (m->comm)
        m->comm->free(m->comm);
    if (m->d)
        m->d->backend->close(m->d);
    sc_tensor_set_free(&m->in);
    sc_tensor_set_free(&m->out);
}

int main(int argc, char **argv)
{
    machine m = {0};
    sc_status status = SC_OK;
    if (argc != 6) {
        fprintf(stderr, "usage: encoder_step IMAGE_ENCODER TEXT_ENCODER IN OUT fp32|bf16\n");
        return 1;
    }
    SC_TRY_GOTO(sc_safetensors_load(argv[3], &m.in));
    SC_TRY_GOTO(build(&m, argv[1], argv[2], strcmp(argv[5], "bf16") ? SC_FP32 : SC_BF16_MIXED));
    SC_TRY_GOTO(import(&m));
    SC_TRY_GOTO(evaluate(&m));
    SC_TRY_GOTO(train(&m));
    status = sc_safetensors_save(argv[4], &m.out, NULL);
done:
    if (status != SC_OK)
        fprintf(stderr, "encoder_step: %s\n", sc_message());
    close_machine(&m);
    return status != SC_OK;
}
