/* What the scripts of this folder need and a shell has not:
 *   probe strip IN OUT KEY...     a copy of a checkpoint without these keys
 *   probe other IN OUT            a copy whose first class is called otherwise
 *   probe equal PTH SAFETENSORS PREFIX   the model's tensors that begin with PREFIX are, without
 * it, exactly the file's: names, types, shapes, bytes
 */
#include <stdlib.h>
#include <string.h>

#include "superclip/weights.h"

static int fail(const char *what)
{
    fprintf(stderr, "probe: %s\n", what);
    return 1;
}

static sc_object *get(sc_object *dict, const char *key)
{
    return (sc_object *)sc_obj_get(dict, key);
}

static void drop(sc_object *dict, const char *key)
{
    for (size_t i = 0; i < dict->count; i++)
        if (strcmp(dict->keys[i]->s, key) == 0) {
            sc_obj_free(dict->keys[i]);
            sc_obj_free(dict->items[i]);
            dict->count--;
            memmove(dict->keys + i, dict->keys + i + 1, (dict->count - i) * sizeof *dict->keys);
            memmove(dict->items + i, dict->items + i + 1, (dict->count - i) * sizeof *dict->items);
            return;
        }
}

static int copy(int argc, char **argv, bool other)
{
    sc_object *root;
    if (sc_pth_load(argv[2], &root) != SC_OK)
        return fail(sc_message());
    for (int i = 4; i < argc; i++)
        drop(root, argv[i]);
    if (other) {
        sc_object *name = get(root, "class_to_idx")->keys[0];
        free(name->s);
        name->s = sc_strdup("another");
    }
    sc_status status = sc_pth_save(argv[3], root);
    sc_obj_free(root);
    return status == SC_OK ? 0 : fail(sc_message());
}

static int equal(char **argv)
{
    sc_object *root;
    sc_tensor_set have, want;
    if (sc_pth_load(argv[2], &root) != SC_OK || sc_state_dict_of(argv[2], root, &want) != SC_OK ||
        sc_safetensors_load(argv[3], &have) != SC_OK)
        return fail(sc_message());
    size_t n = strlen(argv[4]), found = 0;
    for (size_t i = 0; i < want.count; i++) {
        const sc_tensor *a = &want.items[i];
        if (strncmp(a->name, argv[4], n) != 0)
            continue;
        const sc_tensor *b = sc_tensor_set_find(&have, a->name + n);
        if (!b || a->dtype != b->dtype || !sc_shape_equal(&a->shape, &b->shape) ||
            memcmp(a->data, b->data, sc_tensor_bytes(a)) != 0)
            return fail(a->name);
        found++;
    }
    if (found == 0 || found != have.count)
        return fail("another number of tensors");
    sc_tensor_set_free(&have);
    sc_tensor_set_free(&want);
    sc_obj_free(root);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc > 4 && strcmp(argv[1], "strip") == 0)
        return copy(argc, argv, false);
    if (argc == 4 && strcmp(argv[1], "other") == 0)
        return copy(argc, argv, true);
    if (argc == 5 && strcmp(argv[1], "equal") == 0)
        return equal(argv);
    return fail("usage: see probe.c");
}
