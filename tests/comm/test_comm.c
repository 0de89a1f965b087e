/* Every collective and the mail, on however many ranks there are; argv[1] and argv[2], if given,
 * are how many ranks and hosts there must be. A failed check ends all ranks, so that none waits for
 * ever. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "superclip/comm.h"

static sc_world *world;

#define CHECK(cond)                                                                        \
    do {                                                                                   \
        if (!(cond)) {                                                                     \
            fprintf(stderr, "%s:%d: rank %d of %d: %s (%s)\n", __FILE__, __LINE__,         \
                    world ? world->comm->rank : -1, world ? world->comm->size : -1, #cond, \
                    sc_message());                                                         \
            sc_world_abort(world, 1);                                                      \
        }                                                                                  \
    } while (0)
#define OK(call) CHECK((call) == SC_OK)

/* Values of very different size, so that another order of additions gives other bits. */
static double value(int rank, size_t i)
{
    uint32_t key[2] = {7, (uint32_t)rank}, counter[4] = {(uint32_t)i, 0, 0, 0}, word[4];
    sc_philox4x32(key, counter, word);
    return ldexp((double)word[0] - 2147483648.0, (int)(word[1] % 40) - 40);
}

static void check_float(const sc_comm *c, size_t count, sc_reduce op)
{
    float *x = sc_alloc(count, sizeof *x);
    CHECK(x);
    for (size_t i = 0; i < count; i++)
        x[i] = (float)value(c->rank, i);
    OK(c->all_reduce(c, x, count, SC_F32, op));
    for (size_t i = 0; i < count; i++) {
        float want = (float)value(0, i);
        for (int r = 1; r < c->size; r++) {
            float v = (float)value(r, i);
            want = op == SC_SUM ? want + v : op == SC_MAX ? fmaxf(want, v) : fminf(want, v);
        }
        CHECK(memcmp(&want, &x[i], sizeof want) == 0);
    }
    free(x);
}

static void check_double(const sc_comm *c, size_t count)
{
    double *x = sc_alloc(count, sizeof *x);
    CHECK(x);
    for (size_t i = 0; i < count; i++)
        x[i] = value(c->rank, i) * 1.1;
    OK(c->all_reduce(c, x, count, SC_F64, SC_SUM));
    for (size_t i = 0; i < count; i++) {
        double want = value(0, i) * 1.1;
        for (int r = 1; r < c->size; r++)
            want += value(r, i) * 1.1;
        CHECK(memcmp(&want, &x[i], sizeof want) == 0);
    }
    free(x);
}

static void check_integers(const sc_comm *c)
{
    int64_t a[3] = {c->rank, -c->rank, INT64_MAX - c->rank};
    OK(c->all_reduce(c, a, 2, SC_I64, SC_SUM));
    CHECK(a[0] == (int64_t)c->size * (c->size - 1) / 2 && a[1] == -a[0]);
    CHECK(a[2] == INT64_MAX - c->rank); /* not part of the message */
    int32_t b = c->rank - 5;
    OK(c->all_reduce(c, &b, 1, SC_I32, SC_MIN));
    CHECK(b == -5);
    float nan_of_last = c->rank == c->size - 1 ? NAN : 1;
    OK(c->all_reduce(c, &nan_of_last, 1, SC_F32, SC_MAX));
    CHECK(isnan(nan_of_last));
    uint8_t byte = 0;
    if (c->size > 1)
        CHECK(c->all_reduce(c, &byte, 1, SC_U8, SC_SUM) == SC_EINTERNAL);
}

/* Ranks hold 0, 1, 2, ... elements times `scale`. */
static void check_gather(const sc_comm *c, int64_t scale, bool in_place)
{
    int64_t *counts = sc_alloc((size_t)c->size, sizeof *counts), total = 0, at = 0;
    CHECK(counts);
    for (int r = 0; r < c->size; r++) {
        counts[r] = (c->size == 1 ? 1 : r) * scale;
        if (r < c->rank)
            at += counts[r];
        total += counts[r];
    }
    int32_t *all = sc_alloc((size_t)total, sizeof *all), *own;
    own = in_place ? all + at : sc_alloc((size_t)counts[c->rank], sizeof *own);
    CHECK(all && own);
    for (int64_t i = 0; i < counts[c->rank]; i++)
        own[i] = (int32_t)(at + i);
    OK(c->all_gather(c, own, all, counts, SC_I32));
    for (int64_t i = 0; i < total; i++)
        CHECK(all[i] == (int32_t)i);
    if (!in_place)
        free(own);
    free(all);
    free(counts);
}

static void check_small_things(const sc_comm *c)
{
    for (int root = 0; root < c->size; root++) {
        char text[100] = "";
        if (c->rank == root)
            snprintf(text, sizeof text, "from %d", root);
        OK(c->broadcast(c, text, sizeof text, root));
        char want[100];
        snprintf(want, sizeof want, "from %d", root);
        CHECK(strcmp(text, want) == 0);

        bool any = false;
        OK(sc_comm_any(c, c->rank == root, &any));
        CHECK(any);
        OK(sc_comm_any(c, false, &any));
        CHECK(!any);

        char *joined;
        size_t *sizes;
        OK(sc_comm_gather_bytes(c, "abcdefghij", (size_t)c->rank, root, &joined, &sizes));
        CHECK((joined != NULL) == (c->rank == root) && (sizes != NULL) == (c->rank == root));
        if (joined) {
            size_t at = 0;
            for (int r = 0; r < c->size; r++) {
                CHECK(sizes[r] == (size_t)r && memcmp(joined + at, "abcdefghij", sizes[r]) == 0);
                at += sizes[r];
            }
            CHECK(joined[at] == '\0');
        }
        free(joined);
        free(sizes);
    }
    OK(c->barrier(c));
}

static void check_split(const sc_comm *c)
{
    sc_comm *part;
    OK(sc_comm_split(c, c->rank % 2, &part));
    CHECK(part && part->rank == c->rank / 2 && part->size == (c->size + 1 - c->rank % 2) / 2);
    int32_t sum = c->rank;
    OK(part->all_reduce(part, &sum, 1, SC_I32, SC_SUM));
    int32_t want = 0;
    for (int r = c->rank % 2; r < c->size; r += 2)
        want += r;
    CHECK(sum == want);
    part->free(part);
    OK(sc_comm_split(c, c->rank == 0 ? -1 : 3, &part));
    CHECK((part == NULL) == (c->rank == 0));
    if (part)
        part->free(part);
}

/* Everybody writes to everybody, itself included; a sender's letters arrive in order. */
static void check_mail(const sc_comm *c)
{
    enum { LETTERS = 200, BIG = 1 << 20 };
    sc_mail *mail;
    OK(sc_mail_open(c, &mail));
    char *big = sc_alloc(BIG, 1);
    int *next = sc_alloc((size_t)c->size, sizeof *next);
    CHECK(big && next);
    memset(big, 'x', BIG);
    for (int i = 0; i < LETTERS; i++)
        for (int to = 0; to < c->size; to++) {
            char text[64];
            int n = snprintf(text, sizeof text, "%d to %d", c->rank, to);
            OK(sc_mail_send(mail, to, i, i == 7 ? big : text, i == 7 ? BIG : (size_t)n));
            memset(text, 0, sizeof text); /* the bytes were copied */
        }
    memset(big, 'y', BIG);
    double until = sc_now() + 30;
    for (int left = LETTERS * c->size; left > 0 && sc_now() < until;) {
        bool got;
        int from, tag;
        char *data;
        size_t n;
        OK(sc_mail_poll(mail, &got, &from, &tag, &data, &n));
        if (!got)
            continue;
        char want[64];
        snprintf(want, sizeof want, "%d to %d", from, c->rank);
        CHECK(tag == next[from]++);
        CHECK(tag == 7 ? n == BIG && data[0] == 'x' && data[BIG - 1] == 'x'
                       : strcmp(data, want) == 0);
        free(data);
        left--;
    }
    for (int r = 0; r < c->size; r++)
        CHECK(next[r] == LETTERS);
    OK(sc_mail_send(mail, 0, 1, NULL, 0)); /* nobody reads it: closing must not hang */
    CHECK(sc_mail_send(mail, c->size, 1, "x", 1) == SC_EINTERNAL);
    OK(sc_mail_close(mail));
    free(big);
    free(next);
}

int main(int argc, char **argv)
{
    OK(sc_world_open(&argc, &argv, &world));
    const sc_comm *c = world->comm;
    CHECK(argc < 2 || c->size == atoi(argv[1]));
    int nodes = argc > 2 ? atoi(argv[2]) : 1; /* equally many ranks on each, node after node */
    int each = c->size / nodes;
    CHECK(world->nodes == nodes && world->node == c->rank / each && world->node_size == each &&
          world->node_rank == c->rank % each && world->host[0]);
    const size_t counts[] = {0, 1, 2, 7, 1000, 16384, 100003, 1100001};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        check_float(c, counts[i], SC_SUM);
        check_double(c, counts[i] / 8);
    }
    check_float(c, 50001, SC_MAX);
    check_float(c, 50001, SC_MIN);
    check_integers(c);
    for (int in_place = 0; in_place < 2; in_place++) {
        check_gather(c, 0, in_place);
        check_gather(c, 3, in_place);
        check_gather(c, 100000, in_place);
    }
    check_small_things(c);
    check_split(c);
    check_mail(c);
    if (c->rank == 0)
        printf("comm: %d rank(s) ok\n", c->size);
    sc_world_close(world);
    return 0;
}
