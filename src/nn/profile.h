/* Private to nn: what a profile counted. */
#ifndef SC_NN_PROFILE_H
#define SC_NN_PROFILE_H

#include "superclip/nn.h"

/* One prepared op of one program: what nn holds as its state, in front of the backend's. Stays when
 * the op is released, so that a report can come after the programs are gone. */
typedef struct profile_node {
    struct profile_node *next;
    void *state; /* the backend's */
    sc_op op;
    sc_attrs attrs;
    sc_shape in, out;
    int kernel; /* of a window */
    bool training;
    double flops[2], bytes[2], done[2]; /* of one forward, one backward */
    double seconds[2], collectives;
    int64_t calls[2];
} profile_node;

struct sc_profile {
    sc_backend face; /* first: the device's backend while the profile is open */
    const sc_backend *real;
    sc_device *device;
    struct profile_comm {
        sc_comm face;
        const sc_comm *real;
        sc_profile *profile;
    } comm;
    profile_node *first, **last;
    bool running;
    bool inside; /* an op is running: collectives are its own */
    double mark, begun, seconds;
    double part[SC_PROFILE_PARTS];
    double collectives; /* inside ops */
    double adamw, adamw_bytes, reduced_bytes;
    double peak_flops, peak_bytes;
    int64_t steps;
};

/* What the op does at least in one pass (0 forward, 1 backward). */
double nn_node_flops(const sc_op_node *n, int pass);
double nn_node_bytes(const sc_device *d, const sc_backend *b, const sc_op_node *n, int pass);

#endif
