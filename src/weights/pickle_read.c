/* The pickle machine: a closed list of opcodes over a stack, a stack of marks and a memo. */
#include "pickle_machine.h"

#include <stdlib.h>
#include <string.h>

enum { MIN_PROTOCOL = 2, MAX_PROTOCOL = 5, MEMORY_PER_BYTE = 96, MEMORY_BASE = 1 << 16 };

/* ---- containers ------------------------------------------------------------------------------ */

static sc_status fill(sc_unpickler *u, sc_pv *container, sc_pv **items, size_t n)
{
    for (size_t i = 0; i < n; i++)
        SC_TRY(sc_pv_append(u, container, items[i]));
    return SC_OK;
}

/* A new container of what lies above the mark, or of the `count` topmost values. */
static sc_status collect(sc_unpickler *u, sc_pv_type type, int count)
{
    sc_pv **items, *v;
    size_t n = (size_t)count;
    if (count < 0)
        SC_TRY(sc_pickle_pop_mark(u, &items, &n));
    else if (u->depth - sc_pickle_floor_of(u) < n)
        return sc_pickle_fail(u, "a value is missing");
    else
        items = u->stack + (u->depth -= n);
    if (type == SC_PV_DICT && n % 2)
        return sc_pickle_fail(u, "a dict has a key without a value");
    SC_TRY(sc_pv_new(u, type, &v));
    SC_TRY(fill(u, v, items, n));
    return sc_pickle_push(u, v);
}

/* a, e and ADDITEMS to a list, s and u to a dict. */
static sc_status extend(sc_unpickler *u, int op)
{
    sc_pv **items, *container;
    bool dict = op == 's' || op == 'u';
    size_t n = op == 'a' ? 1 : 2;
    if (op == 'a' || op == 's') {
        if (u->depth - sc_pickle_floor_of(u) < n)
            return sc_pickle_fail(u, "a value is missing");
        items = u->stack + (u->depth -= n);
    } else
        SC_TRY(sc_pickle_pop_mark(u, &items, &n));
    SC_TRY(sc_pickle_top(u, &container));
    if (dict ? container->type != SC_PV_DICT && container->type != SC_PV_ORDERED_DICT
             : container->type != SC_PV_LIST)
        return sc_pickle_fail(u, "items for %s are given to %s", dict ? "a dict" : "a list",
                              sc_pv_type_name(container));
    if (dict && n % 2)
        return sc_pickle_fail(u, "a dict has a key without a value");
    return fill(u, container, items, n);
}

static sc_status run_container(sc_unpickler *u, int op, bool *mine)
{
    sc_pv *v, **items;
    size_t n;
    *mine = true;
    switch (op) {
    case '(':
        return sc_pickle_push_mark(u);
    case ']':
    case 0x8F: /* a set is kept as a list */
        return sc_pickle_push_new(u, SC_PV_LIST, &v);
    case '}':
        return sc_pickle_push_new(u, SC_PV_DICT, &v);
    case ')':
        return sc_pickle_push_new(u, SC_PV_TUPLE, &v);
    case 'l':
        return collect(u, SC_PV_LIST, -1);
    case 'd':
        return collect(u, SC_PV_DICT, -1);
    case 't':
    case 0x91:
        return collect(u, SC_PV_TUPLE, -1);
    case 0x85:
    case 0x86:
    case 0x87:
        return collect(u, SC_PV_TUPLE, op - 0x84);
    case 'a':
    case 'e':
    case 's':
    case 'u':
    case 0x90:
        return extend(u, op);
    case '0':
        return sc_pickle_pop(u, &v);
    case '1':
        return sc_pickle_pop_mark(u, &items, &n);
    case '2':
        SC_TRY(sc_pickle_top(u, &v));
        return sc_pickle_push(u, v);
    }
    *mine = false;
    return SC_OK;
}

/* ---- memo ------------------------------------------------------------------------------------ */

static sc_status memo_put(sc_unpickler *u, uint64_t index)
{
    sc_pv *v;
    SC_TRY(sc_pickle_top(u, &v));
    if (index > u->n) /* a writer numbers its puts, and each is a byte at least */
        return sc_pickle_fail(u, "a memo number is out of range");
    if (index >= u->memo_cap) {
        size_t cap = u->memo_cap ? u->memo_cap : 64;
        while (cap <= index)
            cap *= 2;
        sc_pv **memo = sc_realloc(u->memo, cap, sizeof(sc_pv *));
        if (!memo)
            return SC_ENOMEM;
        memset(memo + u->memo_cap, 0, (cap - u->memo_cap) * sizeof(sc_pv *));
        u->memo = memo;
        u->memo_cap = cap;
    }
    u->memo_count += u->memo[index] == NULL;
    u->memo[index] = v;
    return SC_OK;
}

static sc_status memo_get(sc_unpickler *u, uint64_t index)
{
    if (index >= u->memo_cap || !u->memo[index])
        return sc_pickle_fail(u, "a memo number is unknown");
    return sc_pickle_push(u, u->memo[index]);
}

static sc_status run_memo(sc_unpickler *u, int op, bool *mine)
{
    uint64_t index = 0;
    const char *line;
    size_t n;
    *mine = true;
    switch (op) {
    case 'q':
    case 'h':
        SC_TRY(sc_pickle_take_uint(u, 1, &index));
        break;
    case 'r':
    case 'j':
        SC_TRY(sc_pickle_take_uint(u, 4, &index));
        break;
    case 'p':
    case 'g':
        SC_TRY(sc_pickle_take_line(u, &line, &n));
        for (size_t i = 0; i < n; i++) {
            if (line[i] < '0' || line[i] > '9' || index > u->n)
                return sc_pickle_fail(u, "a malformed memo number");
            index = index * 10 + (uint64_t)(line[i] - '0');
        }
        break;
    case 0x94:
        return memo_put(u, u->memo_count);
    default:
        *mine = false;
        return SC_OK;
    }
    return op == 'q' || op == 'r' || op == 'p' ? memo_put(u, index) : memo_get(u, index);
}

/* ---- names and objects ----------------------------------------------------------------------- */

static sc_status push_global(sc_unpickler *u, const char *module, size_t module_len,
                             const char *name, size_t name_len)
{
    const sc_pickle_global *g =
        sc_pickle_find_global(module, module_len, name, name_len, u->script);
    if (!g) {
        char shown[130];
        int n = snprintf(shown, sizeof shown, "%.*s.%.*s", (int)(module_len < 64 ? module_len : 64),
                         module, (int)(name_len < 64 ? name_len : 64), name);
        for (int i = 0; i < n && i < (int)sizeof shown - 1; i++)
            if (shown[i] < 0x20 || shown[i] > 0x7e)
                shown[i] = '?';
        return sc_pickle_fail(u,
                              "unsupported object '%s' (save the state dict only, or use "
                              "safetensors)",
                              shown);
    }
    sc_pv *v;
    SC_TRY(sc_pickle_push_new(u, SC_PV_GLOBAL, &v));
    v->u.global = g;
    return SC_OK;
}

static sc_status stack_global(sc_unpickler *u)
{
    sc_pv *module, *name;
    SC_TRY(sc_pickle_pop(u, &name));
    SC_TRY(sc_pickle_pop(u, &module));
    if (name->type != SC_PV_STRING || module->type != SC_PV_STRING)
        return sc_pickle_fail(u, "a name is not a string");
    return push_global(u, module->u.s, strlen(module->u.s), name->u.s, strlen(name->u.s));
}

static sc_status call(sc_unpickler *u, int op)
{
    sc_pv *keywords, *args, *callable, *result;
    if (op == 0x92) {
        SC_TRY(sc_pickle_pop(u, &keywords));
        if (keywords->type != SC_PV_DICT || keywords->count)
            return sc_pickle_fail(u, "an object with keyword arguments");
    }
    SC_TRY(sc_pickle_pop(u, &args));
    SC_TRY(sc_pickle_pop(u, &callable));
    SC_TRY(sc_pickle_reduce(u, callable, args, &result));
    return sc_pickle_push(u, result);
}

/* The state of a state dict is its _metadata, that of a parameter its hooks: nobody needs them. A
 * module's state is its attributes. Other objects do not exist here. */
static sc_status build(sc_unpickler *u)
{
    sc_pv *state, *object;
    SC_TRY(sc_pickle_pop(u, &state));
    SC_TRY(sc_pickle_top(u, &object));
    if (object->type == SC_PV_TENSOR)
        return SC_OK;
    if (object->type != SC_PV_DICT && object->type != SC_PV_ORDERED_DICT)
        return sc_pickle_fail(u, "attributes for %s", sc_pv_type_name(object));
    if (!u->script || state->type != SC_PV_DICT || state == object)
        return SC_OK;
    return fill(u, object, state->u.items, state->count);
}

static sc_status run_object(sc_unpickler *u, int op, bool *mine)
{
    const char *module, *name;
    size_t module_len, name_len;
    sc_pv *id, *storage;
    *mine = true;
    switch (op) {
    case 'c':
        SC_TRY(sc_pickle_take_line(u, &module, &module_len));
        SC_TRY(sc_pickle_take_line(u, &name, &name_len));
        return push_global(u, module, module_len, name, name_len);
    case 0x93:
        return stack_global(u);
    case 'R':
    case 0x81:
    case 0x92:
        return call(u, op);
    case 'b':
        return build(u);
    case 'Q':
        SC_TRY(sc_pickle_pop(u, &id));
        SC_TRY(sc_pickle_persistent(u, id, &storage));
        return sc_pickle_push(u, storage);
    }
    *mine = false;
    return SC_OK;
}

/* ---- the machine ----------------------------------------------------------------------------- */

static sc_status step(sc_unpickler *u, int op)
{
    static sc_status (*const groups[])(sc_unpickler *, int, bool *) = {
        sc_pickle_run_value, run_container, run_memo, run_object};
    uint64_t v;
    bool mine = false;
    if (op == 0x80) {
        SC_TRY(sc_pickle_take_uint(u, 1, &v));
        if (v < MIN_PROTOCOL || v > MAX_PROTOCOL)
            return sc_pickle_fail(u, "pickle protocol %d, only 2 to 5 are read,", (int)v);
        return SC_OK;
    }
    if (op == 0x95)
        return sc_pickle_take_uint(u, 8, &v); /* a frame's length helps readers of pipes only */
    for (size_t i = 0; i < sizeof groups / sizeof groups[0]; i++) {
        SC_TRY(groups[i](u, op, &mine));
        if (mine)
            return SC_OK;
    }
    return sc_pickle_fail(u, "opcode 0x%02x, which no state dict needs,", op);
}

static sc_status run(sc_unpickler *u, sc_pv **out)
{
    while (u->at < u->n) {
        u->op_at = u->at;
        int op = u->data[u->at++];
        if (op != '.') {
            SC_TRY(step(u, op));
            continue;
        }
        if (u->mark_count || u->depth != 1)
            return sc_pickle_fail(u, "values are left over");
        *out = u->stack[0];
        return SC_OK;
    }
    u->op_at = u->n;
    return sc_pickle_fail(u, "the stream ends too early");
}

sc_status sc_unpickle_first(sc_unpickler *u, const char *path, const char *record,
                            const uint8_t *data, size_t n, size_t *used, sc_pv **out)
{
    *u = (sc_unpickler){.path = path,
                        .record = record,
                        .data = data,
                        .n = n,
                        .script = u->script,
                        .by_number = u->by_number,
                        .by_number_ctx = u->by_number_ctx};
    u->none.type = SC_PV_NONE;
    u->yes = (sc_pv){.type = SC_PV_BOOL, .u.b = true};
    u->no = (sc_pv){.type = SC_PV_BOOL, .u.b = false};
    u->arena = sc_arena_new(1 << 14);
    if (!u->arena || n > SIZE_MAX / 2 / MEMORY_PER_BYTE)
        return sc_fail_prefix(SC_ENOMEM, "%s", path);
    u->arena_left = n * MEMORY_PER_BYTE + MEMORY_BASE;
    sc_status status = run(u, out);
    *used = u->at;
    return status;
}

sc_status sc_unpickle(sc_unpickler *u, const char *path, const char *record, const uint8_t *data,
                      size_t n, sc_pv **out)
{
    size_t used;
    SC_TRY(sc_unpickle_first(u, path, record, data, n, &used, out));
    if (used != n)
        return sc_pickle_fail(u, "bytes follow the end");
    return SC_OK;
}

void sc_unpickle_free(sc_unpickler *u)
{
    sc_arena_free(u->arena);
    free(u->stack);
    free(u->marks);
    free(u->memo);
    *u = (sc_unpickler){0};
}
