/* The op table, from ops.def. */
#include "graph.h"

const nn_op_info nn_ops[SC_OP_COUNT] = {
#define SC_OP(E, name, i0, i1, o, p, ni, no) [SC_OP_##E] = {#name, i0, i1, o, p, ni, no},
#include "superclip/ops.def"
#undef SC_OP
};

const char *sc_op_name(sc_op op)
{
    return (unsigned)op < SC_OP_COUNT ? nn_ops[op].name : "unknown op";
}

bool nn_takes_gradient(sc_op op, int k)
{
    switch (op) {
    case SC_OP_AUGMENT:
    case SC_OP_EMBED:
        return false;
    case SC_OP_ATTENTION:
        return k < 3; /* behind q, k, v: an index */
    case SC_OP_SELECT_ROW:
    case SC_OP_GROUP_MEAN:
        return k == 0; /* the other is an index */
    case SC_OP_SUPERCLIP_LOSS:
        return k < 2; /* labels and class weights are data */
    default:
        return true;
    }
}
