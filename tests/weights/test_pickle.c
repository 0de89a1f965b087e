/* The pickle machine through whole archives: what it understands, what it refuses, what it does not
 * pay. */
#include "weights_test.h"

#include "../../src/weights/zip.h"

#define BYTES(s) s, sizeof(s) - 1

static char *path;

static int make_path(void **state)
{
    (void)state;
    path = temporary_path("pickle.pth");
    return 0;
}

static int drop_path(void **state)
{
    (void)state;
    unlink(path);
    free(path);
    return 0;
}

/* An archive with this stream and one storage "0" of sixteen floats 0..15. */
static void write_archive(const void *pickle, size_t n)
{
    float values[16];
    sc_zip_writer w;
    for (int i = 0; i < 16; i++)
        values[i] = (float)i;
    assert_int_equal(sc_zip_create(path, &w), SC_OK);
    assert_int_equal(sc_zip_add(&w, "some name/data.pkl", pickle, n), SC_OK);
    assert_int_equal(sc_zip_add(&w, "some name/data/0", values, sizeof values), SC_OK);
    assert_int_equal(sc_zip_add(&w, "some name/version", "3\n", 2), SC_OK);
    assert_int_equal(sc_zip_commit(&w), SC_OK);
}

static sc_object *loaded(const void *pickle, size_t n)
{
    write_archive(pickle, n);
    return load(path);
}

static void refused(const void *pickle, size_t n, const char *what)
{
    write_archive(pickle, n);
    assert_refused(path, what);
}

/* The storage above, and a tensor of it with the given offset, size and stride tuples. */
#define STORAGE                                         \
    "((X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\0" \
    "0X\3\0\0\0cpuK\20tQ"
#define TENSOR(rest)                                          \
    "ctorch._utils\n_rebuild_tensor_v2\n" STORAGE rest "\x89" \
    "ccollections\nOrderedDict\n)RtR"

static void integers_of_every_length(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t n;
        int64_t value;
    } rows[] = {
        {BYTES("K\xFF."), 255},
        {BYTES("M\xFF\xFF."), 65535},
        {BYTES("J\xFF\xFF\xFF\xFF."), -1},
        {BYTES("\x8A\0."), 0},
        {BYTES("\x8A\1\xFF."), -1},
        {BYTES("\x8A\2\xFF\0."), 255},
        {BYTES("\x8A\5\0\0\0\0\1."), (int64_t)1 << 32},
        {BYTES("\x8A\10\0\0\0\0\0\0\0\x80."), INT64_MIN},
        {BYTES("\x8A\11\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x7F\0."), INT64_MAX},
        {BYTES("\x8A\11\0\0\0\0\0\0\0\x80\xFF."), INT64_MIN},
        {BYTES("\x8B\2\0\0\0\1\1."), 257},
        {BYTES("I-12\n."), -12},
        {BYTES("L34L\n."), 34},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        sc_object *o = loaded(rows[i].bytes, rows[i].n);
        assert_int_equal(o->type, SC_OBJ_INT);
        assert_true(o->i == rows[i].value);
        sc_obj_free(o);
    }
    refused(BYTES("\x8A\11\0\0\0\0\0\0\0\x80\0."), "more than 64 bits");
    refused(BYTES("\x8A\11\0\0\0\0\0\0\0\0\1."), "more than 64 bits");
    refused(BYTES("\x8B\xFF\xFF\xFF\xFF."), "ends inside a value");
    refused(BYTES("Ix\n."), "malformed number");
    refused(BYTES("I99999999999999999999\n."), "malformed number");
}

static void other_protocols(void **state)
{
    (void)state;
    /* pickle.dumps({'a': [1, True, None, 0.5], 'b': ({7}, frozenset({8}), (), (9,))}, protocol=4)
     */
    sc_object *o = loaded(
        BYTES("\x80\4\x95\x35\0\0\0\0\0\0\0}\x94(\x8c\1a\x94]\x94(K\1\x88NG?\xe0\0\0\0\0\0\0e"
              "\x8c\1b\x94(\x8f\x94(K\7\x90(K\10\x91\x94)K\11\x85\x94t\x94u."));
    const sc_object *a = sc_obj_get(o, "a"), *b = sc_obj_get(o, "b");
    assert_int_equal(a->count, 4);
    assert_true(a->items[3]->f == 0.5);
    assert_int_equal(b->type, SC_OBJ_TUPLE);
    assert_int_equal(b->items[0]->items[0]->i, 7);
    assert_int_equal(b->items[1]->items[0]->i, 8);
    assert_int_equal(b->items[3]->items[0]->i, 9);
    sc_obj_free(o);
}

static void discards_and_copies(void **state)
{
    (void)state;
    sc_object *o = loaded(BYTES("]U\1xaT\2\0\0\0yya(NNN1I01\naF0.25\naN0\x8d\1\0\0\0\0\0\0\0za."));
    assert_int_equal(o->count, 5);
    assert_string_equal(o->items[1]->s, "yy");
    assert_true(o->items[2]->type == SC_OBJ_BOOL && o->items[2]->b);
    assert_true(o->items[3]->f == 0.25);
    assert_string_equal(o->items[4]->s, "z");
    sc_obj_free(o);
    o = loaded(BYTES("(K\5"
                     "2l."));
    assert_int_equal(o->count, 2);
    assert_int_equal(o->items[1]->i, 5);
    sc_obj_free(o);
    o = loaded(BYTES("(U\1ap7\n0g7\nK\1d.")); /* the key comes out of the memo */
    assert_int_equal(sc_obj_get(o, "a")->i, 1);
    sc_obj_free(o);
}

static void known_names(void **state)
{
    (void)state;
    sc_object *o = loaded(BYTES("ctorch\nSize\n(K\2K\3t\x85R."));
    assert_int_equal(o->type, SC_OBJ_TUPLE);
    assert_int_equal(o->items[1]->i, 3);
    sc_obj_free(o);
    o = loaded(BYTES("ctorch\ndevice\n(U\4cudaK\1tR."));
    assert_string_equal(o->s, "cuda:1");
    sc_obj_free(o);
    o = loaded(BYTES("c__builtin__\nset\n](K\1K\2e\x85R."));
    assert_int_equal(o->count, 2);
    sc_obj_free(o);
    o = loaded(BYTES("ccollections\nCounter\n}U\1aK\5s\x85R."));
    assert_int_equal(sc_obj_get(o, "a")->i, 5);
    sc_obj_free(o);
    o = loaded(BYTES("ccollections\nOrderedDict\n]](U\1bK\1ea\x85R}U\11_metadataNsb."));
    assert_int_equal(o->type, SC_OBJ_ORDERED_DICT);
    assert_int_equal(o->count, 1);
    assert_int_equal(sc_obj_get(o, "b")->i, 1);
    sc_obj_free(o);
    o = loaded(BYTES("\x8c\13collections\x8c\13OrderedDict\x93)\x81."));
    assert_int_equal(o->type, SC_OBJ_ORDERED_DICT);
    sc_obj_free(o);
}

static void tensors_by_every_way(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t n;
    } rows[] = {
        {BYTES(TENSOR("K\4K\2K\3\x86K\3K\1\x86") ".")},
        {BYTES(
            "ctorch._utils\n_rebuild_parameter\n" TENSOR("K\4K\2K\3\x86K\3K\1\x86") "\x88}\x87R.")},
        {BYTES("ctorch._tensor\n_rebuild_from_type_v2\n(ctorch._utils\n_rebuild_tensor_v2\n"
               "ctorch\nTensor\n" STORAGE "K\4K\2K\3\x86K\3K\1\x86\x89}t}tR.")},
        {BYTES("ctorch._utils\n_rebuild_tensor_v3\n" STORAGE
               "K\4K\2K\3\x86K\3K\1\x86\x89}ctorch\nfloat32\ntR.")},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        sc_object *o = loaded(rows[i].bytes, rows[i].n);
        assert_int_equal(o->type, SC_OBJ_TENSOR);
        assert_ramp(&o->tensor, SC_F32, SC_SHAPE(2, 3), 4);
        sc_obj_free(o);
    }
    sc_object *o = loaded(BYTES("ctorch._utils\n_rebuild_tensor_v3\n" STORAGE
                                "K\2K\3\x85K\2\x85\x89}ctorch\nint16\ntR."));
    assert_int_equal(o->tensor.dtype,
                     SC_I16); /* the same bytes seen as 32 int16: every low half is 0 */
    assert_true(sc_tensor_get(&o->tensor, 2) == 0);
    sc_obj_free(o);
}

static void tensors_stay_inside_their_storage(void **state)
{
    (void)state;
    sc_obj_free(loaded(BYTES(TENSOR("K\0K\20\x85K\1\x85") ".")));
    sc_obj_free(loaded(BYTES(TENSOR("K\17))") ".")));
    sc_obj_free(loaded(BYTES(TENSOR("K\0K\4\x85K\5\x85") ".")));
    sc_obj_free(loaded(BYTES(TENSOR("K\0K\0K\3\x86K\3K\1\x86") ".")));
    refused(BYTES(TENSOR("K\0K\21\x85K\1\x85") "."),
            "[17] reaches beyond its storage of 16 elements");
    refused(BYTES(TENSOR("K\1K\20\x85K\1\x85") "."), "beyond its storage");
    refused(BYTES(TENSOR("K\20))") "."), "beyond its storage");
    refused(BYTES(TENSOR("K\0K\4\x85K\6\x85") "."), "beyond its storage");
    refused(BYTES(TENSOR("K\0K\2\x85\x8A\10\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x7F\x85") "."), "beyond");
    refused(BYTES(TENSOR("\x8A\10\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x7FK\2\x85K\1\x85") "."), "beyond");
    refused(BYTES(TENSOR("K\0J\0\0\0\x7FJ\0\0\0\x7FJ\0\0\0\x7F\x87K\0K\0K\0\x87") "."),
            "too large");
    refused(BYTES(TENSOR("K\0J\xFF\xFF\xFF\xFF\x85K\1\x85") "."), "not a list of sizes");
    refused(BYTES(TENSOR("K\0K\2\x85J\xFF\xFF\xFF\xFF\x85") "."), "not a list of sizes");
    refused(BYTES(TENSOR("J\xFF\xFF\xFF\xFFK\2\x85K\1\x85") "."), "do not fit each other");
    refused(BYTES(TENSOR("K\0K\2\x85)") "."), "do not fit each other");
    refused(BYTES(TENSOR("K\0(K\1K\1K\1K\1K\1K\1K\1K\1K\1t(K\1K\1K\1K\1K\1K\1K\1K\1K\1t") "."),
            "9 dimensions");
    refused(BYTES("ctorch._utils\n_rebuild_tensor_v2\n)R."),
            "a tensor's storage is wanted and missing");
    refused(BYTES("ctorch._utils\n_rebuild_tensor_v2\n(NNNNtR."), "is wanted, not None");
}

static void storages_must_be_what_they_say(void **state)
{
    (void)state;
#define OF(class, key, count)                                                                   \
    "ctorch._utils\n_rebuild_tensor_v2\n((X\7\0\0\0storagectorch\n" class "\n" key              \
                                                                          "X\3\0\0\0cpu" count  \
                                                                          "tQK\0K\1\x85K\1\x85" \
                                                                          "\x89}tR."
    refused(BYTES(OF("FloatStorage",
                     "X\1\0\0\0"
                     "0",
                     "K\17")),
            "has 64 bytes, but its tensor's storage holds 15 elements of float32");
    refused(BYTES(OF("DoubleStorage",
                     "X\1\0\0\0"
                     "0",
                     "K\20")),
            "16 elements of float64");
    refused(BYTES(OF("FloatStorage",
                     "X\1\0\0\0"
                     "1",
                     "K\20")),
            "'some name/data/1' is missing");
    refused(BYTES(OF("FloatStorage", "X\7\0\0\0../vers", "K\20")), "is missing");
    refused(BYTES(OF("FloatStorage",
                     "X\1\0\0\0"
                     "0",
                     "\x8A\10\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x7F")),
            "out of range");
    refused(BYTES(OF("FloatStorage",
                     "X\1\0\0\0"
                     "0",
                     "J\xFF\xFF\xFF\xFF")),
            "out of range");
    refused(BYTES(OF("FloatStorage", "K\0", "K\20")), "a storage's key is wanted, not an int");
    refused(BYTES(OF("ComplexFloatStorage",
                     "X\1\0\0\0"
                     "0",
                     "K\10")),
            "unsupported object 'torch.ComplexFloatStorage'");
    refused(BYTES(OF("Size",
                     "X\1\0\0\0"
                     "0",
                     "K\20")),
            "no storage class");
    refused(BYTES("(U\6modulectorch\nFloatStorage\nU\1"
                  "0U\3cpuK\20tQ."),
            "object of kind 'module'");
    refused(BYTES("NQ."), "a storage's tuple is wanted, not None");
    refused(BYTES(STORAGE "0."), "values are left over");
}

static void foreign_names_are_never_run(void **state)
{
    (void)state;
    refused(BYTES("\x80\2cos\nsystem\n(X\2\0\0\0idtR."), "unsupported object 'os.system'");
    assert_non_null(strstr(sc_message(), "at byte 2 of data.pkl"));
    refused(BYTES("cbuiltins\neval\n."), "unsupported object 'builtins.eval'");
    refused(BYTES("\x8c\2os\x8c\6system\x93."), "unsupported object 'os.system'");
    refused(BYTES("cnumpy.core.multiarray\nscalar\n."), "'numpy.core.multiarray.scalar'");
    refused(BYTES("ctorch._utils\n_rebuild_tensor_v2x\n."), "unsupported object");
    refused(BYTES("c\xFF\x01\n\xFE\n."), "unsupported object '??.?'");
    refused(BYTES("cpathlib\nPosixPath\n)R."), "pathlib.PosixPath");
    refused(BYTES("(ios\nsystem\n."), "opcode 0x69");
    refused(BYTES("(o."), "opcode 0x6f");
    refused(BYTES("Pid\n."), "opcode 0x50");
    refused(BYTES("\x82\1."), "opcode 0x82");
    refused(BYTES("\x97."), "opcode 0x97");
    refused(BYTES("\xFE."), "opcode 0xfe");
    refused(BYTES("C\1x."), "a bytes object");
    refused(BYTES("\x80\1N."), "pickle protocol 1");
    refused(BYTES("\x80\6N."), "pickle protocol 6");
    refused(BYTES("ctorch\nFloatStorage\n)R."), "is called");
    refused(BYTES("ctorch\nFloatStorage\n."), "holds a name where a value should be");
    refused(BYTES("U\1x)R."), "a known name to call is wanted, not a string");
    refused(BYTES("ccollections\nOrderedDict\nNR."), "a tuple of arguments is wanted, not None");
    refused(BYTES("ctorch._tensor\n_rebuild_from_type_v2\n(ctorch._tensor\n_rebuild_from_type_"
                  "v2\nN)NtR."),
            "rebuilds itself");
}

static void broken_streams(void **state)
{
    (void)state;
    refused(BYTES(""), "the stream ends too early");
    refused(BYTES("."), "values are left over");
    refused(BYTES("NN."), "values are left over");
    refused(BYTES("N(."), "values are left over");
    refused(BYTES("N.x"), "bytes follow the end");
    refused(BYTES("K"), "ends inside a value");
    refused(BYTES("X\xFF\xFF\xFF\xFFx."), "ends inside a value");
    refused(BYTES("\x8d\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFFx."), "ends inside a value");
    refused(BYTES("ctorch"), "ends inside a line");
    refused(BYTES("X\2\0\0\0a\0."), "not UTF-8 or holds a NUL");
    refused(BYTES("X\1\0\0\0\xFF."), "not UTF-8 or holds a NUL");
    refused(BYTES("a."), "a value is missing");
    refused(BYTES("Na."), "a value is missing");
    refused(BYTES("NNa."), "items for a list are given to None");
    refused(BYTES("]NNs."), "items for a dict are given to a list");
    refused(BYTES("}Na."), "items for a list are given to a dict");
    refused(BYTES("](NNu."), "items for a dict are given to a list");
    refused(BYTES("}(Nu."), "a key without a value");
    refused(BYTES("(Nd."), "a key without a value");
    refused(BYTES("}(e."), "items for a list are given to a dict");
    refused(BYTES("e."), "a mark is missing");
    refused(BYTES("N(0."), "a value is missing"); /* nothing below the mark may be taken */
    refused(BYTES("NN(\x86."), "a value is missing");
    refused(BYTES("h\0."), "a memo number is unknown");
    refused(BYTES("Nr\xFF\xFF\xFF\xFF."), "a memo number is out of range");
    refused(BYTES("gx\n."), "malformed memo number");
    refused(BYTES("Ng99999999999999999999999\n."), "malformed memo number");
    refused(BYTES("]}b."), "attributes for a list");
    refused(BYTES("ccollections\nOrderedDict\n)}K\1K\2s\x92."), "keyword arguments");
}

/* Shared and cyclic values let a short stream spell out an endless tree. */
static void short_streams_cannot_ask_for_much(void **state)
{
    (void)state;
    sc_text t;
    refused(BYTES("]q\0h\0a."), "contain themselves");
    refused(BYTES("}q\0U\1xh\0s."), "contain themselves");
    sc_text_init(&t);
    sc_text_puts(&t, "]"); /* a list of ten times the list before, thirty times over */
    for (int level = 0; level < 30; level++) {
        sc_text_putf(&t, "p%d\n(", level);
        for (int i = 0; i < 9; i++)
            sc_text_putf(&t, "g%d\n", level);
        sc_text_puts(&t, "l");
    }
    sc_text_puts(&t, ".");
    refused(t.data, t.len, "");
    sc_text_clear(&t);
    sc_text_puts(&t, "N");
    for (int i = 0; i < 200000; i++)
        sc_text_puts(&t, "\x85");
    sc_text_puts(&t, ".");
    refused(t.data, t.len, "");
    sc_text_clear(&t);
    for (int i = 0; i < 200000; i++)
        sc_text_puts(&t, "(");
    refused(t.data, t.len, "the stream ends too early");
    sc_text_clear(&t);
    sc_text_puts(&t, "X\x10\x27"); /* one text of 10000 letters, named 5000 times */
    sc_text_add(&t, "\0", 2);
    for (int i = 0; i < 10000; i++)
        sc_text_puts(&t, "x");
    sc_text_puts(&t, "p0\n0(");
    for (int i = 0; i < 5000; i++)
        sc_text_puts(&t, "g0\n");
    sc_text_puts(&t, "l.");
    refused(t.data, t.len, "far more memory");
    sc_text_clear(&t);
    /* the storage of 64 bytes, a thousand and one times over */
    sc_text_puts(&t, "](");
    sc_text_add(&t, BYTES(TENSOR("K\0(J\0\0\0\1t(K\0t")));
    sc_text_puts(&t, "p1\ng1\ng1\ng1\ng1\ng1\ne.");
    refused(t.data, t.len, "far more memory");
    sc_text_free(&t);
}

/* Streams of this size are usual and have to fit the bounds: long lists of small values, the worst
 * case. */
static void honest_streams_fit(void **state)
{
    (void)state;
    sc_object *root = sc_obj_dict(), *numbers = sc_obj_list(), *flags = sc_obj_list();
    sc_object *lists = sc_obj_list(), *words = sc_obj_list(), *empty = sc_obj_list();
    for (int i = 0; i < 20000; i++) {
        sc_object *one = sc_obj_list();
        sc_obj_append(numbers, sc_obj_int(i % 100));
        sc_obj_append(flags, sc_obj_bool(i % 2));
        sc_obj_append(one, sc_obj_int(i));
        sc_obj_append(lists, one);
        sc_obj_append(empty, sc_obj_list());
        sc_obj_append(words, sc_obj_string(i % 2 ? "x" : ""));
    }
    sc_obj_put(root, "numbers", numbers);
    sc_obj_put(root, "flags", flags);
    sc_obj_put(root, "lists", lists);
    sc_obj_put(root, "words", words);
    sc_obj_put(root, "empty", empty);
    assert_int_equal(sc_pth_save(path, root), SC_OK);
    sc_object *back = load(path);
    assert_int_equal(sc_obj_get(back, "flags")->count, 20000);
    assert_int_equal(sc_obj_get(back, "lists")->items[19999]->items[0]->i, 19999);
    sc_obj_free(back);
    assert_int_equal(sc_pth_save(path, empty), SC_OK); /* a byte each */
    back = load(path);
    assert_int_equal(back->count, 20000);
    sc_obj_free(back);
    sc_obj_free(root);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(integers_of_every_length),
        cmocka_unit_test(other_protocols),
        cmocka_unit_test(discards_and_copies),
        cmocka_unit_test(known_names),
        cmocka_unit_test(tensors_by_every_way),
        cmocka_unit_test(tensors_stay_inside_their_storage),
        cmocka_unit_test(storages_must_be_what_they_say),
        cmocka_unit_test(foreign_names_are_never_run),
        cmocka_unit_test(broken_streams),
        cmocka_unit_test(short_streams_cannot_ask_for_much),
        cmocka_unit_test(honest_streams_fit),
    };
    return cmocka_run_group_tests(tests, make_path, drop_path);
}
